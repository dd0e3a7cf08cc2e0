"""docs/api.md says what the code does: every route with its roles, every reason with its status."""

import re
from pathlib import Path

import pytest

from gateway.ingress.mcp.sessions import SESSIONS_PER_PRINCIPAL_MAX
from gateway.permissions import EVERYONE, ROLE_PERMISSIONS
from gateway.reasons import TEXTS, Reason
from gateway.web.errors import ERRORS
from gateway.web.routes import TABLE
from gateway.web.routing import Access, Endpoint
from gateway.web.sse import HEARTBEAT_SECONDS, SEND_TIMEOUT_SECONDS, STREAMS_PER_PRINCIPAL_MAX

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
LINES = TEXT.splitlines()


def callers(endpoint: Endpoint) -> str:
    if endpoint.access is Access.OPEN:
        return "anyone"
    if isinstance(endpoint.access, Access) or endpoint.access in EVERYONE:
        return "any key"
    return ", ".join(str(role) for role, granted in ROLE_PERMISSIONS.items() if endpoint.access in granted)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_documented_as_it_is_given(reason: Reason) -> None:
    status, title = ERRORS[reason]
    assert f"| `{reason}` | {status} | {title} | {TEXTS[reason]} |" in LINES


@pytest.mark.parametrize("endpoint", TABLE, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_route_is_documented_with_who_may_call_it(endpoint: Endpoint) -> None:
    answers = ", ".join(str(status) for status in endpoint.answers)
    row = f"| `{endpoint.method} {endpoint.path}` | {endpoint.summary} | {callers(endpoint)} | {answers} |"
    assert row in LINES


def test_nothing_is_documented_that_does_not_exist() -> None:
    codes = [line.split("`")[1] for line in LINES if line.startswith("| `") and line.count(" | ") == 3]
    known = {str(reason) for reason in Reason} | {f"{endpoint.method} {endpoint.path}" for endpoint in TABLE}
    assert len(codes) == len(known)
    assert set(codes) == known


def test_every_list_is_documented_with_its_limits() -> None:
    rows = [
        f"| `{endpoint.method} {endpoint.path}` | {parameter.schema['default']} | {parameter.schema['maximum']} |"
        for endpoint in TABLE
        for parameter in endpoint.parameters
        if parameter.name == "limit"
    ]
    assert [line for line in LINES if re.fullmatch(r"\| `GET [^`]+` \| \d+ \| \d+ \|", line)] == rows


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    prose = " ".join(TEXT.split())
    assert f"A comment every {HEARTBEAT_SECONDS:.0f} seconds" in prose
    assert f"takes nothing for {SEND_TIMEOUT_SECONDS:.0f} seconds" in prose
    assert f"At most {STREAMS_PER_PRINCIPAL_MAX} streams" in prose
    assert f"A principal has at most {SESSIONS_PER_PRINCIPAL_MAX} sessions" in prose
