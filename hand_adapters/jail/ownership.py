"""Work directories belong to the jail's uid: git and others refuse what is owned by someone else."""

import os
import stat
from pathlib import Path

from gateway.settings import JailSettings
from hand_adapters.jail.spec import JailError


def adopt(path: Path, home: Path, settings: JailSettings) -> None:
    """Give the tree at ``path``, which lies under ``home``, to the jail's uid and gid. A no-op unless root.

    Works on descriptors that follow no symbolic link, so that a tree that changes meanwhile leads nowhere else.

    Raises:
        JailError: where ``path`` is the home or outside it, is not there, or holds a file that is not the jail's and
            has other hard links (it may be someone else's file under a second name).
    """
    root, resolved = home.resolve(), path.resolve()
    if resolved == root or not resolved.is_relative_to(root):
        raise JailError(f"{path} is not below the gateway's home {home}")
    if os.getuid() != 0:
        return
    try:
        for _, directories, files, descriptor in os.fwalk(resolved, follow_symlinks=False, onerror=_raise):
            os.fchown(descriptor, settings.uid, settings.gid)
            for name in (*directories, *files):
                _give(name, descriptor, settings)
    except OSError as exc:
        raise JailError(f"{path}: {exc.strerror}") from None


def _give(name: str, descriptor: int, settings: JailSettings) -> None:
    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    if found.st_uid == settings.uid and found.st_gid == settings.gid:
        return
    if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
        raise JailError(f"{name} has other hard links (for a clone: git clone --no-hardlinks)")
    os.chown(name, settings.uid, settings.gid, dir_fd=descriptor, follow_symlinks=False)


def _raise(error: OSError) -> None:
    raise error
