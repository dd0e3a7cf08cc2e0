"""The ``http`` adapter: declared requests to one base URL, over one session for the life of the hand."""

import asyncio
from typing import ClassVar, Final

import aiohttp
from yarl import URL

from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.model import HandCall, HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError
from hand_adapters import annotate
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import CURRENT, Attempt, Dialer, Disconnected, permitted, session
from hand_adapters.http import answer
from hand_adapters.http.template import Template
from hand_adapters.jail import Jail
from hand_adapters.schemas import SchemaError

_JSON: Final = {"Content-Type": "application/json"}


class HttpAdapter:
    """One HTTP API. It runs no code here and discovers nothing: what it offers is what the operator declared.

    The step credential goes out as ``Authorization: DPoP`` with a proof for this one request (RFC 9449 section 7.1);
    the API checks both.
    """

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._templates = _templates(hand_id, settings)
        self._manifest = _manifest(hand_id, settings)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration.

        Raises:
            SettingsError: a base URL with credentials, a query or an address that would be refused; plain HTTP
                outside a private network (the credential would travel in clear); a bad path or schema.
        """
        where = f"hands.{hand_id}.base_url"
        try:
            url = URL(settings.base_url or "")
            host = url.host
        except ValueError:
            raise SettingsError(f"{where}: is not a URL") from None
        if not host or url.user is not None or url.password is not None or url.query_string or url.fragment:
            raise SettingsError(f"{where}: give scheme, host, port and path only")
        if url.scheme == "http" and not settings.private_network:
            raise SettingsError(f"{where}: plain http needs private_network = true; use https")
        if _is_literal(host) and not permitted(host, private_network=settings.private_network):
            raise SettingsError(f"{where}: the gateway does not dial that address")
        _templates(hand_id, settings)
        _manifest(hand_id, settings)

    async def manifest(self) -> Manifest:
        """The declared actions. Asks nobody."""
        return self._manifest

    async def run(self, call: HandCall) -> HandResult:
        """Send one request and read its answer. Redirects are answers, not followed.

        Raises:
            HandError: ``hand.unavailable`` (no connection: not executed), ``hand.timeout``, ``hand.lost_reply``
                (unknown), ``hand.result_too_large``, ``hand.protocol`` (executed), ``schema.args`` (not executed).
            HandDrifted: the declaration is not the pinned one.
        """
        if call.manifest_digest != self._manifest.digest:
            raise HandDrifted(self._manifest)
        template = self._templates[call.action]
        url, body = template.request(call)
        headers = {"Authorization": f"DPoP {call.credential}", "DPoP": call.prove(template.method, str(url))}
        if body is not None:
            headers |= _JSON
        if self._session is None:
            self._session = session(Dialer(private_network=self._settings.private_network))
        attempt = Attempt()
        token = CURRENT.set(attempt)
        try:
            async with (
                asyncio.timeout(call.deadline_seconds),
                self._session.request(
                    template.method, url, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                received = await answer.read(response, call.result_max_bytes)
                return answer.result(response, received)
        except TimeoutError:
            failure = HandFailure.UNKNOWN if attempt.connected else HandFailure.NOT_EXECUTED
            raise HandError(Reason.HAND_TIMEOUT, failure) from None
        except (aiohttp.ClientError, OSError, Disconnected) as exc:
            detail = type(exc).__name__
            if attempt.connected:
                raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, detail) from None
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail) from None
        finally:
            CURRENT.reset(token)

    async def close(self) -> None:
        """Close the session and its pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _templates(hand_id: str, settings: HandSettings) -> dict[str, Template]:
    base = settings.base_url or ""
    return {name: Template(hand_id, name, base, action) for name, action in settings.actions.items()}


def _manifest(hand_id: str, settings: HandSettings) -> Manifest:
    def one(name: str, declared: ActionSettings) -> ActionManifest:
        try:
            return annotate.action(
                name,
                declared,
                args_schema=declared.args_schema,
                result_schema=declared.result_schema,
                description=declared.description or "",
                annotations={"method": declared.method, "path": declared.path, "base_url": settings.base_url},
            )
        except SchemaError as exc:
            raise SettingsError(f"hands.{hand_id}.actions.{name}: schema {exc.detail}") from None

    try:
        return annotate.manifest(hand_id, settings, (one(*item) for item in settings.actions.items()))
    except Refused:
        raise SettingsError(f"hands.{hand_id}: a schema has no canonical JSON form") from None


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()
