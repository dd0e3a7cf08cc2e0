"""What holds every answer to the description can fail (``tests/answers.py``)."""

import orjson
import pytest

from tests.answers import faults

PROBLEM = {"type": "urn:handrail:reason:x", "title": "t", "status": 404, "detail": "d", "request_id": "r"}
JSON, PROBLEM_JSON = "application/json", "application/problem+json"


def said(route: str | None, status: int, media_type: str, document: object, method: str = "GET") -> list[str]:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return faults(method, route, status, media_type, body)


def test_an_answer_as_it_is_described_has_no_fault() -> None:
    assert said("/v1/freezes", 200, JSON, {"freezes": []}) == []
    assert said("/v1/freezes", 200, JSON, b"", method="HEAD") == []
    assert said("/v1/freezes", 403, PROBLEM_JSON, {**PROBLEM, "code": "auth.forbidden"}) == []
    assert said("/v1/freezes", 405, PROBLEM_JSON, {**PROBLEM, "code": "request.method"}, method="PATCH") == []
    assert said(None, 404, PROBLEM_JSON, {**PROBLEM, "code": "request.not_found"}) == []
    assert said("/v1/audit/exports", 200, "text/csv", b"a,b") == []
    assert said("/login", 303, "", b"", method="POST") == [], "a page, which is not of the API"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("/v1/freezes", 200, JSON, {"freezes": [], "more": 1}), "'more' was unexpected"),
        (("/v1/freezes", 200, JSON, {}), "freezes"),
        (("/v1/freezes", 200, JSON, b"no"), "not JSON"),
        (("/v1/freezes", 202, JSON, {"freezes": []}), "a status that is not described"),
        (("/v1/freezes", 200, "text/html", b""), "text/html, and application/json is described"),
        (("/v1/freezes", 403, PROBLEM_JSON, {**PROBLEM, "code": "verify.replayed"}), "verify.replayed is not descr"),
        (("/v1/freezes", 403, PROBLEM_JSON, {"code": "auth.forbidden"}), "type"),
        ((None, 404, PROBLEM_JSON, {}), "code"),
    ],
)
def test_what_is_not_as_it_is_described_is_named(answer: tuple[str | None, int, str, object], words: str) -> None:
    found = said(*answer)
    assert found
    assert any(words in one for one in found)
