"""A call, from the request that begins it to the one that gets its result: the client may be asked in between."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS

from gateway.conversations import Unanswered
from gateway.errors import HandrailError, Refused
from gateway.ingress.mcp.asking import APPROVAL_KEY, shown, waits_for_people
from gateway.ingress.mcp.calls import Call, Calls
from gateway.ingress.mcp.client_talk import LEVEL_UNTIL_SET, LEVELS, ClientTalk, Judge, abilities, plain
from gateway.ingress.mcp.exchange import exchange_of, exchange_that_waits
from gateway.ingress.mcp.failures import REFUSED
from gateway.ingress.mcp.notices import Notices
from gateway.ingress.mcp.parking import Parking, Target
from gateway.ingress.mcp.reissues import Reissues, named
from gateway.ingress.mcp.requests import session_of
from gateway.manifest import Manifest
from gateway.mcp_methods import CODE_FACT, McpQuestion
from gateway.model import PlanStatus, Principal, StepStatus
from gateway.reasons import Reason

_log = structlog.get_logger(__name__)

LEVELS_MAX: Final = 1024
"""Sessions whose log level is remembered."""

_ON_RECORD: Final = "The call is on record and may have run. What came of it cannot be looked up now; ask again."

Params = types.CallToolRequestParams | types.GetPromptRequestParams | types.ReadResourceRequestParams
AnswerT = TypeVar("AnswerT")


class LogLevels:
    """From which level on each session of the handshake era wants log messages."""

    def __init__(self) -> None:
        self._levels: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def put(self, ctx: ServerRequestContext[Any], caller: Principal, level: str) -> None:
        """The session's client said so."""
        key = session_of(ctx, caller)
        self._levels[key] = level
        self._levels.move_to_end(key)
        if len(self._levels) > LEVELS_MAX:
            self._levels.popitem(last=False)

    def of(self, ctx: ServerRequestContext[Any], caller: Principal) -> str | None:
        """What a request's client wants; ``None`` where it wants none."""
        if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            return self._levels.get(session_of(ctx, caller), LEVEL_UNTIL_SET)
        asked = (ctx.meta or {}).get(types.LOG_LEVEL_META_KEY)
        return asked if asked in LEVELS else None


class Talks:
    """The calls whose clients can be talked to."""

    def __init__(self, calls: Calls, reissues: Reissues, count: Callable[[Principal, Reason], None]) -> None:
        """
        Args:
            count: records a refusal of something that never became a plan.
        """
        self._count = count
        self._calls = calls
        self._reissues = reissues
        self._parking = Parking()
        self._notices = Notices(calls)
        self.levels = LogLevels()

    async def call(
        self,
        ctx: ServerRequestContext[Any],
        target: Target,
        context_id: str,
        params: Params,
        patience_seconds: float | None = None,
    ) -> dict[str, Any] | types.InputRequiredResult:
        """Begin a call, or go on with one that waits for this client's answers.

        Args:
            patience_seconds: how long the client waits for a call that asks it nothing; by default as long as any.

        Returns:
            The view of its plan; or what the client is to be asked.

        Raises:
            HandrailError: the whole plan is refused.
            MCPError: ``requestState`` names no call of this caller with these arguments.
        """
        key = named(ctx, target.caller)
        again = partial(self._reissues.again, target, context_id, key, people=waits_for_people(ctx, params))
        patience = self._calls.patience_seconds if patience_seconds is None else patience_seconds
        try:
            call, talk = await self._found(ctx, target, context_id, params, key, again)
        except MCPError:
            self._count(target.caller, Reason.SCHEMA_ARGS)
            raise
        try:
            try:
                answer = await self._answered(ctx, params, target, call, talk, patience)
            except Refused as refused:
                # Another gateway had the idempotency key's call first.
                self._calls.forget({call.plan_id})
                first = await again() if key is not None and refused.reason is Reason.VERIFY_REPLAYED else None
                if first is None:
                    raise
                call = first
                answer = await self._answered(ctx, params, target, call, talk, patience)
        except asyncio.CancelledError:
            if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
                # It said so, or ended its session. A stateless client says nothing: it may only have lost the
                # connection, and will call again.
                talk.cancelled.set()
                if call.talk is not None:
                    call.talk.cancelled.set()
                self._reissues.unwanted(call.plan_id)
            talk.give_up()
            raise
        finally:
            if call.followed:
                call.view.cancel()
            await talk.leave()
        if isinstance(answer, dict) and answer["status"] == PlanStatus.DONE:
            self._reissues.has(exchange_of(ctx), call.plan_id)
        elif isinstance(answer, types.InputRequiredResult) and answer.request_state is not None:
            self._reissues.asks(exchange_of(ctx), call, talk.give_up)
        return answer

    def close(self) -> None:
        """Tell no client anything more."""
        self._notices.close()

    async def _found(
        self,
        ctx: ServerRequestContext[Any],
        target: Target,
        context_id: str,
        params: Params,
        key: str | None,
        again: Callable[[], Awaitable[Call | None]],
    ) -> tuple[Call, ClientTalk]:
        """The call that a request is about, begun here where it is a new one, and the client of this request."""
        responses = {name: plain(one) for name, one in (params.input_responses or {}).items() if name != APPROVAL_KEY}
        if params.request_state is not None:
            parked = self._parking.take(target, params.request_state)
            parked.talk.resume(ctx, responses)
            return parked.call, parked.talk
        talk = ClientTalk(ctx, self._judge(target, context_id), self.levels.of(ctx, target.caller), responses)
        async with self._reissues.turn(target):
            return await again() or self._begin(target, context_id, talk, key), talk

    def _begin(self, target: Target, context_id: str, talk: ClientTalk, key: str | None) -> Call:
        arguments = target.arguments
        call = self._calls.begin(target.caller, target.hand, target.action, arguments, context_id, talk, key)
        call.view.add_done_callback(lambda _: talk.give_up())
        return call

    async def _answered(
        self,
        ctx: ServerRequestContext[Any],
        params: Params,
        target: Target,
        call: Call,
        talk: ClientTalk,
        patience_seconds: float,
    ) -> dict[str, Any] | types.InputRequiredResult:
        """What the request is answered with. While it waits, it is its plan's client that is there."""
        self._reissues.waits(exchange_that_waits(ctx), call.plan_id)
        answer = await self._followed(target, call, talk, patience_seconds)
        if isinstance(answer, types.InputRequiredResult):
            return answer
        follow, url = partial(self._until_done, call), self._calls.public_url
        watch = partial(self._notices.begin, ctx, call.caller, call.plan_id)
        return await self._looked_up(call, shown(ctx, params, answer, url, follow, watch, self._calls.patience_seconds))

    def _until_done(self, call: Call) -> "asyncio.Task[dict[str, Any]]":
        return self._calls.follow(call.plan_id, call.caller, people=True).view

    async def _followed(
        self, target: Target, call: Call, talk: ClientTalk, patience_seconds: float
    ) -> dict[str, Any] | types.InputRequiredResult:
        """What the request is answered with: the outcome, a question, or that the call goes on."""
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while True:
            talk.changed.clear()
            if call.view.done():
                talk.give_up()
                return await (self._looked_up(call, call.view) if call.followed else call.view)
            if questions := talk.questions():
                state = self._parking.park(target, call, talk)
                if state is not None:
                    return types.InputRequiredResult(input_requests=questions, request_state=state)
                talk.give_up()
            if talk.asks:
                quiet_since = loop.time()
            changed = asyncio.ensure_future(talk.changed.wait())
            try:
                await asyncio.wait(
                    {call.view, changed},
                    timeout=max(0.0, quiet_since + patience_seconds - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                changed.cancel()
            if not call.view.done() and not talk.asks and loop.time() >= quiet_since + patience_seconds:
                now = await self._looked_up(call, self._calls.now(call))
                if now is None:
                    quiet_since = loop.time()  # not on record yet: there is nothing to come back to
                    continue
                talk.give_up()
                return now

    async def _looked_up(self, call: Call, looking: Awaitable[AnswerT]) -> AnswerT:
        """What is known of a call that is on record.

        Raises:
            MCPError: nothing, now. It is not said that nothing was run.
        """
        try:
            return await looking
        except HandrailError as error:
            _log.info("call not looked up", code=str(error.reason), detail=error.detail)
            where = f"{self._calls.public_url}/v1/plans/{call.plan_id}"
            raise MCPError(REFUSED, f"{error.reason}: {error.text}\n{_ON_RECORD}\nIts state is at {where}") from None

    def _judge(self, target: Target, context_id: str) -> Judge:
        async def judge(question: McpQuestion, args: Mapping[str, Any], wanted: str) -> dict[str, Any]:
            try:
                view = await self._calls.submit(
                    target.caller, target.hand, question.value, args, context_id, carried=True
                )
            except HandrailError:
                raise Unanswered from None
            step = view["steps"][0]
            if StepStatus(step["status"]) is not StepStatus.SUCCEEDED:
                raise Unanswered
            given = ((step.get("result") or {}).get("structured") or {}).get(wanted)
            if not isinstance(given, dict):
                raise Unanswered
            return given

        return judge


def require_able(ctx: ServerRequestContext[Any], view: Mapping[str, Any], manifest: Manifest | None) -> None:
    """Raise ``MCPError`` where a call did nothing because its client cannot be asked what the server has to ask."""
    error = view["steps"][0].get("error") or {}
    if error.get(CODE_FACT) != types.MISSING_REQUIRED_CLIENT_CAPABILITY or manifest is None:
        return
    able = abilities(ctx.session.client_capabilities)
    askable = {
        "sampling": (McpQuestion.SAMPLING, "sampling"),
        "elicitation": (McpQuestion.ELICITATION, "elicitation.form"),
        "roots": (McpQuestion.ROOTS, "roots"),
    }
    lacking: dict[str, dict[str, Any]] = {
        name: {} for name, (question, word) in askable.items() if question in manifest.actions and word not in able
    }
    if lacking:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "The tool has to ask the client something that it cannot be asked",
            {"requiredCapabilities": lacking},
        )
