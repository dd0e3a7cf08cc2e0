"""Recorded policy inputs over HTTP: who may read them, that reading is on record, and what a scope hides."""

import httpx2
import orjson
import pytest

from gateway.entries import EntryType
from gateway.errors import Unavailable
from gateway.model import Role
from gateway.reasons import Reason
from tests.web.fake import testing_only_Gateway, token

PATH = "/v1/policy/evaluations"


def lines(answer: httpx2.Response) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in answer.content.splitlines()]


async def test_a_page_is_lines_of_json_and_the_last_says_where_to_go_on(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    answer = await client.get(f"{PATH}?since=2023-11-14T22:13:20Z&after=2&limit=7", headers=token(Role.AUTHOR))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    there, gone, end = lines(answer)
    assert there["commitment"] == "c" * 64
    assert there["evaluation"] == {"input": {"steps": [{"id": "s", "hand": "git"}]}, "decisions": {}}
    assert (gone["index"], gone["fault"], "evaluation" in gone) == (5, "erased", False)
    assert end == {"next": 5, "first": 2, "end": 9, "tree_size": 9}
    [(tenant, asked)] = gateway.log.evaluations_asked
    assert (tenant, asked) == (
        "default",
        {"since": "2023-11-14T22:13:20.000Z", "until": None, "after": 2, "limit": 7},
    )


async def test_nobody_reads_inputs_without_leaving_an_entry(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    await client.get(f"{PATH}?since=1970-01-01", headers=token(Role.AUDITOR))
    [entry] = gateway.log.appended
    assert (entry.type, entry.principal) == (EntryType.AUDIT_QUERIED, "pseudonym-of-auditor")
    assert entry.facts == {"filters": "evaluations,since", "limit": 500}
    gateway.log.broken = Unavailable(Reason.LOG_UNAVAILABLE)
    refused = await client.get(PATH, headers=token(Role.AUDITOR))
    assert (refused.status_code, refused.json()["code"]) == (503, "log.unavailable")
    assert len(gateway.log.evaluations_asked) == 1, "what could not be recorded was not read"


async def test_an_evaluation_about_a_hand_outside_the_scope_looks_absent(client: httpx2.AsyncClient) -> None:
    gone, end = lines(await client.get(PATH, headers=token("scoped-auditor")))
    assert gone["fault"] == "erased"
    assert end["tree_size"] == 9


@pytest.mark.parametrize(
    "asked", ["since=yesterday", "since=-1", "since=1700000000", "until=2026-11-21T02:00:00", "after=x", "limit=0",
              "limit=1001", "tenant=other", "since=2026-01-01&since=2026-01-01"]
)  # fmt: skip
async def test_a_question_that_is_not_understood_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, asked: str
) -> None:
    answer = await client.get(f"{PATH}?{asked}", headers=token(Role.AUTHOR))
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    assert gateway.log.evaluations_asked == []
