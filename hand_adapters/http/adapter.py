"""The ``http`` adapter: requests to one base URL, declared or described, over one session for the life of the hand."""

from collections.abc import Collection
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from gateway.calls import HandCall, HandResult, Injections
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, PaginationSettings, SettingsError, origin_of
from hand_adapters import http_answer, peer_url
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import Dialer, session
from hand_adapters.http import pages
from hand_adapters.http.actions import build
from hand_adapters.http.template import Request
from hand_adapters.jail import Jail
from hand_adapters.misfit import misfit


class HttpAdapter:
    """One HTTP API. It runs no code here and discovers nothing: what it offers is what the operator declared, or
    selected from a document in a file.

    The step credential goes out as ``Authorization: DPoP`` with a proof for this one request (RFC 9449 section 7.1);
    the API checks both. Where the hand names a secret that has its place in ``Authorization``, the API is one that
    knows nothing of step credentials: it is sent the secret, and neither credential nor proof.
    """

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self._settings = settings
        built = build(hand_id, settings)
        self.notes: tuple[str, ...] = built.notes
        self._actions = built.by_name
        self._manifest = built.manifest
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration, and the document that it names.

        Raises:
            SettingsError: a base URL with credentials, a query or an address that would be refused; plain HTTP
                outside a private network (the credential would travel in clear); a bad path or schema; a document of
                which nothing can be used.
        """
        url = peer_url.checked(f"hands.{hand_id}.base_url", settings.base_url, private_network=settings.private_network)
        for use in build(hand_id, settings).manifest.secrets:
            if origin_of(str(url)) not in use.targets:
                raise SettingsError(f"hands.{hand_id}.secrets.{use.name}.targets: base_url is not among them")

    @property
    def hosts(self) -> Collection[str]:
        """See ``contract.Aimed``: that of ``base_url``."""
        return peer_url.hosts(self._settings.base_url)

    async def manifest(self) -> Manifest:
        """The declared actions, and those of the document as it was read at the start. Asks nobody."""
        return self._manifest

    async def run(self, call: HandCall) -> HandResult:
        """Send one request and read its answer, or page after page where that is declared. Redirects are answers, not
        followed.

        Raises:
            HandError: ``hand.unavailable`` (no connection: not executed), ``hand.timeout``, ``hand.lost_reply``
                (unknown), ``hand.result_too_large``, ``hand.protocol`` (executed), ``schema.args`` (not executed).
            HandDrifted: the declaration is not the pinned one.
        """
        if call.manifest_digest != self._manifest.digest:
            raise HandDrifted(self._manifest)
        action = self._actions[call.action]
        request = action.template.request(call)
        if self._session is None:
            self._session = session(Dialer(private_network=self._settings.private_network))
        async with http_answer.attempted(call.deadline_seconds):
            if action.paging is not None:
                return await self._pages(self._session, call, request, action.paging)
            return (await _exchange(self._session, call, action.template.method, request, call.result_max_bytes))[0]

    async def _pages(
        self, http: aiohttp.ClientSession, call: HandCall, request: Request, paging: PaginationSettings
    ) -> HandResult:
        """Pages until there is no next one, or as many as are declared; all of them within the bytes of one result.

        A page that is an error is the result. Each is a request of its own, with a proof and with secrets for the same
        target.
        """
        secrets = [use.parameter for use in self._manifest.secrets if use.slot[0] == "query" and use.parameter]
        base, first = self._settings.base_url or "", request.url
        found: list[Any] = []
        room = call.result_max_bytes
        seen = {first}
        while True:
            try:
                result, size, link = await _exchange(http, call, "GET", request, room)
            except HandError as error:
                if not found or error.failure is not HandFailure.NOT_EXECUTED:
                    raise
                raise HandError(error.reason, HandFailure.EXECUTED, error.detail, **error.facts) from None
            if result.is_error:
                return result
            if result.structured is None:
                raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "a page that is no JSON")
            found.append(result.structured)
            room -= size
            following = pages.following(paging, base, first, request.url, link, result.structured)
            if following is None or len(found) >= paging.pages_max:
                return pages.joined(found, complete=following is None)
            following = pages.without(following, secrets) if secrets else following
            if following in seen:
                raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "pages that go in a circle")
            seen.add(following)
            request = request._replace(url=following)

    async def close(self) -> None:
        """Close the session and its pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _exchange(
    http: aiohttp.ClientSession, call: HandCall, method: str, request: Request, limit: int
) -> tuple[HandResult, int, str]:
    """One request and its answer: the result, the bytes that it took, and its ``Link`` header."""
    url = request.url
    added = await call.inject(url.scheme, url.raw_host or "", url.port or 0, method, url.raw_path)
    url, headers = _with(added, call, method, request)
    async with http.request(method, url, data=request.body, headers=headers, allow_redirects=False) as response:
        received, truncated = await http_answer.read_from(response, limit, truncates=call.truncates)
        link = ", ".join(response.headers.getall("Link", ()))
        return http_answer.result(response, received, truncated), len(received), link


def _with(added: Injections, call: HandCall, method: str, request: Request) -> tuple[URL, dict[str, str]]:
    """URL and headers of a request with what the gateway adds to it.

    Raises:
        HandError: ``schema.args``, not executed: an argument has the name of a parameter or header that carries a
            secret.
    """
    url = request.url
    headers = dict(added.headers)
    if not any(name.lower() == "authorization" for name in headers):
        headers |= {"Authorization": f"DPoP {call.credential}", "DPoP": call.prove(method, str(url))}
    ours = {name.lower() for name in headers}
    if any(name.lower() in ours for name in request.headers):
        raise misfit("an argument in a secret's place")
    headers |= request.headers
    if added.query:
        if added.query.keys() & url.query.keys():
            raise misfit("an argument in a secret's place")
        secret = urlencode(added.query, quote_via=quote)
        url = URL(f"{url}{'&' if url.raw_query_string else '?'}{secret}", encoded=True)
    return url, headers
