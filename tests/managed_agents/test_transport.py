"""What a service that runs agents may have this process keep."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from gateway.settings import Settings
from hand_adapters.service_transport import ServiceTransport
from tests.web.conftest import serving

LINE = b"x" * 1023 + b"\n"


async def test_a_document_that_never_ends_is_left_and_a_stream_of_events_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lines are short: only the whole of it is too much."""
    monkeypatch.setattr("hand_adapters.service_transport.DOCUMENT_MAX_BYTES", 1_048_576)

    async def lines(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield LINE

    async def answer(request: Request) -> StreamingResponse:
        kind = request.query_params["kind"]
        return StreamingResponse(lines(4096), media_type=kind)

    async def nobody() -> dict[str, str]:
        return {}

    app = Starlette(routes=[Route("/", answer)])
    transport = ServiceTransport("t", private_network=True, ca_file=None, credential=nobody)
    async with serving(app, Settings(server={"port": 0})) as port, httpx2.AsyncClient(transport=transport) as http:
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(httpx2.ReadError, match="without an end"):
            await http.get(url, params={"kind": "application/json"})
        whole = await http.get(url, params={"kind": "text/event-stream"})
        assert len(whole.content) == 4096 * len(LINE)
