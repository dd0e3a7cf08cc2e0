"""Run pytest on the given files as nobody: ``python tests/jail/as_nobody.py FILE...``, started by root.

The interpreter, its packages or the repository may lie under a directory that nobody may enter (a 0700 home). A private
mount namespace shows them again, at the same paths, below empty directories that everyone may enter.
"""

import os
import sys
import tempfile
from pathlib import Path

from hand_adapters.jail import kernel

NOBODY = 65_534
ROOT = Path(__file__).resolve().parents[2]


def closed_ancestor(path: Path) -> Path | None:
    """The outermost directory on the way to ``path`` that others may not pass."""
    for ancestor in [*reversed(path.parents), path]:
        if not ancestor.stat().st_mode & 0o001:
            return ancestor
    return None


def show(paths: list[Path]) -> None:
    """Make every one of ``paths`` reachable for all."""
    hidden = [(path, ancestor) for path in paths if (ancestor := closed_ancestor(path)) is not None]
    opened = {path: kernel.open_without_symlinks(str(path)) for path, _ in hidden}
    for ancestor in {ancestor for _, ancestor in hidden}:
        kernel.mount("nobody", str(ancestor), "tmpfs", 0, "mode=0755")
    for path, _ in hidden:
        path.mkdir(parents=True, exist_ok=True)
        kernel.mount(f"/proc/self/fd/{opened[path]}", str(path), None, kernel.MS_BIND | kernel.MS_REC)


def main() -> None:
    prefixes = [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), ROOT]
    search = os.pathsep.join(path for path in sys.path if path)
    temporary = tempfile.mkdtemp(prefix="handrail-nobody-")
    os.chown(temporary, NOBODY, NOBODY)
    kernel.unshare(kernel.CLONE_NEWNS, "mount namespace")
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    show(prefixes)
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.chdir(ROOT)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": temporary, "PYTHONPATH": search}
    environment |= {name: value for name, value in os.environ.items() if name == "HANDRAIL_CI"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", temporary + "/t"]
    os.execve(sys.executable, [*command, *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
