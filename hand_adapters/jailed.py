"""What the adapters share whose hands run in the jail: environment, binds, checks, and how a broken run is judged."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.files import read_bounded
from gateway.manifest import SideEffects
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError
from hand_adapters import reach
from hand_adapters.contract import HandError
from hand_adapters.jail import PROFILES, Bind

ENVIRONMENT: Final = {
    "HOME": "/tmp",  # noqa: S108 (inside the jail, private to it)
    "LANG": "C.UTF-8",
    # glibc would reserve 64 MiB of address space for each thread. Without a cgroup that is what is limited, and three
    # threads would take all of it.
    "MALLOC_ARENA_MAX": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TZ": "UTC",
}
"""The environment of a jailed hand but for what its declaration says: the same for everybody, so it tells nothing."""


def check(hand_id: str, settings: HandSettings) -> None:
    """Check what every jailed hand declares. Raises ``SettingsError``: unknown profile, or a bind that is no path."""
    where = f"hands.{hand_id}"
    if settings.jail_profile not in PROFILES:
        raise SettingsError(f"{where}.jail_profile: one of {', '.join(sorted(PROFILES))}")
    for bind in settings.binds:
        if not bind.source.exists():
            raise SettingsError(f"{where}.binds: {bind.source} does not exist")
    reach.egress_rules(hand_id, settings)
    reach.secret_uses(hand_id, settings)


def binds(settings: HandSettings) -> tuple[Bind, ...]:
    """The operator's binds."""
    return tuple(
        Bind(bind.source.absolute(), bind.target or str(bind.source.absolute()), bind.writable)
        for bind in settings.binds
    )


def environment(settings: HandSettings) -> Mapping[str, str]:
    """The whole environment of a hand's programs."""
    return ENVIRONMENT | settings.env


def cut_short(action: ActionSettings) -> HandFailure:
    """What is known of a run that began and did not end well. One that has no side effects has none half done."""
    return HandFailure.EXECUTED if action.side_effects is SideEffects.NONE else HandFailure.UNKNOWN


def file_sha256(path: Path, most: int) -> str:
    """Hex SHA-256 of a regular file of at most ``most`` bytes."""
    return hashlib.sha256(read_file(path, most)).hexdigest()


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file; a pipe or device in its place is not waited for.

    Raises:
        HandError: ``hand.unavailable``, not executed: it is not there, no regular file, or larger than ``most`` bytes.
    """
    try:
        return read_bounded(path, most)
    except OSError as exc:
        raise _unavailable(f"{path}: {exc.strerror}") from None


def signature(path: Path) -> tuple[int, ...]:
    """What changes with a file's content as far as the file system tells; empty where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _unavailable(detail: str) -> HandError:
    return HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail)
