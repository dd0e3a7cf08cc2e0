"""The ``http`` adapter: declared requests to one base URL, over one session for the life of the hand."""

import asyncio
from typing import ClassVar, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.model import HandCall, HandResult, Injections
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError, origin_of
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
    the API checks both. Where the hand names a secret that has its place in ``Authorization``, the API is one that
    knows nothing of step credentials: it is sent the secret, and neither credential nor proof.
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
        for use in _manifest(hand_id, settings).secrets:
            if origin_of(str(url)) not in use.targets:
                raise SettingsError(f"hands.{hand_id}.secrets.{use.name}.targets: base_url is not among them")

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
        if self._session is None:
            self._session = session(Dialer(private_network=self._settings.private_network))
        attempt = Attempt()
        token = CURRENT.set(attempt)
        try:
            async with asyncio.timeout(call.deadline_seconds):
                added = await call.inject(url.scheme, url.raw_host or "", url.port or 0, template.method, url.raw_path)
                url, headers = _with(added, call, template.method, url)
                if body is not None:
                    headers |= _JSON
                async with self._session.request(
                    template.method, url, data=body, headers=headers, allow_redirects=False
                ) as response:
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


def _with(added: Injections, call: HandCall, method: str, url: URL) -> tuple[URL, dict[str, str]]:
    """URL and headers of a request with what the gateway adds to it.

    Raises:
        HandError: ``schema.args``, not executed: an argument has the name of a parameter that carries a secret.
    """
    headers = dict(added.headers)
    if not any(name.lower() == "authorization" for name in headers):
        headers |= {"Authorization": f"DPoP {call.credential}", "DPoP": call.prove(method, str(url))}
    if added.query:
        if added.query.keys() & url.query.keys():
            raise HandError(Reason.SCHEMA_ARGS, HandFailure.NOT_EXECUTED, "an argument in a secret's place")
        secret = urlencode(added.query, quote_via=quote)
        url = URL(f"{url}{'&' if url.raw_query_string else '?'}{secret}", encoded=True)
    return url, headers


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
