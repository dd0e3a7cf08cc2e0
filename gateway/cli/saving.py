"""Files that commands write: whole or not at all, and over an existing file only with ``--force``."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, TypeVar

import typer

from gateway.cli.exits import Code, Exit, Stop
from gateway.files import sync_directory, write, writing

Result = TypeVar("Result")

_TAIL_BYTES: Final = 1 << 20

Force = Annotated[bool, typer.Option("--force", help="Replace a file of that name.")]


def refuse_existing(file: Path, *, force: bool, directory: bool = False) -> None:
    """Say at once what :func:`saving` would say at the end, before anybody is asked for anything.

    Args:
        directory: it is to be one, and what is in it may be replaced.

    Raises:
        Stop: it is there.
    """
    wrong = _is_directory(file) and not directory
    if os.path.lexists(file) and (not force or wrong):
        raise Stop(f"{file}: is a directory", "Name a file.", code=Code.EXISTS) if wrong else _exists(file)


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


class Unfinished:
    """A file that takes long to write: it grows beside its name and gets it when it is whole. One that broke off can be
    gone on with, by the same request.

    Attributes:
        file: the name that it will get.
        size: bytes that are there.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._partial = file.with_name(f"{file.name}.partial")
        self._state = file.with_name(f"{file.name}.partial.json")
        self.size = 0

    def begin(self, request: Mapping[str, Any], *, force: bool) -> None:
        """Start anew.

        Raises:
            Stop: the file, or an unfinished one, is there.
        """
        refuse_existing(self.file, force=force)
        if not force and os.path.lexists(self._partial):
            hint = "Go on with it by --resume, or give --force to start anew."
            raise Stop(f"{self._partial}: an unfinished one is there", hint, code=Code.EXISTS)
        with _file_errors(self.file):
            self._state.unlink(missing_ok=True)
            write(self._partial, b"", replace=True)
            write(self._state, json.dumps(dict(request)).encode(), replace=True)

    def resume(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Go on; returns what :meth:`begin` and :meth:`remember` kept.

        Raises:
            Stop: there is none, or it was begun by another request.
        """
        try:
            kept = json.loads(self._state.read_bytes())
            self.size = self._partial.stat().st_size
        except (OSError, ValueError):
            hint = "Start it without --resume."
            raise Stop(f"{self.file}: no unfinished one is there", hint, code=Code.FILE) from None
        if not isinstance(kept, dict) or {name: kept.get(name) for name in request} != dict(request):
            hint = "Give the options that it was begun with, or --force without --resume to start anew."
            raise Stop(f"{self._partial}: begun by another request", hint)
        return kept

    def remember(self, request: Mapping[str, Any], **more: Any) -> None:
        """Keep what going on needs."""
        with _file_errors(self.file):
            write(self._state, json.dumps({**request, **more}).encode(), replace=True)

    def cut_to_last_line(self) -> bytes:
        """Drop what stands behind the last line end; returns the last line, empty where there is none."""
        with _file_errors(self.file), self._partial.open("r+b") as stream:
            tail = b""
            place = self.size
            while place and tail.count(b"\n") < 2:
                step = min(place, _TAIL_BYTES)
                place -= step
                stream.seek(place)
                tail = stream.read(step) + tail
            end = tail.rfind(b"\n") + 1
            self.size = place + end
            stream.truncate(self.size)
        return tail[:end].rstrip(b"\n").rpartition(b"\n")[2]

    def cut(self, look: Callable[[BinaryIO], tuple[int, Result]]) -> Result:
        """Keep as many bytes as ``look``, which reads what is there, says; returns what else it says."""
        with _file_errors(self.file), self._partial.open("r+b") as stream:
            self.size, found = look(stream)
            stream.truncate(self.size)
        return found

    def empty(self) -> None:
        """Drop everything."""
        with _file_errors(self.file):
            write(self._partial, b"", replace=True)
        self.size = 0

    def sha256(self) -> str:
        """Of what is there."""
        with _file_errors(self.file), self._partial.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @contextmanager
    def growing(self) -> Iterator[BinaryIO]:
        """A stream that adds to it. What was added stays where the block fails."""
        with _file_errors(self.file), self._partial.open("ab") as stream:
            try:
                yield stream
            finally:
                stream.flush()
                os.fsync(stream.fileno())
                self.size = stream.tell()

    def finish(self, *, force: bool) -> None:
        """Give it its name. Raises ``Stop`` where another file has it by now."""
        refuse_existing(self.file, force=force)
        with _file_errors(self.file):
            self._partial.replace(self.file)
            self._state.unlink(missing_ok=True)
            sync_directory(self.file.parent)

    def discard_if_empty(self) -> None:
        """Leave nothing of one of which nothing came."""
        with _file_errors(self.file):
            if self._partial.stat().st_size == 0:
                self._partial.unlink()
                self._state.unlink(missing_ok=True)

    def broke_off(self) -> Stop:
        """What to say where somebody stops it."""
        hint = "Give the same command with --resume to go on."
        return Stop(f"{self.file}: stopped; {self.size} bytes are kept", hint, Exit.WAITING, code=Code.INTERRUPTED)


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Stop(f"{file}: {exc.strerror}", "Check the directory, and who may write there.", code=Code.FILE) from None


def _is_directory(file: Path) -> bool:
    """Whether it is one, and not the name of one elsewhere, which can be replaced."""
    return file.is_dir() and not file.is_symlink()


def _exists(file: Path) -> Stop:
    return Stop(f"{file}: exists already", "Choose another name, or give --force to replace it.", code=Code.EXISTS)
