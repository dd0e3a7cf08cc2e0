"""What is held about a person leaves as any long answer does: bounded, and never a part taken for the whole."""

import httpx2
from starlette.applications import Starlette

from gateway.web.sse import STREAMS_PER_PRINCIPAL_MAX
from tests.web.fake import token

PATH = "/v1/privacy/access"


async def test_an_officer_has_so_many_at_once_and_no_more(client: httpx2.AsyncClient, app: Starlette) -> None:
    streams = app.state.streams
    for _ in range(STREAMS_PER_PRINCIPAL_MAX):
        streams.enter("default/privacy_officer")
    answer = await client.post(PATH, json={"person": "ann"}, headers=token("privacy_officer"))
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway.overloaded")
    streams.leave("default/privacy_officer")
    answer = await client.post(PATH, json={"person": "ann"}, headers=token("privacy_officer"))
    assert answer.status_code == 200
    assert answer.json()["end"] == {"values": 2, "entries": 0}
    assert "no-store" in answer.headers["cache-control"]
    assert streams.total == STREAMS_PER_PRINCIPAL_MAX - 1
