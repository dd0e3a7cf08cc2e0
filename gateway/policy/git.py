"""Git as a program that is not trusted with anything: a clean environment, no configuration but ours, no hooks, no
prompts, bounds on time and bytes. Only what a commit holds is read, never a work tree.
"""

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from gateway.policy.bundle import BUNDLE_MAX_BYTES, DEPTH_MAX, FILE_MAX_BYTES, FILES_MAX, counts, misread
from gateway.policy.faults import BundleError, PolicyFault, Problem
from gateway.reasons import Reason

SECONDS: Final = 60.0
"""Longest run of one git command."""
LISTING_MAX_BYTES: Final = 4_194_304
_ERRORS_MAX_BYTES: Final = 65_536
_STOP_SECONDS: Final = 0.2
"""How soon a command is ended that is to stop."""
_MESSAGE_MAX: Final = 300
_SHORT_ID: Final = re.compile(r"[0-9a-f]{4,64}")
_COMMIT: Final = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ENTRY: Final = re.compile(rb"([0-7]{6}) (blob|tree|commit) ([0-9a-f]{40,64}) +([0-9]+|-)\t(.+)", re.DOTALL)
_REGULAR: Final = frozenset({b"100644", b"100755"})
_NOBODYS: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ADVICE": "0",
    "HOME": os.devnull,
    "LC_ALL": "C.UTF-8",
}
_NO_PROGRAMS: Final = (
    f"core.hooksPath={os.devnull}",
    f"core.attributesFile={os.devnull}",
    "core.fsmonitor=false",
    "core.askPass=",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
)
"""Options that keep a repository's own configuration from running anything, where a command would look at it."""


ADDRESSES_MAX_BYTES: Final = 1_610_612_736
"""Address space of a git that reads what a stranger packed."""
_LIMITED: Final = 'ulimit -v {}; ulimit -f {}; exec "$@"'
"""Set before git begins (POSIX: ``-f`` counts 512 bytes), so that nothing it starts is without the limits."""


class GitFailed(PolicyFault):
    """Git could not do what was asked; ``detail`` says what it said, without secrets: those are
    given to it in its environment alone."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.POLICY_SOURCE, detail)


@dataclass(frozen=True, slots=True)
class Revision:
    """The policy files of one commit.

    Attributes:
        commit: hex object id.
        files: path in the policy directory -> content, of every file that is part of the bundle.
        tests: the same of the tests beside them.
    """

    commit: str
    files: Mapping[str, bytes]
    tests: Mapping[str, bytes]


def run(
    arguments: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    stdin: bytes = b"",
    output_max_bytes: int = LISTING_MAX_BYTES,
    seconds: float = SECONDS,
    file_max_bytes: int | None = None,
    stop: threading.Event | None = None,
) -> bytes:
    """Run one git command; returns what it printed. Blocking.

    Args:
        arguments: after ``git``; no secret belongs here (every user of the machine can read them).
        environment: beside a clean one.
        options: more ``-c`` settings.
        file_max_bytes: the largest file that it, or what it starts, may write, where the system can say so (Linux).
            Then it may not take more than :data:`ADDRESSES_MAX_BYTES` of memory either: a few bytes of a pack can stand
            for gigabytes.
        stop: once it is set, the command is ended.

    Raises:
        GitFailed: it is not installed, failed, printed more than ``output_max_bytes`` or took longer than ``seconds``.
    """
    program = shutil.which("git")
    if program is None:
        raise GitFailed("git is not installed")
    configured = chain.from_iterable(("-c", option) for option in (*_NO_PROGRAMS, *options))
    command = [program, *configured, *arguments]
    if file_max_bytes is not None:
        command = ["sh", "-c", _LIMITED.format(ADDRESSES_MAX_BYTES // 1024, -(-file_max_bytes // 512)), "sh", *command]
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    process = subprocess.Popen(
        command,
        cwd=directory,
        env={**kept, **_NOBODYS, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = _converse(process, stdin, output_max_bytes, time.monotonic() + seconds, stop)
        code = process.wait(timeout=seconds)
    except _Stopped:
        raise GitFailed(f"git {arguments[0]}: stopped") from None
    except (_TooMuch, TimeoutError, subprocess.TimeoutExpired) as exc:
        said = f"more than {output_max_bytes} bytes" if isinstance(exc, _TooMuch) else f"longer than {seconds:g} s"
        raise GitFailed(f"git {arguments[0]}: {said}") from None
    finally:
        _end(process)
    if code != 0:
        words = " ".join(err.decode("utf-8", "replace").split())[:_MESSAGE_MAX]
        raise GitFailed(f"git {arguments[0]}: {words or f'exit {code}'}")
    return out


def revision(repository: Path, name: str, directory: str) -> Revision:
    """The policy files of one commit of a repository. Blocking.

    Args:
        name: any name of a commit (``HEAD``, a branch, a tag, an object id).
        directory: the policy directory inside of the repository; empty for the top.

    Raises:
        GitFailed: there is no such repository or commit.
        BundleError: naming each symbolic link, submodule, YAML data file and file out of bounds.
    """
    commit = _commit(repository, name)
    listed = run(
        ["ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", _tree(repository, commit, directory)],
        directory=repository,
    )
    problems: list[Problem] = []
    wanted: list[tuple[str, bytes, int]] = []
    for entry in listed.split(b"\0"):
        if entry:
            _take(entry, wanted, problems)
    for path, listed_times in Counter(path for path, _, _ in wanted).items():
        if listed_times > 1:
            problems.append(Problem(path, 0, 0, "stands more than once in the tree; readers see one of them"))
    total = sum(size for _, _, size in wanted)
    if len(wanted) > 2 * FILES_MAX or total > 2 * BUNDLE_MAX_BYTES:
        problems.append(Problem("", 0, 0, f"more than {FILES_MAX} files or {BUNDLE_MAX_BYTES} bytes"))
    if not wanted and not problems:
        problems.append(Problem("", 0, 0, f"{directory or '.'} of {commit[:12]} holds no .rego file"))
    if problems:
        raise BundleError(problems)
    contents = _contents(repository, wanted)
    files = {path: raw for path, raw in contents.items() if counts(path.rpartition("/")[2])}
    return Revision(commit, files, {path: raw for path, raw in contents.items() if path not in files})


def full_name(repository: Path, name: str) -> str:
    """What a name of a commit names: the whole name of a branch or a tag, or the name as it is given. Blocking.

    Raises:
        GitFailed: it names several things, of which git would take one.
    """
    places = [f"refs/{kind}/{name}" for kind in ("heads", "tags", "remotes")]
    listed = run(["for-each-ref", "--format=%(refname)", "--", *places], directory=repository).decode(
        "utf-8", "replace"
    )
    found = [place for place in places if place in listed.splitlines()]
    meant = list(found)
    if (
        found
        and _SHORT_ID.fullmatch(name)
        and run(["rev-parse", f"--disambiguate={name}"], directory=repository).strip()
    ):
        meant.append(f"the object {name}")
    if len(meant) > 1:
        raise GitFailed(f"{name} is ambiguous: {' and '.join(meant)}; give the whole name")
    return found[0] if found else name


def _commit(repository: Path, name: str) -> str:
    found = run(["rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}"], directory=repository).strip()
    if _COMMIT.fullmatch(found) is None:
        raise GitFailed(f"{name} is no commit")
    return found.decode("ascii")


def _tree(repository: Path, commit: str, directory: str) -> str:
    """The object id of a directory of a commit; what its path goes through are trees, so no link is followed."""
    parts = [part for part in directory.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise GitFailed(f"{directory} leads out of the repository")
    place = f"{commit}:{'/'.join(parts)}"
    tree = run(["rev-parse", "--verify", "--end-of-options", place], directory=repository).strip()
    if _COMMIT.fullmatch(tree) is None:
        raise GitFailed(f"{directory} is not in {commit[:12]}")
    if run(["cat-file", "-t", tree.decode("ascii")], directory=repository).strip() != b"tree":
        raise GitFailed(f"{directory} of {commit[:12]} is not a directory")
    return tree.decode("ascii")


def _take(entry: bytes, wanted: list[tuple[str, bytes, int]], problems: list[Problem]) -> None:
    matched = _ENTRY.fullmatch(entry)
    if matched is None:
        problems.append(Problem("", 0, 0, "git lists something that is no file"))
        return
    mode, kind, object_id, size, raw_path = matched.groups()
    try:
        path = raw_path.decode("utf-8")
    except UnicodeDecodeError:
        problems.append(Problem("", 0, 0, "a file name is not UTF-8"))
        return
    parts = path.split("/")
    if mode == b"120000":
        problems.append(Problem(path, 0, 0, "a symbolic link"))
    elif kind != b"blob" or mode not in _REGULAR:
        problems.append(Problem(path, 0, 0, "a submodule, or no regular file"))
    elif ".." in parts or "" in parts or path.startswith("/") or not path.isprintable():
        problems.append(Problem(path, 0, 0, "a path out of the tree"))
    elif any(part.startswith(".") for part in parts):
        return  # as in a directory: names that start with a dot are skipped
    elif misread(parts[-1]):
        problems.append(Problem(path, 0, 0, "data must be JSON here: rename it to data.json"))
    elif counts(parts[-1]) or parts[-1].endswith("_test.rego"):
        if int(size) > FILE_MAX_BYTES or len(parts) > DEPTH_MAX + 1:
            problems.append(Problem(path, 0, 0, f"larger than {FILE_MAX_BYTES} bytes or deeper than {DEPTH_MAX}"))
        else:
            wanted.append((path, object_id, int(size)))


def _contents(repository: Path, wanted: Sequence[tuple[str, bytes, int]]) -> dict[str, bytes]:
    asked = b"".join(object_id + b"\n" for _, object_id, _ in wanted)
    bound = sum(size + 128 for _, _, size in wanted)
    answered = run(["cat-file", "--batch"], directory=repository, stdin=asked, output_max_bytes=bound)
    contents: dict[str, bytes] = {}
    at = 0
    for path, object_id, size in wanted:
        header = b"%b blob %d\n" % (object_id, size)
        end = at + len(header) + size
        if answered[at : at + len(header)] != header or answered[end : end + 1] != b"\n":
            raise GitFailed(f"{path}: git gave another object than it listed")
        contents[path] = answered[at + len(header) : end]
        at = end + 1
    return contents


class _TooMuch(Exception):
    """More output than was bargained for."""


class _Stopped(Exception):
    """Nobody waits for it any more."""


def _converse(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    output_max_bytes: int,
    ends_at: float,
    stop: threading.Event | None = None,
) -> tuple[bytes, bytes]:
    """Write and read until both outputs end. Raises ``_TooMuch``, ``_Stopped`` or ``TimeoutError``."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("started with pipes")
    out, err = bytearray(), bytearray()
    pending = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, err)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left = ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if stop is not None and stop.is_set():
                raise _Stopped
            for key, _ in selector.select(left if stop is None else min(left, _STOP_SECONDS)):
                if key.fileobj is process.stdin:
                    pending = _feed(selector, process, pending)
                    continue
                block = os.read(key.fd, 65_536)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.data is out:
                    out += block
                    if len(out) > output_max_bytes:
                        raise _TooMuch
                elif len(err) < _ERRORS_MAX_BYTES:
                    err += block
    return bytes(out), bytes(err)


def _feed(selector: selectors.BaseSelector, process: subprocess.Popen[bytes], pending: memoryview) -> memoryview:
    if process.stdin is None:
        raise RuntimeError("started with pipes")
    if pending:
        try:
            return pending[os.write(process.stdin.fileno(), pending[:65_536]) :]
        except BrokenPipeError:
            pending = pending[:0]
    selector.unregister(process.stdin)
    process.stdin.close()
    return pending


def _end(process: subprocess.Popen[bytes]) -> None:
    """No child of ours outlives us, and neither does what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
