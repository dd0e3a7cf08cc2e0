"""Files of keys, as they may be read: regular, of bounded size, and closed to everybody else.

A file that an operator names may be a link: Kubernetes mounts its secrets as links, and what counts is the file at the
end. A file in a directory that the gateway alone fills is never one, so that nobody puts another's there.
"""

import os
import stat
from pathlib import Path

from gateway.files import NotRegular, TooLarge, bounded, reading
from keys.errors import KeyUnavailable, SealBroken


def read_named(file: Path, max_bytes: int, what: str) -> bytes:
    """The content of a file that an operator names; a link is followed.

    Args:
        what: what the file should be, for people.

    Raises:
        SealBroken: it is another kind of file, or longer than ``max_bytes``.
        KeyUnavailable: it cannot be read, is somebody else's, or the group or others can read it.
    """
    return _read(file, max_bytes, what, follow=True)


def read_own(file: Path, max_bytes: int, what: str) -> bytes:
    """As :func:`read_named`, of a file that the gateway made: a link in its place is refused."""
    return _read(file, max_bytes, what, follow=False)


def _read(file: Path, max_bytes: int, what: str, *, follow: bool) -> bytes:
    try:
        with reading(file, follow=follow) as stream:
            status = os.fstat(stream.fileno())
            content = bounded(stream, max_bytes, file)
    except (NotRegular, TooLarge) as exc:
        raise SealBroken(f"{file}: not a {what}: {exc.strerror}") from None
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
    if status.st_mode & 0o077:
        raise KeyUnavailable(f"{file}: mode {stat.S_IMODE(status.st_mode):04o} is open to others; chmod 600")
    if status.st_uid not in (0, os.geteuid()):
        raise KeyUnavailable(f"{file}: belongs to uid {status.st_uid}")
    return content
