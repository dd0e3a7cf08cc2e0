"""What runs inside the jail: imports the operator's functions, says what they take, and calls one of them once.

A script of its own (``python -I runner.py``); imports the standard library and the jail's ``landlock``. One JSON line
is read and written at a time:

1. in ``{"source": NAME, "functions": {ACTION: "module:function"}, "describe": bool}``; out ``{"sha256"}``
2. in ``{}``, once that was heard; the source is imported; out ``{"actions"}``
3. in ``{}``; out ``{"stale": bool}``: whether the source is another by now. Then this process ends
4. in ``{"action", "args"}``; out ``{"value"}`` or ``{"raised": TYPE, "text": str | None}``

What decides whether a call is made is said before any code of the source can say it (1), or before the call is known
here (3), so that nothing which has acted can claim that it was never asked.

The answers have a descriptor of their own: what a function prints goes to standard error, and so does what the programs
print that it starts. A function that wants to can still find that descriptor. It can then forge its own answer, which
it could have given anyway; the process is used for one call and then killed.
"""

# pathlib alone would add milliseconds to every start:
# ruff: noqa: PTH112, PTH114, PTH118, PTH119, PTH123

import asyncio
import hashlib
import importlib
import importlib.machinery
import inspect
import json
import os
import stat
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

ROOT: Final = "/hand"
FILES_MAX: Final = 4096
BYTES_MAX: Final = 67_108_864
TEXT_MAX: Final = 2000
_SIMPLE: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    dict: {"type": "object", "additionalProperties": True},
    Any: {},
}

# --- what the source is ----------------------------------------------------------------------------------------------


def files(root: str) -> Iterator[tuple[str, str]]:
    """(name within ``root``, path) of every regular file that an import could read; caches are none of the source."""
    if not os.path.isdir(root):
        yield os.path.basename(root), root
        return
    for directory, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        names += [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in sorted(names):
            path = os.path.join(directory, name)
            yield os.path.relpath(path, root), path


def digest(root: str, sources: dict[str, bytes]) -> str:
    """Hex SHA-256 over names and contents; every source is put into ``sources``, by its path. Raises OSError for what
    is no plain file, or is too much."""
    whole = hashlib.sha256()
    left = BYTES_MAX
    for number, (name, path) in enumerate(files(root)):
        if number >= FILES_MAX or not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(f"{name}: not a plain file, or too many of them")
        with open(path, "rb") as file:
            content = file.read(left + 1)
        left -= len(content)
        if left < 0:
            raise OSError(f"the source has more than {BYTES_MAX} bytes")
        if path.endswith(tuple(importlib.machinery.SOURCE_SUFFIXES)):
            sources[path] = content
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return whole.hexdigest()


def marks(root: str) -> list[tuple[str, int, int, int, int]]:
    """What changes with the source as far as the file system tells."""
    found = []
    for name, path in files(root):
        status = os.lstat(path)
        found.append((name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return found


class Uncached(importlib.machinery.SourceFileLoader):
    """Compiles the very bytes that the digest is of, whenever they are imported. A cached compilation beside a source
    is believed by its time and size alone."""

    sources: typing.ClassVar[dict[str, bytes]] = {}

    def get_code(self, fullname: str) -> types.CodeType:
        """The code of a module, from its source. Raises ImportError for one that the digest is not of."""
        path = self.get_filename(fullname)
        if path not in self.sources:
            raise ImportError(f"{fullname} came after the source was read", name=fullname, path=path)
        return self.source_to_code(self.sources[path], path)


def finder(path: str) -> importlib.machinery.FileFinder:
    """The path hook of the source: extension modules, and sources without their caches."""
    if path != ROOT and not path.startswith(f"{ROOT}/"):
        raise ImportError(path)
    extensions = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    return importlib.machinery.FileFinder(path, extensions, (Uncached, importlib.machinery.SOURCE_SUFFIXES))


# --- what a function takes -------------------------------------------------------------------------------------------


def schema(hint: Any) -> dict[str, Any]:
    """JSON Schema of a type hint. Raises TypeError for one that JSON does not have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None and hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if origin is typing.Annotated:
        return schema(arguments[0])
    if origin is typing.Literal and all(type(value) in _SIMPLE for value in arguments):
        return {"enum": list(arguments)}
    if origin in {typing.Union, types.UnionType}:
        return {"anyOf": [schema(argument) for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": schema(arguments[0])}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": schema(arguments[1])}
    raise TypeError(f"{hint!r} has no JSON Schema here: declare args_schema and result_schema")


def describe(function: Callable[..., Any]) -> dict[str, Any]:
    """``{args_schema, result_schema, description}`` of a function, from its signature."""
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise TypeError(f"the parameter {name} cannot be given by its name alone")
        if name not in hints:
            raise TypeError(f"the parameter {name} has no type")
        properties[name] = schema(hints[name])
        if parameter.default is parameter.empty:
            required.append(name)
    args = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    result = schema(hints["return"]) if "return" in hints else None
    return {"args_schema": args, "result_schema": result, "description": inspect.getdoc(function) or ""}


def problem(function: Callable[..., Any]) -> dict[str, Any]:
    """:func:`describe`, or why it cannot."""
    try:
        return describe(function)
    except (TypeError, NameError, ValueError) as exc:
        return {"problem": f"{type(exc).__name__}: {exc}"[:TEXT_MAX]}


# --- the two exchanges -----------------------------------------------------------------------------------------------


def streams() -> tuple[typing.TextIO, typing.BinaryIO]:
    """Where questions come from and where answers go, both out of the way of what functions read and print."""
    questions, answers = os.dup(0), os.dup(1)  # neither is inherited by programs that a function starts
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(questions, encoding="utf-8"), os.fdopen(answers, "wb")


def load(reference: str) -> Callable[..., Any]:
    """The function ``module:name``."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    if not callable(function):
        raise TypeError(f"{reference} is no function")
    return function


def call(function: Callable[..., Any], args: dict[str, Any]) -> dict[str, Any]:
    """What became of one call."""
    try:
        value = function(**args)
        if inspect.iscoroutine(value):
            value = asyncio.run(_wait(value))
        json.dumps(value, allow_nan=False)
    except BaseException as exc:  # noqa: BLE001 - whatever a function raises, sys.exit too, is its answer
        return {"raised": type(exc).__name__, "text": words(exc)}
    return {"value": value}


def words(exc: BaseException) -> str:
    """The text of an exception, whose ``__str__`` is code of the source as well."""
    try:
        return str(exc)[:TEXT_MAX]
    except Exception:  # noqa: BLE001
        return ""


async def _wait(value: Any) -> Any:
    return await value


def confine() -> None:
    """Before code of the source runs: let nothing be executed from where it can be written, and no mount be changed.

    What the jail shows is read from its mounts. The modules for it are not left behind; the source may have a package
    of that name.
    """
    for name, place in (("hand_adapters", []), ("hand_adapters.jail", ["/jail"])):
        package = types.ModuleType(name)
        package.__path__ = place
        sys.modules[name] = package
    landlock = importlib.import_module("hand_adapters.jail.landlock")
    version = landlock.abi()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        landlock.restrict_files(version, landlock.rights_of_mounts(file.read(), version))
    for name in [name for name in sys.modules if name.split(".")[0] == "hand_adapters"]:
        del sys.modules[name]


def main() -> None:
    """Serve the one call that this process is for."""
    questions, answers = streams()
    confine()

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        answers.flush()

    setup = json.loads(questions.readline())
    root = f"{ROOT}/{setup['source']}"
    before = marks(root)
    say({"sha256": digest(root, Uncached.sources)})
    if not questions.readline():
        return
    sys.path_hooks.insert(0, finder)
    sys.path.insert(0, ROOT)
    functions = {action: load(reference) for action, reference in setup["functions"].items()}
    say({"actions": {action: problem(function) if setup["describe"] else {} for action, function in functions.items()}})
    if not questions.readline():
        return
    stale = marks(root) != before
    say({"stale": stale})
    question = "" if stale else questions.readline()
    if question:
        order = json.loads(question)
        say(call(functions[order["action"]], order["args"]))


if __name__ == "__main__":
    main()
