"""Directories that contexts have of their own: what one call leaves there, the next one of its context finds."""

import asyncio
import contextvars
import hashlib
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import structlog

from gateway.canonical import canonical
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.jail import Bind, Jail, JailError

_log = structlog.get_logger(__name__)

TARGET: Final = "/workspace"
_DAY_SECONDS: Final = 86_400
_FILES: Final = "files"
_OLD: Final = "old-"
"""Before the name of a directory that is put aside, to be removed."""
_ASIDE: Final = re.compile(rf"{_OLD}[0-9a-f]{{32}}-[0-9]+")
_REMOVAL_SECONDS: Final = 60.0
"""For the removal of one; what is left then, the next one goes on with."""
_NAME_CHARACTERS: Final = 32
_SAID_MAX: Final = 300
"""Characters of what was said of a directory that stays."""


class Workspaces:
    """The directories of one hand, in a directory of the operator's that no jail sees as a whole.

    A name tells neither context nor tenant. A context is one principal's, so nobody else comes to its directory.
    """

    def __init__(self, place: Path, days: float, jail: Jail) -> None:
        self._place = place.absolute()
        self._seconds = days * _DAY_SECONDS
        self._jail = jail
        self._lock = threading.Lock()
        self._removing: asyncio.Task[None] | None = None
        self._closed = False

    async def bind(self, tenant: str, context_id: str) -> Bind:
        """What a call of the context sees; made where it is not there. Before one is made, those are put aside that
        nobody used for so long; they are removed while nobody waits, like what an earlier life left of that.

        Raises:
            HandError: ``hand.unavailable``, not executed.
        """
        name = hashlib.sha256(canonical([tenant, context_id])).hexdigest()[:_NAME_CHARACTERS]
        try:
            made = await asyncio.to_thread(self._ready, name)
        except JailError as error:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, error.detail) from None
        except OSError as error:
            detail = f"{self._place}: {error.strerror}"
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail) from None
        if self._removing is None or (made and self._removing.done()):
            self._removing = asyncio.create_task(asyncio.to_thread(self._remove_all), context=contextvars.Context())
        return Bind(self._place / name / _FILES, TARGET, writable=True)

    async def close(self) -> None:
        """Begin no further removal, and wait for the one that is under way."""
        self._closed = True
        if self._removing is not None:
            await self._removing

    def _ready(self, name: str) -> bool:
        """The directory that a jail sees lies in one that is the gateway's, whose time says when it was used last.
        Whether it was made."""
        path = self._place / name
        with self._lock:  # else one could be put aside that another call is about to use
            made = not path.exists()
            if made:
                self._put_aside()
                path.mkdir(mode=0o711, exist_ok=True)
            self._jail.own_directory(path / _FILES)
            os.utime(path)
        return made

    def _put_aside(self) -> None:
        """Rename what is too old, which takes no time."""
        before = time.time() - self._seconds
        for entry in os.scandir(self._place):
            if len(entry.name) == _NAME_CHARACTERS and entry.is_dir(follow_symlinks=False):
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        Path(entry.path).rename(self._place / f"{_OLD}{entry.name}-{time.time_ns()}")
                except FileNotFoundError:
                    continue  # by another gateway
                except OSError as error:
                    _log.warning("a workspace is not removed", path=entry.path, detail=error.strerror)

    def _remove_all(self) -> None:
        """Remove what was put aside. What cannot be removed is said, and keeps nobody from working."""
        try:
            entries = list(os.scandir(self._place))
        except OSError as error:
            _log.warning("no workspace is removed", path=str(self._place), detail=error.strerror)
            return
        for entry in entries:
            if self._closed:
                return
            if _ASIDE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                try:
                    _remove(entry.path)
                except subprocess.TimeoutExpired:
                    _log.warning("a workspace is not removed yet", path=entry.path)
                except (OSError, subprocess.CalledProcessError) as error:
                    said = error.strerror if isinstance(error, OSError) else str(error.stderr)[-_SAID_MAX:]
                    _log.warning("a workspace is not removed", path=entry.path, detail=said)


def _remove(path: str) -> None:
    """Remove a directory and all in it, however deep a session nested it: Python's own way is a call for each level,
    and ends with the thousandth."""
    try:
        _run("rm", "-rf", "--one-file-system", "--", path)
    except subprocess.CalledProcessError:
        # A session may have taken the right to write from its own directories: they are the gateway's user's, like it.
        _run("chmod", "-R", "u+rwx", "--", path)
        _run("rm", "-rf", "--one-file-system", "--", path)


def _run(*command: str) -> None:
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=_REMOVAL_SECONDS,
    )
