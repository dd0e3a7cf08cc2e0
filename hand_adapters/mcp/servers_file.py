"""The files in which MCP clients keep their servers, and what of them can be a hand.

Claude Code's ``.mcp.json``, Claude Desktop's ``claude_desktop_config.json`` and others have ``mcpServers``, VS Code's
``mcp.json`` has ``servers``: name -> ``{command, args, env}`` or ``{type, url, headers}``. Clients start those programs
with the user's rights, files, network and secrets; a hand has none of them. So what is read here is translated, not
copied, and what cannot be is said. Nothing is run, fetched or written.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.files import read_bounded
from gateway.model import EMPTY
from gateway.settings import SettingsError, holds_a_secret
from hand_adapters.jail import JailError, program
from hand_adapters.mcp.servers_by_url import NoHand, address

FILE_MAX_BYTES: Final = 4_194_304
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,<>=!~+\[\]-]*")
"""What may stand in a command that a person is told to run: the file is somebody else's."""
_RELATIVE: Final = re.compile(r"\.{1,2}[/\\].*|[\w-][\w./-]*\.(?:[cm]?[jt]s|py|sh|rb|jar)", re.DOTALL)
"""A file by a path that is none from everywhere: one that begins with a dot, or a script's name."""
_SECTIONS: Final = ("mcpServers", "servers")
_VARIABLE: Final = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PLACEHOLDER: Final = re.compile(r"\$\{[^}]*\}")
_SHELLS: Final = frozenset({"sh", "bash", "zsh", "dash", "fish", "cmd", "powershell", "pwsh"})
_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl"})
_NPX_WITH_VALUE: Final = frozenset({"-p", "--package", "-c", "--call", "-w", "--workspace"})
_UVX_WITH_VALUE: Final = frozenset(
    {"--from", "--with", "--with-editable", "--python", "-p", "--index", "--index-url", "--directory", "--project"}
)


@dataclass(frozen=True, slots=True)
class Server:
    """One server of such a file, as it stands there."""

    name: str
    entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a server becomes.

    Attributes:
        id: the hand's id, made of the server's name.
        problem: why it cannot be a hand; empty where it can.
        notes: what whoever reviews it should know, each a sentence.
        command, directories, env, enabled: as ``[hands.ID]`` has them; the directories are bound read-only.
        url, private_network, secrets, listing: the same, of a server that is reached over HTTP instead.
    """

    id: str
    name: str
    problem: str = ""
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    enabled: bool = True
    url: str | None = None
    private_network: bool = False
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: EMPTY)

    @property
    def listing(self) -> str | None:
        """The file that says what it offers, where it is sent secrets."""
        return f"{self.id}-tools.json" if self.secrets else None


def read(path: Path) -> list[Server]:
    """The servers of a file, in its order.

    Raises:
        SettingsError: no such file, no JSON, or no servers in it.
    """
    try:
        raw = read_bounded(path, FILE_MAX_BYTES, regular=False)
    except OSError as exc:
        raise SettingsError(f"{path}: {exc.strerror}") from None
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as exc:
        raise SettingsError(f"{path}: line {exc.lineno}, column {exc.colno}: {exc.msg}") from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{path}: is not JSON in UTF-8, or holds a number that is too long") from None
    found = next((document[key] for key in _SECTIONS if key in document), None) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: has no mcpServers (Claude Code, Claude Desktop) and no servers (VS Code)")
    return [Server(name, entry if isinstance(entry, dict) else {}) for name, entry in found.items()]


def declare(servers: Sequence[Server], packages: Path | None = None) -> list[Declared]:
    """What each becomes, with ids that differ.

    Args:
        packages: where npm installed the servers that ``npx`` would have fetched (the parent of ``node_modules``).
    """
    taken: set[str] = set()
    declared: list[Declared] = []
    for server in servers:
        hand_id = _identifier(server.name, taken)
        taken.add(hand_id)
        try:
            names = {name for one in declared for name in one.secrets}
            declared.append(_declare(hand_id, server, packages, names))
        except NoHand as exc:
            declared.append(Declared(hand_id, server.name, problem=str(exc)))
    return declared


def _identifier(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:56]
    if not re.match(r"[a-z]", base):
        base = f"hand-{base}".strip("-")
    return next(found for found in (base, *(f"{base}-{number}" for number in range(2, 10_000))) if found not in taken)


def _declare(hand_id: str, server: Server, packages: Path | None, names: Collection[str]) -> Declared:
    entry, notes = server.entry, list[str]()
    if place := entry.get("url") or entry.get("serverUrl") or entry.get("httpUrl"):
        return _reached(hand_id, server, place, names)
    if not isinstance(entry.get("command"), str) or not entry["command"]:
        raise NoHand("It names no command. Give the program that starts it.")
    argv = [entry["command"], *_list(entry.get("args"))]
    if not all(isinstance(word, str) and _can_be_passed(word) for word in argv):
        raise NoHand("Its args are no list of texts that a program can be given. Write them as one, without NUL.")
    words = [_expanded(word) for word in argv]
    command = _command(words, packages, notes)
    env = dict(_environment(entry.get("env"), notes))
    if entry.get("autoApprove") or entry.get("alwaysAllow"):
        notes.append("The client let some of its tools pass unasked. That decides nothing here: policies do.")
    directories = tuple(_named(command[1:], Path.is_dir))
    if directories:
        notes.append("Directories are bound read-only. Say writable = true for those that it may change.")
    if packages is not None and any(word.startswith(f"{packages}/node_modules/") for word in command):
        directories = (packages / "node_modules", *directories)
    notes.extend(
        f"{path} is a file that its jail does not see. Add a bind of the directory with all that the server needs."
        for path in _named(command[1:], Path.is_file)
        if not any(path.is_relative_to(directory) for directory in directories)
    )
    notes.extend(
        f"{word} is relative to wherever its client runs, and a hand runs in no such place. Write the whole path, and "
        "add a bind of its directory."
        for word in command
        if _RELATIVE.fullmatch(word)
    )
    return Declared(
        hand_id,
        server.name,
        notes=tuple(notes),
        command=command,
        directories=directories,
        env=env,
        enabled=not entry.get("disabled", False),
    )


def _reached(hand_id: str, server: Server, place: Any, names: Collection[str]) -> Declared:
    if not isinstance(place, str) or not _can_be_passed(place):
        raise NoHand("Its url is none.")
    found = address(hand_id, server.entry, _expanded(place), names)
    return Declared(
        hand_id,
        server.name,
        notes=found.notes,
        enabled=not server.entry.get("disabled", False),
        url=found.url,
        private_network=found.private_network,
        secrets=found.secrets,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [None]


def _expanded(word: str) -> str:
    """A word with the defaults of its variables. What has none is a value that only the user's environment knows."""
    text = _VARIABLE.sub(lambda found: found[0] if found[2] is None else found[2], word)
    left = _PLACEHOLDER.search(text)
    if left is not None:
        raise NoHand(f"{left[0]} stands for something that this file does not say. Write it out.")
    return text


def _command(words: list[str], packages: Path | None, notes: list[str]) -> tuple[str, ...]:
    name = _program_name(words[0])
    if name == "cmd" and len(words) > 2 and words[1].lower() == "/c":
        return _command(words[2:], packages, notes)
    if name in _SHELLS and any(word in {"-c", "-lc", "/c", "-Command"} for word in words[1:]):
        raise NoHand("It is a line for a shell. Give program and arguments as a list.")
    if name in _CONTAINERS:
        raise NoHand("It is started as a container, which a jail cannot hold. Install the program that is in it.")
    if name == "npx" or (name == "npm" and words[1:2] in (["exec"], ["x"])):
        return _of_npm(words[1:] if name == "npx" else words[2:], packages)
    if name == "uvx" or (name == "uv" and words[1:3] == ["tool", "run"]):
        return _of_python(words[1:] if name == "uvx" else words[3:], notes)
    if name == "pipx" and words[1:2] == ["run"]:
        return _of_python(words[2:], notes)
    if name == "uv":
        return _of_project(words[1:], notes)
    _look_for(words[0], words[0], notes)
    return tuple(words)


def _program_name(word: str) -> str:
    return re.split(r"[\\/]", word)[-1].lower().removesuffix(".exe").removesuffix(".cmd")


def _split(words: Sequence[str], with_value: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    """Options before the first word that is none, and the rest."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        option, equals, value = rest.pop(0).partition("=")
        options[option] = value if equals else rest.pop(0) if option in with_value and rest else ""
    return options, rest[1:] if rest[:1] == ["--"] else rest


def _of_npm(words: Sequence[str], packages: Path | None) -> tuple[str, ...]:
    options, rest = _split(words, _NPX_WITH_VALUE)
    if {"-c", "--call"} & options.keys():
        raise NoHand("It is a line for a shell. Give program and arguments as a list.")
    spec = options.get("--package") or options.get("-p") or (rest[0] if rest else "")
    found = re.fullmatch(r"((?:@[a-z0-9~._-]+/)?[a-z0-9~._-]+)(?:@([A-Za-z0-9._~^*+-]+))?", spec)
    if found is None or not rest:
        raise NoHand("npx is told to run what is no package of the registry. Install it and name its program.")
    package, wanted = found[1], package_program(found[1]) if spec == rest[0] else rest[0]
    if packages is None:
        raise NoHand(
            "npx fetches it anew whenever it starts, and a jail has no network. Run "
            f"'npm install --ignore-scripts --prefix DIR {spec}', and this again with --packages DIR."
        )
    script = _npm_program(packages, package, wanted)
    if script is None:
        raise NoHand(f"{packages} has no {package}. Run 'npm install --ignore-scripts --prefix {packages} {spec}'.")
    node = shutil.which("node")
    if node is None:
        raise NoHand("It needs Node, and there is no program node on PATH.")
    return (node, str(script), *rest[1:])


def package_program(package: str) -> str:
    """The program that npm runs where only a package is named: its name without a scope."""
    return package.rpartition("/")[2]


def _npm_program(packages: Path, package: str, wanted: str) -> Path | None:
    """The script behind a program of an installed package (``bin`` of its ``package.json``)."""
    root = packages / "node_modules" / package
    try:
        declared = json.loads((root / "package.json").read_text(encoding="utf-8")).get("bin")
    except (OSError, ValueError, AttributeError):
        return None
    programs = {package_program(package): declared} if isinstance(declared, str) else declared
    if not isinstance(programs, dict) or not programs:
        return None
    relative = programs.get(wanted) or (next(iter(programs.values())) if len(programs) == 1 else None)
    if not isinstance(relative, str):
        return None
    script = Path(os.path.normpath(root / relative))
    return script if script.is_relative_to(root) and script.is_file() else None


def _of_python(words: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    options, rest = _split(words, _UVX_WITH_VALUE)
    if not rest:
        raise NoHand("It names no program.")
    wanted = re.split(r"[@=<>~!\[]", rest[0])[0]
    _look_for(wanted, options.get("--from") or rest[0].replace("@latest", "").replace("@", "=="), notes)
    return (wanted, *rest[1:])


def _of_project(words: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """``uv [--directory DIR] run PROGRAM``: the project's own environment has the program."""
    before, rest = _split(words, _UVX_WITH_VALUE)
    if rest[:1] != ["run"]:
        raise NoHand("uv is told something else than to run a program. Name the program.")
    after, rest = _split(rest[1:], _UVX_WITH_VALUE)
    options = before | after
    directory = options.get("--directory") or options.get("--project")
    if not directory or not rest:
        raise NoHand("uv runs it where the client happens to be. Name the program by its absolute path.")
    project = Path(directory)
    if rest[0].endswith(".py"):
        rest = ["python", str(project / rest[0]), *rest[1:]]
    path = str(project / ".venv" / "bin" / rest[0])
    _look_for(path, f"the project in {project} (run 'uv sync' there)", notes)
    return (path, *rest[1:])


def _look_for(name: str, from_: str, notes: list[str]) -> None:
    try:
        program(name, ())
    except JailError as exc:
        remedy = (
            f"Install it: pip install '{from_}'."
            if name != from_ and _REQUIREMENT.fullmatch(from_)
            else f"Install {from_}."
        )
        notes.append(f"{exc.detail}. {remedy} An absolute path will do as well.")


def _environment(env: Any, notes: list[str]) -> Iterator[tuple[str, str]]:
    """The variables that may be in a jail. A secret may not, and a value that is elsewhere is none."""
    if not isinstance(env, dict):
        return
    for name, value in env.items():
        named = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        if named is None or not isinstance(value, str) or not _can_be_passed(value):
            notes.append(f"{name} in its env is left out: a variable is a name with a text.")
        elif holds_a_secret(name, value):
            notes.append(
                f"{name} in its env looks like a secret and is left out: none may enter a jail. If it is one, keep it "
                "with 'handrail secrets set', and take it out of that file."
            )
        elif _PLACEHOLDER.search(_VARIABLE.sub(lambda found: found[2] or found[0], value)):
            notes.append(f"{name} in its env is left out: {value} stands for something that this file does not say.")
        else:
            yield name, _VARIABLE.sub(lambda found: found[2] or "", value)


def _named(words: Sequence[str], kind: Callable[[Path], bool]) -> Iterator[Path]:
    """Absolute paths of one kind that its arguments name, each once. What cannot be looked at is none."""
    seen: set[Path] = set()
    for word in words:
        path = Path(word.partition("=")[2] if word.startswith("--") and "=" in word else word)
        if path.is_absolute() and path != Path("/") and path not in seen and _is(path, kind):
            seen.add(path)
            yield path


def _is(path: Path, kind: Callable[[Path], bool]) -> bool:
    try:
        return kind(path)
    except OSError:  # a name that is too long, or a directory that is closed to whoever asks
        return False


def _can_be_passed(word: str) -> bool:
    """Whether a program can be given it: JSON knows NUL and half characters, the kernel does not."""
    try:
        return b"\0" not in word.encode()
    except UnicodeEncodeError:
        return False
