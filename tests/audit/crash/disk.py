"""A directory whose power can be cut: what was not synchronised is lost, or a random part of it is.

``power_cut.c`` keeps the stable copy (its first lines say what is tracked); here that is put in the place of the files.
"""

import ctypes
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

SOURCE = Path(__file__).with_name("power_cut.c")
SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""


def compile_interposer(directory: Path) -> Path:
    """Build the library; needs a C compiler."""
    library = directory / "power_cut.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


@dataclass(frozen=True)
class Node:
    """A file or directory that still has a name."""

    path: Path
    is_directory: bool


class Disk:
    """One directory and its stable copy. Who writes into it runs with :attr:`environment`.

    Args:
        names: when a new name is stable; ``posix`` or ``linux``, see ``power_cut.c``.
    """

    def __init__(self, directory: Path, library: Path, names: str = "posix") -> None:
        self.live, self._stable = directory / "live", directory / "stable"
        self.live.mkdir(mode=0o700)
        self._settings = {
            "POWER_CUT_LIVE": str(self.live),
            "POWER_CUT_STABLE": str(self._stable),
            "POWER_CUT_NAMES": names,
        }
        self._library = ctypes.CDLL(str(library))
        self.environment: Mapping[str, str] = {**self._settings, "LD_PRELOAD": str(library)}

    def settle(self) -> None:
        """Everything that is there counts as synchronised. Nobody may be writing."""
        shutil.rmtree(self._stable, ignore_errors=True)
        for kind in ("files", "names"):
            (self._stable / kind).mkdir(parents=True)
        os.environ.update(self._settings)  # for the library in this process
        for path in (self.live, *self.live.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self._library.power_cut_publish(descriptor)
            os.close(descriptor)
        owner = self.live.stat()
        for path in (self._stable, *self._stable.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)

    def cut(self, random: Random, survives: float = 0.0) -> int:
        """Leave what a disk would hold, and settle it. Whoever was writing must have been killed.

        Args:
            survives: how likely each sector, length and name that was not synchronised is there all the same.

        Returns:
            Bytes that were written and are not there any more.
        """
        rebuilt = self.live.with_name("rebuilt")
        alive = {self._identify(path): Node(path, path.is_dir()) for path in self._walk()}
        lost = self._rebuild(self._identify(self.live), rebuilt, alive, random, survives)
        owner = self.live.stat()
        for path in (rebuilt, *rebuilt.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o700 if path.is_dir() else 0o600)
        shutil.rmtree(self.live)
        rebuilt.rename(self.live)
        self.settle()
        return lost

    def _walk(self) -> list[Path]:
        found = [self.live, *self.live.rglob("*")]
        for path in found:
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise RuntimeError(f"neither file nor directory: {path}")
        return found

    def _rebuild(self, directory: str, target: Path, alive: Mapping[str, Node], random: Random, survives: float) -> int:
        target.mkdir()
        lost = 0
        stable = self._names(directory)
        current = alive.get(directory)
        now = {} if current is None else {path.name: self._identify(path) for path in current.path.iterdir()}
        for name in sorted({*stable, *now}):
            identity = now.get(name) if random.random() < survives else stable.get(name)
            if identity is None:
                lost += current.path.joinpath(name).stat().st_size if current is not None and name in now else 0
                continue
            node = alive.get(identity)
            if (self._stable / "names" / identity).exists() or (node is not None and node.is_directory):
                lost += self._rebuild(identity, target / name, alive, random, survives)
            else:
                lost += self._rebuild_file(identity, target / name, node, random, survives)
        return lost

    def _rebuild_file(self, identity: str, target: Path, node: Node | None, random: Random, survives: float) -> int:
        kept = self._stable / "files" / identity
        stable = kept.read_bytes() if kept.exists() else b""
        now = stable if node is None else node.path.read_bytes()
        if stable == now:
            target.write_bytes(stable)
            return 0
        length = len(now) if random.random() < survives else len(stable)
        content = bytearray(stable[:length].ljust(length, b"\0"))
        lost = max(0, len(now) - length)
        for start in range(0, min(length, len(now)), SECTOR_BYTES):
            sector = slice(start, min(start + SECTOR_BYTES, length, len(now)))
            if content[sector] != now[sector]:
                if random.random() < survives:
                    content[sector] = now[sector]
                else:
                    lost += sector.stop - sector.start
        target.write_bytes(content)
        return lost

    def _names(self, directory: str) -> dict[str, str]:
        listed = self._stable / "names" / directory
        lines = listed.read_text().splitlines() if listed.exists() else []
        return {name: identity for identity, _, name in (line.partition(" ") for line in lines)}

    def _identify(self, path: Path) -> str:
        found = ctypes.create_string_buffer(64)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self._library.power_cut_identify(descriptor, path.name.encode(), found):
                raise FileNotFoundError(path)
        finally:
            os.close(descriptor)
        return found.value.decode()
