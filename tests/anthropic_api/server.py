"""The stand-in as a server on loopback."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Final, TypeAlias

from aiohttp import web
from anthropic.types import Message, MessageTokensCount, ModelInfo
from anthropic.types.messages import DeletedMessageBatch
from multidict import CIMultiDict

from tests.anthropic_api import conversation
from tests.anthropic_api.answers import Answer, Cut, Scripted, failure, of_message, of_object
from tests.anthropic_api.batches import MADE, Batch

KEY: Final = "sk-ant-api03-stand-in"
"""The key that the stand-in takes, in ``x-api-key`` or as a bearer token."""
BODY_BYTES_MAX: Final = 32 << 20
"""As the API's."""


@dataclass
class Request:
    """A request as it arrived.

    Args:
        target: the path with its query, undecoded.
        answered_as: the ``request-id`` of its answer.
        abandoned: set once the client has gone before the answer's end.
    """

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes
    answered_as: str = ""
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> str:
        """The path alone."""
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    @property
    def betas(self) -> Sequence[str]:
        """The betas that it names, in order."""
        return [name.strip() for line in self.headers.getall("anthropic-beta", []) for name in line.split(",")]

    @property
    def tools(self) -> Sequence[str]:
        """The names of the tools that it defines."""
        return [str(tool.get("name")) for tool in self.json.get("tools", [])]


Decide: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Scripted | None] | Scripted | None]
"""The body of a request for a message -> the answer; ``None`` leaves it to the queue."""


class StandIn:
    """What was asked, and what is going to be answered.

    ``script(…)`` queues answers for ``/v1/messages``, which go out in that order; ``decide`` looks at a request first.
    Where neither has an answer, the request fails with a 500 that no client retries.

    Args:
        key: what a client has to show.
    """

    def __init__(self, key: str = KEY) -> None:
        self.key = key
        self.url = ""
        self.requests: list[Request] = []
        self.queue: deque[Scripted] = deque()
        self.others: dict[tuple[str, str], deque[Answer]] = {}
        self.decide: Decide | None = None
        self.compress = False
        """Whether answers that do not stream are compressed for clients that take gzip."""
        self.models = [_model("claude-opus-4-6", "Claude Opus 4.6"), _model("claude-haiku-4-5", "Claude Haiku 4.5")]
        self.batches: dict[str, Batch] = {}
        self._numbers = itertools.count(1)

    def script(self, *answers: Scripted) -> None:
        """Answer the next requests for a message like this."""
        self.queue.extend(answers)

    def script_other(self, method: str, path: str, *answers: Answer) -> None:
        """Answer the next requests of another route like this, whatever the route would say."""
        self.others.setdefault((method, path), deque()).extend(answers)

    @property
    def asked(self) -> Sequence[Request]:
        """The requests for a message, in order."""
        return [one for one in self.requests if one.path == "/v1/messages"]

    async def end_batches(self) -> None:
        """Let every batch end that has not."""
        for batch in self.batches.values():
            if batch.shown.processing_status != "ended":
                await batch.end(f"{self.url}/v1/messages/batches/{batch.shown.id}/results", self._decided)

    async def handle(self, received: web.Request) -> web.StreamResponse:
        """Record a request, and answer it."""
        headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in received.raw_headers)
        request = Request(received.method, received.raw_path, headers, await received.read())
        self.requests.append(request)
        try:
            answer = await self._answer(request, received.query)
            request.answered_as = f"req_{next(self._numbers):024d}"
            return await self._send(received, answer, request.answered_as)
        except (asyncio.CancelledError, ConnectionResetError):
            request.abandoned.set()
            raise

    async def _answer(self, request: Request, query: Mapping[str, str]) -> Answer:
        waiting = self.others.get((request.method, request.path))
        if waiting:
            return waiting.popleft()
        if (
            request.headers.get("x-api-key", request.headers.get("authorization", "").removeprefix("Bearer "))
            != self.key
        ):
            return failure(401, "invalid x-api-key")
        if "anthropic-version" not in request.headers:
            return failure(400, "anthropic-version: header is required")
        match request.method, request.path.split("/")[1:]:
            case "POST", ["v1", "messages"]:
                return await self._message(request)
            case "POST", ["v1", "messages", "count_tokens"]:
                return _counted(request)
            case "GET", ["v1", "models"]:
                return _page(self.models, query)
            case "GET", ["v1", "models", name]:
                found = [model for model in self.models if model.id == name]
                return of_object(found[0].to_dict(mode="json")) if found else failure(404, f"model: {name}")
            case method, ["v1", "messages", "batches", *rest]:
                return self._batch(method, rest, request, query)
        return failure(404, "Not Found")

    async def _message(self, request: Request) -> Answer:
        try:
            asked = request.json
            conversation.check(asked)
        except (ValueError, conversation.Invalid) as error:
            return failure(400, str(error))
        answer = await self._decided(asked)
        return of_message(answer, bool(asked.get("stream"))) if isinstance(answer, Message) else answer

    async def _decided(self, asked: Mapping[str, Any]) -> Scripted:
        if self.decide is not None:
            decided = self.decide(asked)
            answer = await decided if isawaitable(decided) else decided
            if answer is not None:
                return answer
        if self.queue:
            return self.queue.popleft()
        return failure(500, "the test scripted no answer to this request", x_should_retry="false")

    def _batch(self, method: str, rest: Sequence[str], request: Request, query: Mapping[str, str]) -> Answer:
        if not rest:
            if method == "GET":
                return _page([batch.shown for batch in reversed(self.batches.values())], query)
            if method == "POST":
                return self._made(request)
        batch = self.batches.get(rest[0]) if rest else None
        if batch is None:
            return failure(404, "no such batch")
        match method, rest[1:]:
            case "GET", []:
                return of_object(batch.shown.to_dict(mode="json"))
            case "POST", ["cancel"]:
                batch.cancel()
                return of_object(batch.shown.to_dict(mode="json"))
            case "GET", ["results"] if batch.shown.processing_status == "ended":
                return Answer([batch.lines()], content_type="application/x-jsonl")
            case "DELETE", [] if batch.shown.processing_status == "ended":
                del self.batches[batch.shown.id]
                return of_object(DeletedMessageBatch(id=batch.shown.id, type="message_batch_deleted").to_dict())
        return failure(400, "the batch is not in a state for this")

    def _made(self, request: Request) -> Answer:
        try:
            requests = request.json["requests"]
            for one in requests:
                conversation.check(one["params"])
        except (ValueError, KeyError, TypeError, conversation.Invalid) as error:
            return failure(400, f"requests: {error}")
        batch = Batch.made(f"msgbatch_{next(self._numbers):024d}", requests)
        self.batches[batch.shown.id] = batch
        return of_object(batch.shown.to_dict(mode="json"))

    async def _send(self, received: web.Request, answer: Answer, request_id: str) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status)
        response.headers["content-type"] = answer.content_type
        response.headers["request-id"] = request_id
        response.headers["anthropic-organization-id"] = "00000000-0000-4000-8000-000000000000"
        response.headers["anthropic-ratelimit-requests-remaining"] = "4999"
        response.headers.update(answer.headers)
        if self.compress and not answer.content_type.startswith("text/event-stream"):
            response.enable_compression()
        for piece in answer.pieces:
            match piece:
                case asyncio.Event():
                    await piece.wait()
                case Cut.BREAK:
                    if received.transport is not None:
                        received.transport.close()
                    return response
                case Cut.HANG:
                    await asyncio.Event().wait()
                case _:
                    if not response.prepared:
                        await response.prepare(received)
                    await response.write(piece)
        await response.write_eof()
        return response


@asynccontextmanager
async def serving(key: str = KEY) -> AsyncIterator[StandIn]:
    """A stand-in that serves, until the context ends."""
    stand_in = StandIn(key)
    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_route("*", "/{rest:.*}", stand_in.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        (_, port), *_ = runner.addresses
        stand_in.url = f"http://127.0.0.1:{port}"
        yield stand_in
    finally:
        await runner.cleanup()


def _counted(request: Request) -> Answer:
    try:
        asked = request.json
        conversation.check({"max_tokens": 1, **asked})
    except (ValueError, TypeError, conversation.Invalid) as error:
        return failure(400, str(error))
    return of_object(MessageTokensCount(input_tokens=1 + len(request.body) // 4).to_dict())


def _page(items: Sequence[Any], query: Mapping[str, str]) -> Answer:
    """A page of a list, newest first, as ``after_id``, ``before_id`` and ``limit`` ask for it."""
    names = [item.id for item in items]
    start, end = 0, len(items)
    if query.get("after_id") in names:
        start = names.index(query["after_id"]) + 1
    if query.get("before_id") in names:
        end = names.index(query["before_id"])
    limit = int(query.get("limit", "20"))
    if "before_id" in query:
        page, more = items[max(start, end - limit) : end], end - limit > start
    else:
        page, more = items[start : min(end, start + limit)], start + limit < end
    return of_object(
        {
            "data": [item.to_dict(mode="json") for item in page],
            "has_more": more,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
    )


def _model(name: str, shown: str) -> ModelInfo:
    return ModelInfo(id=name, type="model", display_name=shown, created_at=MADE, lifecycle="active")
