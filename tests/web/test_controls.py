"""Evidence by control over the API: for auditors, on record, and strict about what is asked."""

import httpx2
import pytest

from audit.assurance.catalogue import Framework
from audit.errors import LogUnavailable
from gateway.entries import EntryType
from gateway.model import Role
from gateway.web.schemas_controls import AccessReview, ControlsReport, ProcessingRecord
from tests.web.fake import testing_only_Gateway, token

AUDITOR = token(Role.AUDITOR)
PATHS = ("report?framework=gdpr", "access-review", "processing-record")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", sorted(set(Role) - {Role.AUDITOR}))
async def test_only_an_auditor_is_told(client: httpx2.AsyncClient, gateway: testing_only_Gateway, path, role) -> None:
    answer = await client.get(f"/v1/controls/{path}", headers=token(role))
    assert answer.status_code == 403
    assert gateway.log.appended == []


@pytest.mark.parametrize("path", PATHS)
async def test_what_cannot_be_put_on_record_is_not_told(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, path: str
) -> None:
    gateway.log.broken = LogUnavailable("full")
    assert (await client.get(f"/v1/controls/{path}", headers=AUDITOR)).status_code == 503
    assert gateway.log.reports == []
    assert gateway.log.accesses == []


async def test_a_report_is_asked_for_and_recorded(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    asked = "framework=ai-act&from=2026-01-01&to=2026-04-01T00:00:00Z&samples=5"
    answer = await client.get(f"/v1/controls/report?{asked}", headers=AUDITOR)
    assert answer.status_code == 200
    ControlsReport.model_validate(answer.json())
    [wanted] = gateway.log.reports
    assert (wanted.catalogue.framework, wanted.tenant, wanted.samples) == (Framework.AI_ACT, "default", 5)
    assert (wanted.since, wanted.until) == (1_767_225_600, 1_775_001_600)
    [entry] = gateway.log.appended
    assert (entry.type, entry.principal) == (EntryType.AUDIT_QUERIED, "pseudonym-of-auditor")
    assert entry.facts["framework"] == "ai-act"


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ("", "framework"),
        ("framework=hipaa", "framework"),
        ("framework=gdpr&from=yesterday", "from"),
        ("framework=gdpr&from=2026-13-01", "from"),
        ("framework=gdpr&to=1969-01-01", "to"),
        ("framework=gdpr&from=2026-02-01&to=2026-01-01", "from"),
        ("framework=gdpr&from=2026-02-01T00:00:00", "from"),
        ("framework=gdpr&samples=11", "samples"),
        ("framework=gdpr&surprise=1", "surprise"),
    ],
)
async def test_a_report_that_is_not_understood_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, asked: str, parameter: str
) -> None:
    answer = await client.get(f"/v1/controls/report?{asked}", headers=AUDITOR)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert gateway.log.appended == []


async def test_a_review_of_now_is_on_record_as_one_and_one_of_the_past_as_a_query(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    now = await client.get("/v1/controls/access-review", headers=AUDITOR)
    AccessReview.model_validate(now.json())
    assert now.json()["policy"]["grants"] == {"readers": ["agent"], "scopes": {}, "table": []}
    assert "plans.submit" in now.json()["permissions"]["agent"]
    await client.get("/v1/controls/access-review?at=2026-01-01", headers=AUDITOR)
    assert [entry.type for entry in gateway.log.appended] == [EntryType.ACCESS_REVIEWED, EntryType.AUDIT_QUERIED]
    assert gateway.log.accesses[1][1] == 1_767_225_600


async def test_nobody_is_told_who_could_do_what_in_a_time_that_is_ahead(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    answer = await client.get("/v1/controls/access-review?at=2999-01-01", headers=AUDITOR)
    assert (answer.status_code, answer.json()["parameter"]) == (400, "at")
    assert gateway.log.appended == []


async def test_an_auditor_who_is_bound_to_hands_hears_of_no_others(client: httpx2.AsyncClient) -> None:
    scoped = token("scoped-auditor")
    assert (await client.get("/v1/controls/access-review", headers=scoped)).json()["hands"] == []
    found = (await client.get("/v1/controls/processing-record", headers=scoped)).json()
    assert found["activities"] == []


async def test_the_record_of_processing_names_what_only_the_log_knows(client: httpx2.AsyncClient) -> None:
    found = (await client.get("/v1/controls/processing-record", headers=AUDITOR)).json()
    ProcessingRecord.model_validate(found)
    [activity] = found["activities"]
    assert (activity["hand"], activity["configured"], activity["transfer"]) == ("git", False, "unknown")
    assert activity["actions"][0]["calls"] == 3
    assert "controller: name" in found["missing"]
