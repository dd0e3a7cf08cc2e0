"""Write requirements.lock from pyproject.toml and client/pyproject.toml: every extra, every hash, no registry address.
deploy/requirements.lock is its part that a container runs, without the tools of developers. AgentDojo,
compliance-trestle, Presidio, Schemathesis, claude-agent-sdk and the agent frameworks that handrail-client's extras
name, which tests run, have environments and locks of their own.

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
RUNTIME = ROOT / "deploy" / "requirements.lock"
APART = {
    "agentdojo": ROOT / "tests" / "agentdojo" / "requirements.lock",
    "trestle": ROOT / "tests" / "controls" / "trestle" / "requirements.lock",
    "presidio": ROOT / "tests" / "personal_data" / "presidio" / "requirements.lock",
    "schemathesis": ROOT / "tests" / "limits" / "schemathesis" / "requirements.lock",
    "agent-frameworks": ROOT / "tests" / "client_tools" / "frameworks" / "requirements.lock",
    "claude-agent-sdk": ROOT / "tests" / "messages" / "agent_sdk" / "requirements.lock",
}
OWN = frozenset({"handrail", "handrail-client"})
HEADER = """\
# Written by `make lock` from pyproject.toml and client/pyproject.toml; do not edit.
# Resolved for CPython 3.11 and newer with every extra; what runs is tested on Linux x86-64.
# Installed with --require-hashes and from wheels only, so that nothing unpinned is built on the way.
"""
APART_HEADER = """\
# Written by `make lock` from requirements.txt beside it; do not edit. Installed by .ci/{name} with --require-hashes.
"""


def wanted(extras: frozenset[str] | None) -> list[str]:
    """Requirements of both distributions with ``extras`` (``None``: every one) and the build backend, sorted,
    without our own names.
    """
    found: set[str] = {"wheel"}
    for path in (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml"):
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        project = document["project"]
        found.update(project.get("dependencies", ()))
        ours = path.parent == ROOT  # the client's extras are frameworks of others
        for name, extra in project.get("optional-dependencies", {}).items() if ours else ():
            if extras is None or name in extras:
                found.update(extra)
        found.update(document["build-system"]["requires"])
    return sorted(line for line in found if re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() not in OWN)


def compile_to(
    target: Path, requirements: list[str], constraint: Path | None, *, upgrade: bool, header: str = HEADER
) -> None:
    """Resolve in a scratch directory, so that no path of this machine can reach ``target``.

    Raises:
        subprocess.CalledProcessError: no resolution; what uv said was printed.
        ValueError: the result would name an address.
    """
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "pyproject.in").write_text("\n".join(requirements) + "\n", encoding="utf-8")
        if target.exists():
            shutil.copy(target, directory / "out.lock")
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "pyproject.in", "--output-file=out.lock",
            "--generate-hashes", "--universal", "--python-version=3.11", "--only-binary=:all:", "--no-header",
            "--strip-extras", "--no-config", "--no-annotate", "--quiet",
        ]  # fmt: skip
        if constraint is not None:
            shutil.copy(constraint, directory / "constraint.lock")
            command.append("--constraint=constraint.lock")
        if upgrade:
            command.append("--upgrade")
        subprocess.run(command, cwd=directory, check=True)
        body = re.sub(r"\A(#.*\n)*\n*", "", (directory / "out.lock").read_text(encoding="utf-8"))
    if "://" in body:
        raise ValueError("the lock would name an address; nothing was written")
    target.write_text(header + "\n" + body, encoding="utf-8")


def main() -> None:
    """Write both files: everything, and what a container runs, at the same versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest releases instead of the locked ones")
    arguments = parser.parse_args()
    compile_to(LOCK, wanted(None), None, upgrade=arguments.upgrade)
    compile_to(RUNTIME, wanted(frozenset({"otlp"})), LOCK, upgrade=True)
    for name, lock in APART.items():
        listed = lock.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        compile_to(lock, listed, None, upgrade=arguments.upgrade, header=APART_HEADER.format(name=name))


if __name__ == "__main__":
    main()
