"""Where a program lies on the host, and which directories it needs to run: its virtual environment and interpreter."""

import os
import sys
from pathlib import Path
from typing import Final

from hand_adapters.jail.spec import Bind, JailError

INSIDE: Final = Bind(Path(__file__).parent, "/jail")
"""For programs of ours that give up rights themselves once they run in a jail (``landlock``)."""
SYSTEM_DIRECTORIES: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
"""What every jail sees read-only, where the host has it."""
SEARCHED: Final = ("/usr/local/bin", "/usr/bin", "/bin")
ETC: Final = ("alternatives", "ca-certificates", "ld.so.cache", "localtime", "ssl/certs", "ssl/openssl.cnf")
"""What a jail sees of ``/etc``, where the host has it; the rest is made up."""


def program(name: str, binds: tuple[Bind, ...]) -> tuple[str, tuple[Bind, ...]]:
    """The path by which a jail executes ``name``, and the read-only binds that it needs beside the system's.

    Raises:
        JailError: where there is no such program.
    """
    if "/" in name:
        path = Path(name)
        if not path.is_absolute():
            raise JailError(f"{name}: a program is a bare name or an absolute path")
        if any(path.is_relative_to(bind.target) for bind in binds):
            return name, ()  # a path of the jail, not of the host
    else:
        path = search(name)
    if not os.access(path, os.X_OK) or path.is_dir():
        raise JailError(f"{path}: no such program")
    return str(path), _needs(path)


def search(name: str) -> Path:
    """Where the host has the program of a bare name that a jail executes. Raises JailError where it has none."""
    own = Path(sys.executable).parent
    if name in {"python", "python3"}:
        return own / Path(sys.executable).name
    for directory in (str(own), *SEARCHED):
        candidate = Path(directory, name)
        if os.access(candidate, os.X_OK) and not candidate.is_dir():
            return candidate
    raise JailError(f"{name}: no such program beside {sys.executable} or in {', '.join(SEARCHED)}")


def _needs(path: Path) -> tuple[Bind, ...]:
    real = path.resolve()
    if _of_the_system(path) and _of_the_system(real) and not (path.parent.parent / "pyvenv.cfg").exists():
        return ()
    targets: dict[str, Path] = {}
    environment = next((parent for parent in path.parents if (parent / "pyvenv.cfg").is_file()), None)
    if environment is not None:
        targets[str(environment)] = environment
        base = _base_of(environment)
        if base is not None:
            targets[str(base)] = base
    prefix = real.parent.parent
    if any(prefix.glob("lib/python3*")):
        targets[str(prefix)] = prefix
    elif environment is None or not real.is_relative_to(environment):
        targets[str(path)] = real
    return tuple(Bind(source, target) for target, source in targets.items() if not _of_the_system(Path(target)))


def _of_the_system(path: Path) -> bool:
    return len(path.parts) > 1 and f"/{path.parts[1]}" in SYSTEM_DIRECTORIES


def _base_of(environment: Path) -> Path | None:
    """The prefix of the interpreter that a virtual environment was made from (PEP 405: ``home`` is its bin)."""
    for line in (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return Path(value.strip()).parent
    return None
