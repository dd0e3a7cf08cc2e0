"""A small ext4 file system of its own on a loop device, which can be filled, frozen, broken and replaced."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
SIZE_BYTES = 64 << 20


class Device:
    """Mounted at ``mount``; the image lies beside it."""

    def __init__(self, directory: Path) -> None:
        self.mount = directory / "mounted"
        self.mount.mkdir()
        self._image = directory / "image"
        with self._image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        _run("mkfs.ext4", "-q", "-O", "^has_journal", str(self._image))
        mounted = self._attach()
        if mounted.returncode:
            pytest.skip(f"this machine forbids mounting a loop device: {mounted.stderr.strip()}")

    @contextmanager
    def full(self) -> Iterator[None]:
        filler = self.mount / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096) == 4096:
                pass
        yield
        filler.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every write and every fsync waits, uninterruptibly, as it does for a device that never answers."""
        _run("fsfreeze", "-f", str(self.mount))
        try:
            yield
        finally:
            _run("fsfreeze", "-u", str(self.mount))

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """The kernel finds an error and lets nobody write any more (``errors=remount-ro``); later the repaired copy is
        mounted in its place, as after a change of disks. Nothing else lifts that state.
        """
        source = _run("findmnt", "-no", "SOURCE", str(self.mount)).stdout.strip()
        Path("/sys/fs/ext4", Path(source).name, "trigger_fs_error").write_text("1")
        yield
        copy = self._image.with_name("replacement")
        shutil.copyfile(self._image, copy)
        _run("umount", "-l", str(self.mount))
        subprocess.run(["e2fsck", "-fy", str(copy)], env={"PATH": _PATH}, capture_output=True, check=False)
        self._image = copy
        assert self._attach().returncode == 0

    def detach(self) -> None:
        _run("umount", "-l", str(self.mount))

    def _attach(self) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.mount)]
        return subprocess.run(command, env={"PATH": _PATH}, capture_output=True, text=True, check=False)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={"PATH": _PATH}, capture_output=True, text=True, check=True)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    made = Device(tmp_path)
    try:
        yield made
    finally:
        made.detach()
