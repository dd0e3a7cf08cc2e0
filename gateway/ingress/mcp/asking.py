"""How a client is shown that a person is asked: the address of the page on which they answer, as a question by URL
(``elicitation``, mode ``url``) where the client can show one.

Nothing that the client answers approves anything. ``accept`` says that somebody was shown the address, and the call
goes on waiting; ``decline`` and ``cancel`` say that nobody waits. The request stays open in any case.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from gateway.ingress import telling
from gateway.model import StepStatus

APPROVAL_KEY: Final = "handrail/approval"
"""Of the question in ``inputRequests``, and of its answer."""
FLUSH_SECONDS: Final = 2.0
"""How long the outcome waits for its client to be told before that its page was answered."""
_MESSAGE: Final = "A person has to approve this call before it runs. The page shows it, and takes the answer."

Params = types.CallToolRequestParams | types.GetPromptRequestParams | types.ReadResourceRequestParams
View = Mapping[str, Any]


def held(view: View) -> str | None:
    """Id of the request that a one-step plan waits for; ``None`` where it waits for nobody."""
    step = view["steps"][0]
    return str(step["approval_id"]) if StepStatus(step["status"]) is StepStatus.HELD else None


def answer_to(params: Params) -> str | None:
    """What a stateless client answered to the question: ``accept``, ``decline``, ``cancel``; ``None`` where it was not
    asked."""
    given = (params.input_responses or {}).get(APPROVAL_KEY)
    return given.action if isinstance(given, types.ElicitResult) else None


def question(public_url: str, approval_id: str) -> types.ElicitRequestURLParams:
    """The question by URL."""
    page = telling.page(public_url, approval_id)
    return types.ElicitRequestURLParams(message=_MESSAGE, url=page, elicitation_id=approval_id)


def waits_for_people(ctx: ServerRequestContext[Any], params: Params) -> bool:
    """Whether a held call that is issued again waits for its outcome before it is answered. Not where nobody waits, and
    not before the client was asked to show the page."""
    asked_first = shows_urls(ctx) and ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
    return not asked_first and answer_to(params) not in {"decline", "cancel"}


def shows_urls(ctx: ServerRequestContext[Any]) -> bool:
    """Whether the client says that it can show an address to a person."""
    able = ctx.session.client_capabilities
    return able is not None and able.elicitation is not None and able.elicitation.url is not None


async def shown(
    ctx: ServerRequestContext[Any],
    params: Params,
    view: dict[str, Any],
    public_url: str,
    follow: "Callable[[], asyncio.Task[dict[str, Any]]]",
    watch: "Callable[[str], asyncio.Task[None] | None]",
    wait_seconds: float,
) -> dict[str, Any] | types.InputRequiredResult:
    """Have a held call's client show where it is answered, and wait for the outcome as long as the client does.

    Args:
        view: of a plan that may be held.
        follow: gives its view once it is done.
        watch: has a client of a session told once the page of an approval is answered, also after this request.

    Returns:
        The plan's view, held or done; for a stateless client first the question.

    Raises:
        UrlElicitationRequiredError: the client goes on waiting, and this request cannot any longer; it may call again.
    """
    approval_id = held(view)
    if approval_id is None or not shows_urls(ctx):
        return view
    asked = question(public_url, approval_id)
    if ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        if answer_to(params) is not None:
            return view
        return types.InputRequiredResult(input_requests={APPROVAL_KEY: types.ElicitRequest(params=asked)})
    told, asking, outcome = watch(approval_id), asyncio.create_task(_ask(ctx, asked)), follow()
    try:
        async with asyncio.timeout(wait_seconds):
            await asyncio.wait({asking, outcome}, return_when=asyncio.FIRST_COMPLETED)
            if not outcome.done() and asking.result() != "accept":
                return view
            done = await asyncio.shield(outcome)
    except TimeoutError:
        raise UrlElicitationRequiredError([asked], _MESSAGE) from None
    finally:
        asking.cancel()
        outcome.cancel()
        await asyncio.gather(asking, outcome, return_exceptions=True)
    if told is not None:
        await asyncio.wait({told}, timeout=FLUSH_SECONDS)  # it belongs before the answer, on the same stream
    return done


async def _ask(ctx: ServerRequestContext[Any], asked: types.ElicitRequestURLParams) -> str:
    """What the client answers; where it cannot be asked after all, nobody waits."""
    try:
        given = await ctx.session.elicit_url(asked.message, asked.url, str(asked.elicitation_id), ctx.request_id)
    except (MCPError, ValidationError):
        return "cancel"
    return given.action
