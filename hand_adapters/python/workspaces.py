"""Directories that contexts have of their own: what one call leaves there, the next one of its context finds."""

import asyncio
import hashlib
import os
import subprocess
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

    async def bind(self, tenant: str, context_id: str) -> Bind:
        """What a call of the context sees; made where it is not there. Before one is made, those are removed that
        nobody used for so long.

        Raises:
            HandError: ``hand.unavailable``, not executed.
        """
        name = hashlib.sha256(canonical([tenant, context_id])).hexdigest()[:_NAME_CHARACTERS]
        try:
            await asyncio.to_thread(self._ready, name)
        except JailError as error:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, error.detail) from None
        except OSError as error:
            detail = f"{self._place}: {error.strerror}"
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail) from None
        return Bind(self._place / name / _FILES, TARGET, writable=True)

    def _ready(self, name: str) -> None:
        """The directory that a jail sees lies in one that is the gateway's, whose time says when it was used last."""
        path = self._place / name
        if not path.exists():
            self._tidy()
            path.mkdir(mode=0o711, exist_ok=True)
        self._jail.own_directory(path / _FILES)
        os.utime(path)

    def _tidy(self) -> None:
        """Remove what is too old. What cannot be removed is said, and keeps nobody from working."""
        before = time.time() - self._seconds
        for entry in os.scandir(self._place):
            if len(entry.name) == _NAME_CHARACTERS and entry.is_dir(follow_symlinks=False):
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        _remove(entry.path)
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
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
