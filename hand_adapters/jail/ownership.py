"""What of the gateway's home a jail may see, and whose it is: git and others refuse what someone else owns."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.settings import JailSettings
from hand_adapters.jail.spec import JailError

WORK_AREAS: Final = ("demo", "work")
"""Directories of the home whose contents hands may be given; everything else in a home is the gateway's own."""


def withheld(source: Path, home: Path) -> bool:
    """Whether showing ``source`` would show something of the gateway's own: the home, what holds it, what lies in it
    outside the work areas, or a file of those under a second name (a hard link).

    A work area itself is withheld, so that each hand is given a directory of its own. Both paths are resolved: no part
    of them is a symbolic link.
    """
    if home.is_relative_to(source):
        return True
    if source.is_relative_to(home):
        area, *below = source.relative_to(home).parts
        if area not in WORK_AREAS or not below:
            return True
    found = source.stat()
    return stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and (found.st_dev, found.st_ino) in _own_files(home)


def _own_files(home: Path) -> set[tuple[int, int]]:
    """(device, inode) of every file of the home outside the work areas."""
    found = set()
    for directory, directories, files in os.walk(home, onerror=_raise):
        if Path(directory) == home:
            directories[:] = [name for name in directories if name not in WORK_AREAS]
        for name in files:
            with suppress(FileNotFoundError):  # a database's files come and go
                status = Path(directory, name).lstat()
                found.add((status.st_dev, status.st_ino))
    return found


def adopt(path: Path, home: Path, settings: JailSettings) -> None:
    """Give the tree at ``path``, which lies in a work area of ``home``, to the jail's uid and gid. A no-op unless root.

    Works on descriptors that follow no symbolic link, so that a tree that changes meanwhile leads nowhere else.

    Raises:
        JailError: where ``path`` is not below a work area (:data:`WORK_AREAS`), is not there, or holds a file that is
            not the jail's and has other hard links (it may be someone else's file under a second name).
    """
    root, resolved = home.resolve(), path.resolve()
    try:
        refused = not resolved.is_relative_to(root) or withheld(resolved, root)
    except OSError as exc:
        raise JailError(f"{path}: {exc.strerror}") from None
    if refused:
        raise JailError(f"{path} is not in a work area of the gateway's home {home} ({' or '.join(WORK_AREAS)})")
    if os.getuid() != 0:
        return
    try:
        for _, directories, files, descriptor in os.fwalk(resolved, follow_symlinks=False, onerror=_raise):
            os.fchown(descriptor, settings.uid, settings.gid)
            for name in (*directories, *files):
                _give(name, descriptor, settings)
    except OSError as exc:
        raise JailError(f"{path}: {exc.strerror}") from None


def own_directory(path: Path, settings: JailSettings) -> None:
    """Make a directory of the jail's uid and gid. Raises OSError."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise
    if os.getuid() == 0:
        os.chown(path, settings.uid, settings.gid, follow_symlinks=False)


def _give(name: str, descriptor: int, settings: JailSettings) -> None:
    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    if found.st_uid == settings.uid and found.st_gid == settings.gid:
        return
    if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
        raise JailError(f"{name} has other hard links (for a clone: git clone --no-hardlinks)")
    os.chown(name, settings.uid, settings.gid, dir_fd=descriptor, follow_symlinks=False)


def _raise(error: OSError) -> None:
    raise error
