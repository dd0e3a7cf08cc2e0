"""The routes beside messages: counting tokens, models and batches, each a governed action of the model's hand.

A batch is its maker's: whoever else asks for it is told that there is none, though one key of the provider serves all.
What its answers would have a client do is judged when they are fetched, in the context in which the batch was made.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.canonical import parse
from gateway.errors import Absent, Malformed, Refused
from gateway.ingress.anthropic.calls import Context
from gateway.ingress.anthropic.exchange import Answer, Exchange, judgeable, less, message_of, once
from gateway.ingress.anthropic.ingress import Asked, MessagesIngress, new_context
from gateway.ingress.anthropic.request import MessagesRequest, bare, context_id, read
from gateway.manifest import COUNT_TOKENS
from gateway.pointers import pointer
from gateway.reasons import Reason

CREATE: Final = "batches.create"
LIST: Final = "batches.list"
RESULTS: Final = "batches.results"
REQUESTS_MAX: Final = 10_000
_NAME: Final = "batch:"
"""How the names of batches begin among those of calls: no step, and no call of a model's, can be called so, by whoever
would have somebody else's batch."""
_ID_MAX: Final = 64 - len(_NAME)
JSON_HEAD: Final = {"content-type": "application/json"}


class Forwards:
    """Answers these routes."""

    def __init__(self, ingress: MessagesIngress) -> None:
        self._ingress = ingress

    async def count(self, asked: Asked) -> Answer:
        """``POST /v1/messages/count_tokens``."""
        request = await self._ingress.read(asked)
        return await self._plain(asked, request, COUNT_TOKENS, request.args)

    async def look(self, asked: Asked, action: str, args: Mapping[str, Any]) -> Answer:
        """A route without a body that is about no batch, or about all of them."""
        request = bare(asked.headers, asked.betas, args, beta=asked.beta)
        if action != LIST:
            return await self._plain(asked, request, action, request.args)
        exchange = await self._exchange(asked, request, action, request.args)
        status, body, view = await exchange.recorded()
        if status != 200:
            return Answer(status, exchange.head, once(body))
        page = judgeable(body) if body else view["steps"][0]["result"]["structured"]
        batches = page.get("data") if isinstance(page, dict) else None
        if not isinstance(batches, list) or not all(isinstance(one, dict) for one in batches):
            raise Refused(Reason.HAND_PROTOCOL, "a list of batches that is none")
        own = await self._ingress.known.find(asked.caller, [_named(str(one.get("id"))) for one in batches])
        kept = [one for one in batches if _named(str(one.get("id"))) in own]
        shown = [_to_be_fetched_here(one, asked.base_url) for one in kept]
        if body and shown == batches:
            return Answer(status, exchange.head, once(body))
        names = [one.get("id") for one in shown]
        # Where the page begins and ends is told by one's own: the provider's word for it names others' batches.
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        more = bool(names) and page.get("has_more") is True
        return Answer(200, exchange.head, once(orjson.dumps({**page, "data": shown, **ends, "has_more": more})))

    async def create(self, asked: Asked) -> Answer:
        """``POST /v1/messages/batches``. What was made is its caller's before anybody is told of it."""
        body = parse(asked.raw)
        requests = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(requests, list) or not 0 < len(requests) <= REQUESTS_MAX:
            raise Malformed("a batch", pointer="/requests", expected="an array of requests")
        for number, one in enumerate(requests):
            if not isinstance(one, dict) or not isinstance(one.get("params"), dict):
                raise Malformed("a batch", pointer=pointer(("requests", number)), expected="custom_id and params")
            read(orjson.dumps(one["params"]), asked.headers, asked.betas, beta=asked.beta)
        whole = await self._ingress.less(body)
        raw = asked.raw if whole is body else orjson.dumps(whole)
        request = bare(asked.headers, asked.betas, whole, beta=asked.beta, raw=raw)
        exchange = await self._exchange(asked, request, CREATE, request.args)
        status, answered, view = await exchange.recorded()
        if status == 200:
            made = view["steps"][0]["result"]["structured"]
            if not isinstance(made.get("id"), str) or not 0 < len(made["id"]) <= _ID_MAX:
                raise Refused(Reason.HAND_PROTOCOL, "a batch without an id")
            await self._own(asked, made["id"], view["plan_id"])
            shown = _to_be_fetched_here(made, asked.base_url)
            answered = answered if answered and shown == made else orjson.dumps(shown)
        return Answer(status, exchange.head, once(answered))

    async def _own(self, asked: Asked, batch_id: str, plan_id: str) -> None:
        """Have a batch be its caller's.

        Raises:
            Refused: ``hand.protocol``: another batch of the caller's is called so.
        """
        try:
            await self._ingress.known.name(asked.caller, _named(batch_id), plan_id, "ask")
        except Refused as refused:
            if refused.reason is not Reason.REQUEST_CONFLICT:
                raise
            raise Refused(Reason.HAND_PROTOCOL, "a batch with the id of an earlier one") from None

    async def batch(self, asked: Asked, action: str, batch_id: str) -> Answer:
        """A route about one batch.

        Raises:
            Absent: it is not the caller's, or there is none.
        """
        own = (await self._ingress.known.find(asked.caller, [_named(batch_id)])).get(_named(batch_id))
        if own is None:
            raise Absent("batch")
        request = bare(asked.headers, asked.betas, {"id": batch_id}, beta=asked.beta)
        context = Context(own.context_id, said=True)
        exchange = await self._exchange(asked, request, action, request.args, context)
        status, body, view = await exchange.recorded()
        if status != 200:
            return Answer(status, exchange.head, once(body))
        if action != RESULTS:
            said = view["steps"][0]["result"]["structured"]
            shown = _to_be_fetched_here(said, asked.base_url)
            same = body and shown == said
            return Answer(200, exchange.head or JSON_HEAD, once(body if same else orjson.dumps(shown)))
        if not body:
            lines = view["steps"][0]["result"]["structured"].get("lines", ())
            body = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return Answer(status, exchange.head, once(await self._judged(exchange, body)))

    async def _judged(self, exchange: Exchange, body: bytes) -> bytes:
        """The answers of a batch, line by line, less the calls that are not let go."""
        lines = []
        for written in body.split(b"\n"):
            line = written
            said = judgeable(line) if line.strip() else None
            result = said.get("result") if isinstance(said, dict) else None
            if isinstance(said, dict) and isinstance(result, dict) and "message" in result:
                message = message_of(result["message"])
                denied = await exchange.judged_calls(message)
                if denied:
                    line = orjson.dumps({**said, "result": {**result, "message": less(message, denied)}})
            elif said is not None and (not isinstance(result, dict) or result.get("type") == "succeeded"):
                raise Refused(Reason.HAND_PROTOCOL, "a line of a batch that is no answer")
            lines.append(line)
            await asyncio.sleep(0)
        return b"\n".join(lines)

    async def _exchange(
        self,
        asked: Asked,
        request: MessagesRequest,
        action: str,
        args: Mapping[str, Any],
        context: Context | None = None,
    ) -> Exchange:
        if context is None:
            named = context_id(request, asked.headers, asked.caller)
            context = Context(named or new_context(), said=named is not None)
        return await self._ingress.exchange(asked, request, action, args, context)

    async def _plain(
        self,
        asked: Asked,
        request: MessagesRequest,
        action: str,
        args: Mapping[str, Any],
        context: Context | None = None,
    ) -> Answer:
        """An answer in which nothing has to be judged."""
        exchange = await self._exchange(asked, request, action, args, context)
        status, body, view = await exchange.recorded()
        if not body and status == 200:
            body = orjson.dumps(view["steps"][0]["result"]["structured"])
        return Answer(status, exchange.head or JSON_HEAD, once(body))


def _named(batch_id: str) -> str:
    return f"{_NAME}{batch_id}"


def _to_be_fetched_here(batch: Mapping[str, Any], base_url: str) -> Mapping[str, Any]:
    """A batch whose ``results_url`` leads to this gateway. Clients go where it says with the key that they have: they
    would carry the gateway's own to the provider, and pass by every judgement."""
    if not isinstance(batch.get("results_url"), str):
        return batch
    return {**batch, "results_url": f"{base_url}/v1/messages/batches/{batch['id']}/results"}
