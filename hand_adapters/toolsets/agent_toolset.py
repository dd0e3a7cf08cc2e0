"""Anthropic's ``agent_toolset_20260401``: the tools that a self-hosted environment runs for a session.

Runs inside the jail, in the workspace of the session's context, and imports the standard library alone. What these may
reach is the jail's to say: a path is only read as one of the workspace where it is relative. An error is told by its
text, in the words of the toolset's documentation where it has some.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

WORKSPACE: Final = "/workspace"
OUTPUT_MAX: Final = 100_000
"""Bytes of what a command tells, and about as many characters of what a search does."""
FILE_MAX_BYTES: Final = 1_048_576
MATCHES_MAX: Final = 200
LINE_MAX: Final = 2_000
TIMEOUT_SECONDS: Final = 120.0
SHELL: Final = f"{WORKSPACE}/.shell"
"""What a command left of its shell, for the next one to begin with."""
_COMMAND: Final = """\
STATE=$1 COMMAND=$2
[ ! -f "$STATE" ] || . "$STATE" 2>/dev/null
trap '[ -e "$STATE" -a ! -f "$STATE" ] || { export -p; declare -f; printf "cd -- %q\\n" "$PWD"; } >"$STATE"' EXIT
eval "$COMMAND"
"""


class ToolError(Exception):
    """What the model is told went wrong."""


def bash(command: str | None = None, restart: bool | None = None, timeout_ms: int | None = None) -> str:  # noqa: FBT001
    """Run a command in a shell. Its directory, exported variables and functions are those that the last one left."""
    if restart:
        if Path(SHELL).is_dir() and not Path(SHELL).is_symlink():
            Path(SHELL).rename(f"{SHELL}.{time.time_ns()}")  # it may be too deep to be removed here
        else:
            Path(SHELL).unlink(missing_ok=True)
        return "bash session restarted"
    if command is None:
        raise ToolError("bash: command is required")
    seconds = timeout_ms / 1000 if timeout_ms else TIMEOUT_SECONDS
    # No pipe: what a command leaves in the background would hold it open.
    with TemporaryFile() as output:
        try:
            done = subprocess.run(
                ["/bin/bash", "--noprofile", "--norc", "-c", _COMMAND, "bash", SHELL, command],
                cwd=WORKSPACE,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"bash: timed out after {seconds:g}s; it said: {_said(output)}") from None
        text = _said(output)
    return text if done.returncode == 0 else f"{text}\n[exit status {done.returncode}]"


def read(file_path: str, view_range: list[int] | None = None) -> str:
    """Read a text file, or the lines of it from the first to the second number; a second one below 1 is its end."""
    text = _text("read", file_path)
    if view_range is None:
        return text
    if len(view_range) != 2:
        raise ToolError("read: view_range must be [start_line, end_line]")
    start, end = view_range
    lines = text.splitlines(keepends=True)
    return "".join(lines[max(start - 1, 0) : end if end > 0 else None])


def write(file_path: str, content: str) -> str:
    """Write a whole file, and the directories above it."""
    _save("write", file_path, content)
    return f"wrote {len(content)} characters to {file_path}"


def edit(file_path: str, old_string: str, new_string: str, replace_all: bool | None = None) -> str:  # noqa: FBT001
    """Put a text in the place of another, which stands in the file once, or wherever it stands."""
    text = _text("edit", file_path)
    count = text.count(old_string) if old_string else 0
    if count == 0:
        raise ToolError(f"edit: old_string not found in {file_path}")
    if count > 1 and not replace_all:
        raise ToolError(f"edit: old_string appears {count} times in {file_path} (must be unique)")
    _save("edit", file_path, text.replace(old_string, new_string))
    return f"edited {file_path} ({count} replacement(s))"


def glob(pattern: str, path: str | None = None) -> str:
    """List the files that a pattern names, newest first; ``**`` is any number of directories."""
    if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ToolError("glob: the pattern must be relative, without '..'")
    try:
        files = [file for file in _place(path or ".").glob(pattern) if file.is_file() and str(file) != SHELL]
    except ValueError as error:
        raise ToolError(f"glob: {error}") from None
    names = [str(file) for file in sorted(files, key=lambda file: -file.stat().st_mtime_ns)]
    more = [f"... and {len(names) - MATCHES_MAX} more"] if len(names) > MATCHES_MAX else []
    return "\n".join([*names[:MATCHES_MAX], *more]) or "no matches"


def grep(pattern: str, path: str | None = None) -> str:
    """Search files for a regular expression of Python's; each line that matches, with its file and number."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ToolError(f"grep: invalid regex: {error}") from None
    found: list[str] = []
    size = 0
    for file in _files(_place(path or ".")):
        for number, line in _lines(file):
            if wanted.search(line):
                found.append(f"{file}:{number}:{line}")
                size += len(found[-1])
        if size > OUTPUT_MAX:
            found.append("... and maybe more")
            break
    return "\n".join(found) or "no matches"


def _said(output: BinaryIO) -> str:
    """What a command said, without the middle where it is too much."""
    size = output.seek(0, os.SEEK_END)
    output.seek(0)
    if size <= OUTPUT_MAX:
        return output.read().decode(errors="replace")
    first = output.read(OUTPUT_MAX // 2)
    output.seek(size - OUTPUT_MAX // 2)
    told = f"\n[... {size - OUTPUT_MAX} bytes are left out ...]\n"
    return first.decode(errors="replace") + told + output.read().decode(errors="replace")


def _place(path: str) -> Path:
    return Path(WORKSPACE, path)


def _text(tool: str, file_path: str) -> str:
    """The text of a regular file. Raises ToolError."""
    place = _place(file_path)
    try:
        if not place.is_file():
            problem = "not a regular file" if place.exists() else "no such file or directory"
            raise ToolError(f"{tool}: {file_path}: {problem}")
        if place.stat().st_size > FILE_MAX_BYTES:
            raise ToolError(f"{tool}: {file_path}: larger than {FILE_MAX_BYTES} bytes")
        return place.read_bytes().decode()
    except UnicodeDecodeError:
        raise ToolError(f"{tool}: {file_path}: not valid UTF-8 text") from None
    except OSError as error:
        raise ToolError(f"{tool}: {file_path}: {error.strerror}") from None


def _save(tool: str, file_path: str, content: str) -> None:
    place = _place(file_path)
    try:
        if os.path.realpath(place) == os.path.realpath(SHELL):
            # What stands there the next command reads before it is what somebody agreed to.
            raise ToolError(f"{tool}: {file_path}: kept for bash")
        if place.exists() and not place.is_file():
            raise ToolError(f"{tool}: {file_path}: not a regular file")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode())
    except OSError as error:
        raise ToolError(f"{tool}: {file_path}: {error.strerror}") from None


def _files(root: Path) -> Iterator[Path]:
    """The file, or every regular file below the directory; links are not followed."""
    if root.is_file():
        yield root
    for directory, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if name != ".git")
        for name in sorted(names):
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink() and str(file) != SHELL:
                yield file


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file, each cut; of another one none."""
    try:
        if file.stat().st_size > FILE_MAX_BYTES * 16:
            return
        content = file.read_bytes()
    except OSError:
        return
    if b"\0" not in content:
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            yield number, line[:LINE_MAX]
