"""The protocol's own suite against a server, directly and through a gateway: what passes directly passes here too."""

from pathlib import Path

import pytest

from tests.mcp_conformance.__main__ import measure
from tests.mcp_conformance.legs import SERVER
from tests.mcp_conformance.suite import SUITE, SuiteError, lost, node
from tests.services import missing, require

DIRECTLY = {"2025-11-25": 33, "2026-07-28": 40}
"""Revision -> scenarios that the SDK's server passes by itself: a leg in which fewer do measures something else."""


@pytest.mark.parametrize("revision", DIRECTLY)
async def test_no_scenario_is_lost_through_the_gateway(revision: str, tmp_path: Path) -> None:
    require(SUITE.exists() and SERVER.is_dir(), "MCP's conformance suite", "Run make tools.")
    try:
        node()
    except SuiteError as error:
        missing("Node for the conformance suite", f"{error}.")
    found = await measure([revision], tmp_path / "homes", tmp_path)
    direct, through = found[revision]["direct"], found[revision]["through"]
    assert sum(one.good for one in direct.values()) >= DIRECTLY[revision], direct
    assert lost(direct, through) == [], through
