"""The ``anthropic`` adapter: one endpoint of the Messages API, asked through Anthropic's SDK."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import aiohttp
import anthropic
import httpx2

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical, parse
from gateway.errors import Refused
from gateway.manifest import MESSAGES, Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters import http_answer, peer_url
from hand_adapters.anthropic import request
from hand_adapters.anthropic.declaration import PATH, manifest_of, model_of
from hand_adapters.anthropic.forward import forward
from hand_adapters.anthropic.routes import BETAS
from hand_adapters.anthropic.transport import CALL, DialedTransport
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import Dialer, Disconnected, session
from hand_adapters.jail import Jail

LATER: Final = frozenset({429, 503, 529})
"""Statuses of an endpoint that will serve later: rate limited, unavailable, overloaded."""
BATCH: Final = "batches.create"
ASKING: Final = frozenset({MESSAGES, "model.count_tokens"})
"""Actions whose args are a request to the model."""
_BESIDE: Final = frozenset({"stream", BETAS})
"""Members of the args that the body of a whole answer's request does not have."""
_NO_KEY: Final = "injected-by-the-gateway"
"""Keeps the SDK from looking for credentials of this process. ``transport`` lets no credential of the SDK out."""
_MESSAGE_MAX_CHARACTERS: Final = 2000


@dataclass(frozen=True, slots=True)
class _Link:
    http: aiohttp.ClientSession
    client: anthropic.AsyncAnthropic


class AnthropicAdapter:
    """One endpoint. It knows nothing of step credentials, and is sent none: its key is a secret of the hand."""

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._base_url = settings.base_url
        self._private_network = settings.private_network
        self._allowed = model_of(settings)
        self._manifest = manifest_of(hand_id, settings)
        self._link: _Link | None = None

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration; asks nobody.

        Raises:
            SettingsError: see ``declaration.manifest_of``.
        """
        manifest_of(hand_id, settings)

    @property
    def hosts(self) -> Collection[str]:
        """See ``contract.Aimed``: that of ``base_url``."""
        return peer_url.hosts(self._base_url)

    async def manifest(self) -> Manifest:
        """The actions. Asks nobody."""
        return self._manifest

    def analyse(self, action: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the request asks for; see ``request.facts``. Of a batch, ``{requests}`` with those of each. Raises
        ``schema.analysis``."""
        if action == BATCH:
            return {"requests": [request.facts(request.params(one), self._allowed) for one in args["requests"]]}
        return request.facts(args, self._allowed) if action in ASKING else {}

    async def run(self, call: HandCall) -> HandResult:
        """Ask once, and give the Message as the structured result, all at once: ``stream`` of the args concerns whoever
        passes a stream on. Any answer but 200 is a result that is marked as an error,
        ``{status, type, message, request_id}``; a redirect is one of these, and is not followed.

        Raises:
            HandError: ``hand.unavailable`` (no connection: not executed), ``hand.timeout``, ``hand.lost_reply``
                (unknown), ``hand.result_too_large``, ``hand.protocol`` (executed).
            HandDrifted: the declaration is not the pinned one.
        """
        if call.manifest_digest != self._manifest.digest:
            raise HandDrifted(self._manifest)
        if self._link is None:
            self._link = self._connect()
        if call.relay is not None or call.action != MESSAGES:
            return await forward(self._link.http, str(self._base_url), call, call.relay)
        betas = call.args.get(BETAS)
        body = canonical(_body(call.args)) if call.args.keys() & _BESIDE else call.args_bytes
        token = CALL.set(call)
        try:
            async with http_answer.attempted(call.deadline_seconds):
                answer = await _post(self._link.client, body, betas or ())
        finally:
            CALL.reset(token)
        return _message(answer) if answer.status_code == 200 else _failure(answer)

    def _connect(self) -> _Link:
        http = session(Dialer(private_network=self._private_network))
        client = anthropic.AsyncAnthropic(
            api_key=_NO_KEY,
            base_url=self._base_url,
            max_retries=0,  # the gateway tries again, on record
            timeout=None,  # the call's deadline
            http_client=httpx2.AsyncClient(transport=DialedTransport(http), trust_env=False, follow_redirects=False),
        )
        return _Link(http, client)

    async def close(self) -> None:
        """Close the session and its pool."""
        link, self._link = self._link, None
        if link is not None:
            await link.client.close()
            await link.http.close()


async def _post(client: anthropic.AsyncAnthropic, body: bytes, betas: Sequence[str]) -> httpx2.Response:
    """The answer of the endpoint, whatever its status.

    Raises:
        HandError, aiohttp.ClientError, OSError, Disconnected: what the transport met.
    """
    headers = {"content-type": "application/json", **({"anthropic-beta": ",".join(betas)} if betas else {})}
    try:
        return await client.post(PATH, content=body, cast_to=httpx2.Response, options={"headers": headers})
    except anthropic.APIStatusError as error:
        return error.response
    except anthropic.APIConnectionError as error:
        cause = error.__cause__
        if isinstance(cause, (HandError, aiohttp.ClientError, OSError, Disconnected)):
            raise cause from None
        raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, type(cause).__name__) from None


def _body(args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in args.items() if name not in _BESIDE}


def _message(answer: httpx2.Response) -> HandResult:
    try:
        found = parse(answer.content)
    except Refused as refused:
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, refused.detail) from None
    if not isinstance(found, dict):
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "an answer that is no object")
    return HandResult((), found)


def _failure(answer: httpx2.Response) -> HandResult:
    """The endpoint's own account of what went wrong, where it is in the API's form."""
    said: dict[str, Any] = {}
    try:
        document = parse(answer.content)
    except Refused:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        said = {
            name: error[name][:_MESSAGE_MAX_CHARACTERS]
            for name in ("type", "message")
            if isinstance(error.get(name), str)
        }
    request_id = answer.headers.get("request-id")
    structured = {"status": answer.status_code, **said, **({"request_id": request_id[:128]} if request_id else {})}
    text = f"{said.get('type', 'error')}: {said.get('message', f'status {answer.status_code}')}"
    later = None
    if answer.status_code in LATER:
        later = http_answer.retry_after(answer.headers.get("retry-after", ""), time.time())
    return HandResult(({"type": "text", "text": text},), structured, is_error=True, retry_after_seconds=later)
