"""A policy bundle: the Rego modules and data of one directory, read once, named by digest.

The layout is the one that ``opa --bundle`` reads: every ``*.rego`` but ``*_test.rego``, and every ``data.json``, whose
content appears under ``data`` at the path of its directory. A ``data.schema.json`` beside it is a JSON Schema that it
must match. Other files are not part of a bundle. Names that start with a dot are skipped, so a Kubernetes volume (whose
entries are links to ``..data/``) works.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.canonical import canonical, parse, sha256_canonical
from gateway.errors import HandrailError
from gateway.files import read_bounded
from gateway.policy import schemas
from gateway.policy.faults import BundleError, Problem
from gateway.policy.schemas import DATA, SCHEMA

FILE_MAX_BYTES: Final = 1_048_576
BUNDLE_MAX_BYTES: Final = 16_777_216
FILES_MAX: Final = 1000
DEPTH_MAX: Final = 16
ROOT: Final = "handrail"
"""The one name under ``data`` that a bundle may fill: packages ``handrail`` and ``handrail.*``, data likewise."""


@dataclass(frozen=True, slots=True)
class Module:
    """One Rego file of a bundle."""

    path: str
    """Relative to the bundle, with ``/``."""
    source: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """The bytes of one directory at one moment. Equal digests mean equal files.

    Attributes:
        files: (path, hex SHA-256) of every file that counts, sorted by path.
        data_json: the data document of all ``data.json`` files, RFC 8785 canonical.
        digest: hex SHA-256 over the RFC 8785 form of ``[[path, sha256], ...]``.
    """

    modules: tuple[Module, ...]
    data_json: bytes
    files: tuple[tuple[str, str], ...]
    digest: str

    @property
    def data(self) -> Any:
        """The data document, parsed anew."""
        return parse(self.data_json)


def load(directory: Path) -> Bundle:
    """Read the bundle in ``directory``.

    Raises:
        BundleError: naming each file that is missing, unreadable, too large, not UTF-8, not JSON, off its schema, in
            conflict with another, or a link out of the directory.
    """
    return assemble(read(directory))


def read(directory: Path) -> dict[str, bytes]:
    """The files of the bundle in ``directory``: path -> content.

    Raises:
        BundleError: naming each file that is missing, unreadable, too large or a link out of the directory.
    """
    try:
        root = directory.resolve(strict=True)
    except (OSError, RuntimeError) as exc:
        raise BundleError([Problem("", 0, 0, f"{directory}: {_why(exc)}")]) from None
    problems: list[Problem] = []
    files: dict[str, bytes] = {}
    total = 0
    for path in _files(root, problems):
        try:
            files[path] = _read(root, path)
        except (OSError, RuntimeError, _Unfit) as exc:
            problems.append(Problem(path, 0, 0, _why(exc)))
            continue
        total += len(files[path])
        if len(files) > FILES_MAX or total > BUNDLE_MAX_BYTES:
            problems.append(_too_much())
            break
    if not files and not problems:
        problems.append(Problem("", 0, 0, f"{directory}: holds no .rego file"))
    if problems:
        raise BundleError(problems)
    return files


def counts(name: str) -> bool:
    """Whether a file of this name is part of a bundle."""
    return name in {DATA, SCHEMA} or (name.endswith(".rego") and not name.endswith("_test.rego"))


def misread(name: str) -> bool:
    """Whether OPA would read a file of this name and we would not: the bundle would mean two things."""
    return name in {"data.yaml", "data.yml"}


def assemble(files: Mapping[str, bytes]) -> Bundle:
    """The bundle of these files: path (relative, with ``/``) -> content.

    Raises:
        BundleError: naming each file that is no part of a bundle, too large, not UTF-8, not JSON, off its schema or in
            conflict with another.
    """
    if len(files) > FILES_MAX or sum(map(len, files.values())) > BUNDLE_MAX_BYTES:
        raise BundleError([_too_much()])
    problems: list[Problem] = []
    modules: list[Module] = []
    documents: dict[str, Any] = {}
    described: dict[str, Any] = {}
    for path, raw in sorted(files.items()):
        name = path.rpartition("/")[2]
        try:
            _check_path(path)
            if len(raw) > FILE_MAX_BYTES:
                raise _Unfit(f"larger than {FILE_MAX_BYTES} bytes")
            if name.endswith(".rego"):
                modules.append(Module(path, _readable(raw.decode("utf-8"))))
            else:
                (described if name == SCHEMA else documents)[path] = parse(raw)
        except (UnicodeDecodeError, _Unfit) as exc:
            problems.append(Problem(path, 0, 0, _why(exc)))
        except HandrailError as exc:
            problems.append(Problem(path, 0, 0, f"not strict JSON: {exc.detail}"))
    data = _merge(documents, problems)
    problems.extend(schemas.check(documents, described))
    if not modules and not problems:
        problems.append(Problem("", 0, 0, "holds no .rego file"))
    if problems:
        raise BundleError(problems)
    digests = sorted((path, hashlib.sha256(raw).hexdigest()) for path, raw in files.items())
    digest = sha256_canonical([list(file) for file in digests])
    return Bundle(tuple(modules), canonical(data), tuple(digests), digest)


def _readable(source: str) -> str:
    """A source in which every reader sees the lines that the engines see: theirs end at line feeds alone."""
    for number, line in enumerate(source.split("\n"), start=1):
        for char in line:
            if char != "\t" and not char.isprintable() and unicodedata.category(char) in _UNREADABLE:
                raise _Unfit(f"line {number} holds U+{ord(char):04X}, which hides or moves text; lines end with U+000A")
    return source


def _check_path(path: str) -> None:
    parts = path.split("/")
    if len(parts) > DEPTH_MAX + 1 or any(not part or part.startswith(".") for part in parts):
        raise _Unfit("not a path inside of a bundle")
    if not path.isprintable() or "\\" in path or not counts(parts[-1]):
        raise _Unfit("not a file of a bundle")


def _too_much() -> Problem:
    return Problem("", 0, 0, f"more than {FILES_MAX} files or {BUNDLE_MAX_BYTES} bytes")


_UNREADABLE: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that end a line for some readers, reorder what stands around them, or are not seen at all. A
policy writes them as escapes."""


class _Unfit(Exception):
    """A file that a bundle may not hold."""


def _why(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return "not UTF-8" if isinstance(exc, UnicodeDecodeError) else str(exc) or type(exc).__name__


def _files(root: Path, problems: list[Problem]) -> Iterator[str]:
    """Relative path of every file that counts, in a fixed order; directories are followed inside ``root``."""
    pending = [("", 0)]
    seen: set[Path] = set()
    while pending:
        here, depth = pending.pop()
        try:
            real = (root / here).resolve(strict=True)
            if not real.is_relative_to(root):
                raise _Unfit("links out of the bundle")
            if real in seen:
                raise _Unfit("links to a directory that the bundle already holds")
            seen.add(real)
            names = sorted(entry.name for entry in real.iterdir())
        except (OSError, RuntimeError, _Unfit) as exc:
            problems.append(Problem(here, 0, 0, _why(exc)))
            continue
        for name in names:
            path = f"{here}/{name}" if here else name
            if name.startswith("."):
                continue
            if (root / path).is_dir():
                if depth >= DEPTH_MAX:
                    problems.append(Problem(path, 0, 0, f"deeper than {DEPTH_MAX} directories"))
                else:
                    pending.append((path, depth + 1))
            elif misread(name):
                problems.append(Problem(path, 0, 0, "data must be JSON here: rename it to data.json"))
            elif counts(name):
                yield path


def _read(root: Path, path: str) -> bytes:
    real = (root / path).resolve(strict=True)
    if not real.is_relative_to(root):
        raise _Unfit("links out of the bundle")
    return read_bounded(real, FILE_MAX_BYTES, follow=False)


def _merge(documents: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """One data document from all files; a member may come from one file only."""
    data: dict[str, Any] = {}
    for path, document in sorted(documents.items()):
        segments = path.split("/")[:-1]
        if not isinstance(document, dict):
            problems.append(Problem(path, 0, 0, "data must be a JSON object"))
            continue
        if (segments[0] if segments else next(iter(document), ROOT)) != ROOT or (not segments and len(document) > 1):
            problems.append(Problem(path, 0, 0, f"data outside data.{ROOT}"))
            continue
        place: Any = data
        for segment in segments:
            place = place.setdefault(segment, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or place.keys() & document.keys():
            problems.append(Problem(path, 0, 0, "sets data that another file of the bundle sets"))
            continue
        place.update(document)
    return data
