"""Files that commands write: whole or not at all, and over an existing file only with ``--force``."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from gateway.cli.exits import Code, Stop
from gateway.files import writing

Force = Annotated[bool, typer.Option("--force", help="Replace a file of that name.")]


def refuse_existing(file: Path, *, force: bool) -> None:
    """Say at once what :func:`saving` would say at the end, before anybody is asked for anything.

    Raises:
        Stop: it is there.
    """
    if not force and os.path.lexists(file):
        raise _exists(file)


@contextmanager
def saving(file: Path, *, force: bool, private: bool) -> Iterator[BinaryIO]:
    """A stream whose content becomes ``file``.

    Raises:
        Stop: it is there, or cannot be written.
    """
    refuse_existing(file, force=force)
    try:
        with writing(file, replace=force, private=private) as stream:
            yield stream
    except FileExistsError:
        raise _exists(file) from None
    except OSError as exc:
        raise Stop(f"{file}: {exc.strerror}", "Check the directory, and who may write there.", code=Code.FILE) from None


def save(file: Path, content: bytes | str, *, force: bool, private: bool) -> None:
    """:func:`saving` for content that is there."""
    with saving(file, force=force, private=private) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def save_json(file: Path, document: Any, *, force: bool, private: bool) -> None:
    """:func:`save` for JSON that people may look into."""
    save(file, json.dumps(document, indent=2) + "\n", force=force, private=private)


def make_directory(directory: Path) -> None:
    """A private directory for files to save, where it is not there.

    Raises:
        Stop: it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise Stop(f"{directory}: {exc.strerror}", "Choose another directory.", code=Code.FILE) from None


def _exists(file: Path) -> Stop:
    return Stop(f"{file}: exists already", "Choose another name, or give --force to replace it.", code=Code.EXISTS)
