"""Write requirements.lock from pyproject.toml and client/pyproject.toml: every extra, every hash, no registry address.

Pins stay where they are unless ``--upgrade`` is given. Handrail's own two distributions are left out; they are
installed from the checkout. setuptools and wheel are in, so that those two build offline, without isolation.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OWN = frozenset({"handrail", "handrail-client"})
HEADER = """\
# Written by `make lock` from pyproject.toml and client/pyproject.toml; do not edit.
# Resolved for CPython 3.11 and newer with every extra; what runs is tested on Linux x86-64.
# Installed with --require-hashes and from wheels only, so that nothing unpinned is built on the way.
"""


def wanted() -> list[str]:
    """Requirements of both distributions with all extras and the build backend, sorted, without our own names."""
    found: set[str] = {"wheel"}
    for path in filter(Path.exists, (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml")):
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        project = document["project"]
        found.update(project.get("dependencies", ()))
        for extra in project.get("optional-dependencies", {}).values():
            found.update(extra)
        found.update(document["build-system"]["requires"])
    return sorted(line for line in found if re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() not in OWN)


def main() -> int:
    """Compile in a scratch directory, so that no path of this machine can reach the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest releases instead of the locked ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "pyproject.in").write_text("\n".join(wanted()) + "\n", encoding="utf-8")
        if LOCK.exists():
            shutil.copy(LOCK, directory / LOCK.name)
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "pyproject.in", f"--output-file={LOCK.name}",
            "--generate-hashes", "--universal", "--python-version=3.11", "--only-binary=:all:", "--no-header",
            "--strip-extras", "--no-config", "--quiet",
        ]  # fmt: skip
        if arguments.upgrade:
            command.append("--upgrade")
        done = subprocess.run(command, cwd=directory, check=False)
        if done.returncode:
            return done.returncode
        body = re.sub(r"\A(#.*\n)*\n*", "", (directory / LOCK.name).read_text(encoding="utf-8"))
    if "://" in body:
        sys.stderr.write("The lock would name an address; nothing was written.\n")
        return 1
    LOCK.write_text(HEADER + "\n" + body, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
