"""Run the suite on both legs, and say what is lost between: ``python -m tests.mcp_conformance [--requirements R]``.

Exit status 1 where a scenario that passes directly does not pass through the gateway.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.mcp_conformance.legs import direct, everything, through
from tests.mcp_conformance.suite import REVISIONS, Found, SuiteError, lost, run


async def measure(
    revisions: list[str], homes: Path, place: Path, say: Console | None = None
) -> dict[str, dict[str, dict[str, Found]]]:
    """Revision -> leg -> scenario -> what was found.

    Args:
        homes: a directory for the homes of gateways.
        place: one for what the suite and the server print.
        say: where each leg is announced.

    Raises:
        SuiteError: a part is missing or broke, so that nothing was measured.
    """
    found: dict[str, dict[str, dict[str, Found]]] = {}
    async with everything(place / "server.log") as server:
        for revision in revisions:
            found[revision] = {}
            for leg, way in (("direct", direct(server)), ("through", through(server, homes / revision))):
                async with way as url:
                    if say is not None:
                        say.print(f"{revision} {leg} ...", style="dim")
                    found[revision][leg] = dict(await run(url, revision, place / f"{revision}-{leg}.log"))
    return found


def _table(revision: str, legs: dict[str, dict[str, Found]]) -> Table:
    table = Table("scenario", "direct", "through the gateway", title=f"Requirements of {revision}")
    for name, one in legs["direct"].items():
        other = legs["through"].get(name)
        shown = "missing" if other is None else f"{other.passed} passed, {other.failed} failed"
        style = "red" if name in lost(legs["direct"], legs["through"]) else ""
        scored = "" if one.scored else " (not scored)"
        table.add_row(name + scored, f"{one.passed} passed, {one.failed} failed", shown, style=style)
    return table


def main() -> int:
    """Measure, print a table for each revision, and count what was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mcp_conformance", description="MCP's conformance suite, twice."
    )
    parser.add_argument("--requirements", choices=REVISIONS, action="append", help="one revision; default: both")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="a directory for what the suite and the server print")
    asked = parser.parse_args()
    say = Console(stderr=True)
    with TemporaryDirectory(prefix="handrail-conformance-") as temporary:
        place = asked.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        try:
            found = asyncio.run(measure(asked.requirements or list(REVISIONS), Path(temporary), place, say))
        except SuiteError as error:
            say.print(f"{error}", style="red")
            return 2
    all_lost = {revision: lost(legs["direct"], legs["through"]) for revision, legs in found.items()}
    if asked.json:
        document: dict[str, Any] = {
            revision: {
                "lost": all_lost[revision],
                **{leg: {name: [one.passed, one.failed] for name, one in rows.items()} for leg, rows in legs.items()},
            }
            for revision, legs in found.items()
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        for revision, legs in found.items():
            Console().print(_table(revision, legs))
            good = sum(one.good for one in legs["direct"].values())
            Console().print(f"{good} pass directly; {len(all_lost[revision])} of them are lost through the gateway.")
    return 1 if any(all_lost.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
