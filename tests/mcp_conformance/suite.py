"""The suite as a process (npm ``@modelcontextprotocol/conformance``), and what it found."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SUITE: Final = ROOT / ".tools/mcp-conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js"
REVISIONS: Final = ("2025-11-25", "2026-07-28")
NODE_MIN: Final = 22

_SCENARIO: Final = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed$", re.MULTILINE)
_UNSCORED: Final = re.compile(r"^  [✓✗] ([\w-]+) \([\w-]+\)$", re.MULTILINE)


class SuiteError(RuntimeError):
    """The suite did not run, or said nothing that can be read."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one scenario: how many of its checks passed and failed, and whether the revision counts it."""

    passed: int
    failed: int
    scored: bool

    @property
    def good(self) -> bool:
        """Whether the scenario passed: something was checked, and nothing failed."""
        return self.failed == 0 and self.passed > 0


def node() -> str:
    """A Node that is new enough: the one that ``make tools`` installed, or the system's.

    Raises:
        SuiteError: there is none.
    """
    for program in (str(ROOT / ".tools/node/bin/node"), shutil.which("node")):
        if program is None or not Path(program).exists():
            continue
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if int(told.lstrip("v").split(".")[0]) >= NODE_MIN:
            return program
    raise SuiteError(f"Node {NODE_MIN} is missing; run make tools")


async def run(url: str, revision: str, log: Path, timeout_seconds: float = 600) -> Mapping[str, Found]:
    """Run every scenario that a revision requires of a server.

    Args:
        log: what the suite prints goes there.

    Returns:
        Scenario -> what was found.

    Raises:
        SuiteError: it did not end in time, or its output has no summary.
    """
    if not SUITE.exists():
        raise SuiteError("the conformance suite is missing; run make tools")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(node(), str(SUITE), "server", "--url", url, "--requirements", revision),
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise SuiteError(f"not done after {timeout_seconds:.0f} s; see {log}") from None
    return summary(log.read_text(encoding="utf-8"))


def summary(printed: str) -> Mapping[str, Found]:
    """Read the summary at the end of what the suite printed.

    Raises:
        SuiteError: there is none.
    """
    _, _, told = printed.partition("=== SUMMARY ===")
    unscored = set(_UNSCORED.findall(told))
    found = {
        name: Found(int(passed), int(failed), name not in unscored) for name, passed, failed in _SCENARIO.findall(told)
    }
    if not found:
        raise SuiteError("the suite printed no summary")
    return found


def lost(direct: Mapping[str, Found], through: Mapping[str, Found]) -> list[str]:
    """Scenarios that pass directly and not through the gateway."""
    return [name for name, found in direct.items() if found.good and not (name in through and through[name].good)]
