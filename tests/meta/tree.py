"""The tracked files of this repository, as the meta-tests see them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = ("gateway", "hand_adapters", "audit", "keys", "migrations", "client/handrail")
"""What is shipped."""


@cache
def tracked() -> tuple[str, ...]:
    """Paths of every file in Git's index that is there, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [name.decode() for name in listed.split(b"\0") if name]
    return tuple(path for path in paths if (ROOT / path).is_file())


def python_files(*folders: str) -> Iterator[Path]:
    """Tracked Python files below ``folders``."""
    for path in tracked():
        if path.endswith(".py") and any(path.startswith(f"{folder}/") for folder in folders):
            yield ROOT / path


@cache
def text(path: Path) -> str:
    """Content, with what is not UTF-8 replaced."""
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def syntax(path: Path) -> ast.Module:
    """Its syntax tree."""
    return ast.parse(text(path), str(path))
