"""The ``webhook`` adapter: the args of a call as one signed message, to a URL that the operator chose."""

import re
import time
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

import aiohttp
from yarl import URL

from gateway.calls import HandCall, HandResult, Injections
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reach import SecretPlace
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError, origin_of
from gateway.webhooks.signing import MessageSigner
from hand_adapters import annotate, http_answer, peer_url
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import Dialer, session
from hand_adapters.jail import Jail
from hand_adapters.message_ids import message_id

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]*)+")
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"status": {"type": "integer"}},
    "required": ["status"],
    "additionalProperties": False,
}


class WebhookAdapter:
    """One receiver. Each action is a path of it, and the body is the args as they were decided: canonical JSON.

    The receiver tells a message from a forged one by its signature (Standard Webhooks), and from a repeated one by its
    id. It knows nothing of step credentials, and is sent none.
    """

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._private_network = settings.private_network
        self._manifest = _manifest(hand_id, settings)
        self._base_url = settings.base_url
        base = (settings.base_url or "").rstrip("/")
        self._urls = {name: URL(f"{base}{word.path}", encoded=True) for name, word in settings.actions.items()}
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration; asks nobody.

        Raises:
            SettingsError: a base URL that may not be asked, an action that is no path with a schema, a secret that goes
                elsewhere or into the query.
        """
        url = peer_url.checked(f"hands.{hand_id}.base_url", settings.base_url, private_network=settings.private_network)
        for use in _manifest(hand_id, settings).secrets:
            where = f"hands.{hand_id}.secrets.{use.name}"
            if use.targets != (origin_of(str(url)),):
                raise SettingsError(f"{where}.targets: base_url alone is told")
            if use.place is SecretPlace.SIGNATURE and (use.methods or use.paths):
                raise SettingsError(f"{where}: every message is signed, and no method or path is left out")
            if use.place is SecretPlace.QUERY or (use.parameter or "").lower().startswith("webhook-"):
                raise SettingsError(f"{where}.place: a receiver is told secrets in headers of their own alone")

    @property
    def hosts(self) -> Collection[str]:
        """See ``contract.Aimed``: that of ``base_url``."""
        return peer_url.hosts(self._base_url)

    async def manifest(self) -> Manifest:
        """The declared actions. Asks nobody."""
        return self._manifest

    async def run(self, call: HandCall) -> HandResult:
        """Send one message. An answer other than 2xx is a result that is marked as an error; a redirect is one of
        these, and is not followed.

        Raises:
            HandError: ``hand.unavailable`` (no connection), ``secret.missing`` (a secret that signs nothing): not
                executed; ``hand.timeout``, ``hand.lost_reply`` (unknown); ``hand.result_too_large``,
                ``hand.protocol`` (executed).
            HandDrifted: the declaration is not the pinned one.
        """
        if call.manifest_digest != self._manifest.digest:
            raise HandDrifted(self._manifest)
        url = self._urls[call.action]
        if self._session is None:
            self._session = session(Dialer(private_network=self._private_network))
        async with http_answer.attempted(call.deadline_seconds):
            added = await call.inject(url.scheme, url.raw_host or "", url.port or 0, "POST", url.raw_path)
            headers = {**_signed(call, added), **added.headers, "Content-Type": "application/json"}
            async with self._session.post(
                url, data=call.args_bytes, headers=headers, allow_redirects=False
            ) as response:
                http_answer.told(response.status)
                body = await http_answer.read(response, call.result_max_bytes)
                content = http_answer.blocks(body, response.content_type, response.charset)
                failed = not 200 <= response.status < 300
                later = http_answer.wait(response)
                return HandResult(content, {"status": response.status}, is_error=failed, retry_after_seconds=later)

    async def close(self) -> None:
        """Close the session and its pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _signed(call: HandCall, added: Injections) -> Mapping[str, str]:
    """Id, time and signature of a message.

    Raises:
        HandError: ``secret.missing``, not executed: there is no secret that can sign.
    """
    try:
        signer = MessageSigner(added.signing_secret or "")
    except ValueError as exc:
        raise HandError(Reason.SECRET_MISSING, HandFailure.NOT_EXECUTED, str(exc)) from None
    return signer.headers(f"msg_{message_id(call)}", int(time.time()), call.args_bytes)


def _manifest(hand_id: str, settings: HandSettings) -> Manifest:
    """What the hand offers; where its messages go is part of it, and so of the pin.

    Raises:
        SettingsError: a declaration that cannot be used.
    """
    if not settings.actions:
        raise SettingsError(f"hands.{hand_id}: a webhook hand offers what it declares; it declares no action")
    for name, word in settings.actions.items():
        where = f"hands.{hand_id}.actions.{name}"
        if word.path is None or word.args_schema is None or word.method not in {None, "POST"}:
            raise SettingsError(f"{where}: it needs path and args_schema, and its method is POST")
        if _PATH.fullmatch(word.path) is None or {".", ".."} & set(word.path.split("/")):
            raise SettingsError(f"{where}.path: no query, no placeholder and no step upwards: no argument chooses it")
        if word.result_schema is not None:
            raise SettingsError(f"{where}.result_schema: the result is the adapter's")

    def claims(_name: str, word: ActionSettings) -> Mapping[str, Any]:
        return {"method": "POST", "base_url": settings.base_url, "path": word.path, "signed": "standard-webhooks"}

    return annotate.declared(hand_id, settings, claims, lambda _name, word: (word.args_schema, _RESULT))
