"""A call as a request to its server: ``tools/call``, or the method that it is, with what goes beside it."""

from typing import Any

from mcp import Client
from mcp_types import (
    LOG_LEVEL_META_KEY,
    CallToolRequest,
    CallToolRequestParams,
    EmptyResult,
    SetLevelRequest,
    SetLevelRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from gateway.calls import HandCall, HandResult
from gateway.mcp_methods import METHODS
from gateway.reasons import Reason
from hand_adapters.mcp import methods, tasks
from hand_adapters.mcp.answers import ANSWER, Answer
from hand_adapters.mcp.rounds import Asked, Round
from hand_adapters.mcp.takeback import unless_cancelled
from hand_adapters.mcp.talk import Talk
from hand_adapters.mcp.tasks import Created


class Calling:
    """The calls of one session."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._log_level: str | None = None

    async def send(
        self, client: Client, call: HandCall, again: Round | None, *, as_task: bool
    ) -> HandResult | Asked | Created | Answer:
        """Send a call, and wait for its answer.

        Args:
            as_task: the server runs the tool in no other way.

        Raises:
            TakenBack: the client does not want it any more.
            methods.Faulty: an answer that cannot be taken.
            mcp.MCPError, pydantic.ValidationError: of the server's answer, or its lack.
        """
        await self._set_log_level(client, call)
        if call.action in METHODS:
            return await unless_cancelled(call, methods.run(client, call, again))
        session = client.session
        modern = session.protocol_version in MODERN_PROTOCOL_VERSIONS
        beside = {} if again is None else again.params()
        if as_task:
            beside |= tasks.asked_for(session.protocol_version, session.server_capabilities, call.deadline_seconds)
        level = self._talk.log_level(call)
        if level is not None and modern:
            beside["_meta"] = {LOG_LEVEL_META_KEY: level}
        params = {"name": call.action, "arguments": dict(call.args), **beside}
        # Without a callback, the server is not asked for progress.
        wanted = self._talk.declared.progress and call.conversation is not None
        sending = session.send_request(
            CallToolRequest(params=CallToolRequestParams.model_validate(params, by_name=False)),
            ANSWER,
            progress_callback=self._talk.progressed if wanted else None,
        )
        answer = await unless_cancelled(call, sending)
        if isinstance(answer, Created) and "task" not in params and not modern:
            raise methods.Faulty(Reason.HAND_PROTOCOL, "a task that nobody asked for")
        return answer

    async def _set_log_level(self, client: Client, call: HandCall) -> None:
        """Tell a server of the handshake era from which level on its log messages are wanted, where that changed."""
        level = self._talk.log_level(call)
        has = client.session.server_capabilities
        known = client.session.protocol_version not in MODERN_PROTOCOL_VERSIONS and has is not None and has.logging
        if level is None or not known or level == self._log_level:
            return
        self._log_level = level
        params: Any = SetLevelRequestParams.model_validate({"level": level})
        await client.session.send_request(SetLevelRequest(params=params), EmptyResult)
