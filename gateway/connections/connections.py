"""What a person sees of connections, and does with their own: consent at one, and take that back. And how others end
that.

A consent begins and ends at a page, in one session of one person; no API key begins one, because whoever sends an API
request has no browser by which the answer could be known to be theirs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.connections.consents import Beginner, Consents
from gateway.connections.grants import Grants, Whose
from gateway.connections.server import AuthorizationServer, ConsentOver, Endpoints, Tokens, refused
from gateway.connections.tokens import PeoplesTokens
from gateway.entries import EntryType
from gateway.errors import Absent, HandrailError, Overtaken, Refused
from gateway.manifest import Manifest
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.reasons import Conflict, Reason, because
from gateway.secrets.broker import Broker

_log = structlog.get_logger("handrail.connections")

CODE_MAX: Final = 4096
LEFT_MAX: Final = 16
"""Revoked people whose grants are ended at one time."""
_TRIES: Final = 5
"""Of one change, beside others of the person."""
_STATES: Final[Mapping[EntryType, str]] = {
    EntryType.CONNECTION_LOST: "lost",
    EntryType.CONNECTION_REMOVED: "removed",
}


@dataclass(frozen=True, slots=True)
class Connections:
    """Belongs to one event loop.

    Attributes:
        servers: by connection.
        page_url: of the page at which people consent.
        offered: tenant -> manifests of its hands that are declared and known now, pinned or not.
        principal: tenant and id -> one that is not revoked; raises ``request.not_found``.
    """

    servers: Mapping[str, AuthorizationServer]
    grants: Grants
    consents: Consents
    tokens: PeoplesTokens
    broker: Broker
    page_url: str
    offered: Callable[[str], Iterable[Manifest]]
    principal: Callable[[str, str], Awaitable[Principal]]

    def of(self, tenant: str) -> bool:
        """Whether people of a tenant have anything to connect."""
        return any(tenant in one.settings.tenants for one in self.servers.values())

    async def listed(self, person: Principal) -> list[dict[str, Any]]:
        """The connections of the person's tenant, and how each stands for them. No token is in what is returned.

        Raises:
            Refused: ``auth.forbidden``.
            Unavailable: ``log.unavailable``.
        """
        require(person, Permission.CONNECTIONS_OWN)
        granted, said = await self.grants.every(person.tenant, person.pseudonym)
        return [
            self._view(person.tenant, one, "connected" if name in granted else _state(said.get(name)))
            for name, one in sorted(self.servers.items())
            if person.tenant in one.settings.tenants
        ]

    async def show(self, person: Principal, name: str) -> dict[str, Any]:
        """One of them. Raises as :meth:`listed`, and ``request.not_found``."""
        for view in await self.listed(person):
            if view["id"] == name:
                return view
        raise Absent("connection", name)

    async def begin(self, person: Principal, name: str, session: str, redirect_uri: str) -> str:
        """The URL at the service at which the person consents.

        Args:
            session: the secret of the session in which the person is logged in; the answer counts in no other.

        Raises:
            Refused: ``auth.forbidden``, ``request.not_found``.
            Unavailable: ``connection.unavailable``.
        """
        server = self._server(person, name)
        pages = await server.endpoints()
        consent = self.consents.begin(_beginner(person, server, session, redirect_uri))
        return server.consent_url(pages, consent.state, consent.verifier, redirect_uri)

    async def complete(
        self, person: Principal, name: str, session: str, redirect_uri: str, answer: Mapping[str, str]
    ) -> dict[str, Any]:
        """Take the service's answer, which the person's browser brings. A refused one is on record.

        Args:
            answer: the parameters of the answer (RFC 6749 section 4.1.2); others than known ones mean nothing.

        Raises:
            Refused: ``auth.forbidden``, ``request.not_found``; ``connection.refused``: the answer is not to a consent
                that this person began in this session for this service, came before, is of another server, or says no.
            Unavailable: ``connection.unavailable``, ``log.unavailable``; nothing was granted.
        """
        server = self._server(person, name)
        whose = Whose(person.tenant, person.pseudonym, name)
        try:
            tokens = await self._answered(server, _beginner(person, server, session, redirect_uri), answer)
        except Refused as refusal:
            await self.grants.refuse(whose, refusal.reason, str(refusal.facts.get("problem", "")))
            raise
        try:
            await self._keep(whose, server, tokens)
        except HandrailError:
            await server.revoke(tokens)
            raise
        self._forget(whose)
        return await self.show(person, name)

    async def remove(self, person: Principal, name: str) -> dict[str, Any]:
        """Take a consent back: the tokens are nowhere any more, and the server is asked to revoke them.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found`` where there is no consent; ``request.conflict``: others
                change it at this moment.
            Unavailable: ``log.unavailable``; nothing was changed.
        """
        self._server(person, name)
        revoked = await self._end(Whose(person.tenant, person.pseudonym, name))
        if revoked is None:
            raise Absent("consent to connection", name)
        return {**await self.show(person, name), "revoked": revoked}

    async def leave(self, tenant: str, subject: str) -> None:
        """End everything that a person granted, who is to be forgotten. A server that does not answer keeps nobody
        from being forgotten. Raises ``log.unavailable``."""
        await self._end_all(tenant, subject, cause="erased")

    # --- of somebody else --------------------------------------------------------------------------------------------

    async def listed_of(self, actor: Principal, principal_id: str) -> list[dict[str, Any]]:
        """How each connection stands for a principal of the actor's tenant; those that are no longer configured, too,
        while there are tokens of them.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found``: no such principal, or a revoked one, which has none.
            Unavailable: ``log.unavailable``.
        """
        require(actor, Permission.CONNECTIONS_END)
        person = await self.principal(actor.tenant, principal_id)
        granted, said = await self.grants.every(person.tenant, person.pseudonym)
        ours = {name for name, one in self.servers.items() if person.tenant in one.settings.tenants}
        return [
            self._brief(name, "connected" if name in granted else _state(said.get(name)))
            for name in sorted(ours.union(granted))
        ]

    async def end(self, actor: Principal, principal_id: str, name: str) -> dict[str, Any]:
        """End what a principal granted, as :meth:`remove` does it. The person may consent anew: who must not is frozen
        or revoked.

        Raises:
            Refused: as :meth:`listed_of`; ``request.not_found`` where there is no consent; ``request.conflict``: others
                change it at this moment.
            Unavailable: ``log.unavailable``; nothing was changed.
        """
        require(actor, Permission.CONNECTIONS_END)
        person = await self.principal(actor.tenant, principal_id)
        revoked = await self._end(Whose(person.tenant, person.pseudonym, name), cause="ended", by=actor.pseudonym)
        if revoked is None:
            raise Absent("consent to connection", name)
        return {**self._brief(name, "removed"), "revoked": revoked}

    async def settle(self) -> None:
        """End what people granted who are revoked or forgotten by now, whoever did that and wherever. Raises
        ``log.unavailable``."""
        while left := await self.grants.left(LEFT_MAX):
            ends = (self._end_all(tenant, subject, cause="revoked") for tenant, subject in left)
            for failed in await asyncio.gather(*ends, return_exceptions=True):
                if failed is not None:
                    raise failed

    async def close(self) -> None:
        """Let refreshes come to their end, and close every connection."""
        await self.tokens.close()
        await asyncio.gather(*(one.close() for one in self.servers.values()), return_exceptions=True)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _answered(self, server: AuthorizationServer, beginner: Beginner, answer: Mapping[str, str]) -> Tokens:
        consent = self.consents.read(answer.get("state", ""), beginner)
        await self.grants.spend(consent)
        pages = await server.endpoints()
        _check_issuer(pages, answer.get("iss"))
        if "error" in answer:
            raise refused("denied", "the person or the server said no")
        code = answer.get("code", "")
        if not 0 < len(code) <= CODE_MAX or not code.isascii():
            raise refused("code", "no code")
        try:
            return await server.exchange(pages, code, consent.verifier, beginner.redirect_uri)
        except ConsentOver:
            raise refused("code", "the server does not take the code") from None

    async def _keep(self, whose: Whose, server: AuthorizationServer, tokens: Tokens) -> None:
        for _ in range(_TRIES):
            known = await self.grants.find(whose, lenient=True)
            try:
                # Tokens of a consent before are not revoked: at many servers that ends every consent of the person.
                await self.grants.keep(whose, tokens, server.identity, EntryType.CONNECTION_GRANTED, known.size)
            except Overtaken:
                continue
            return
        raise _busy()

    async def _end_all(self, tenant: str, subject: str, **facts: str) -> None:
        """One after the other: what is written of a person's grants is decided beside all of them."""
        granted, _ = await self.grants.every(tenant, subject)
        for name in granted:
            await self._end(Whose(tenant, subject, name), **facts)

    async def _end(self, whose: Whose, **facts: str) -> bool | None:
        """Whether the server says that it revoked the tokens; ``None`` where there are none."""
        for _ in range(_TRIES):
            known = await self.grants.find(whose, lenient=True)
            if not known.there:
                return None
            server = self.servers.get(whose.connection)
            try:
                await self.grants.end(whose, EntryType.CONNECTION_REMOVED, known.size, **facts)
            except Overtaken:
                continue
            self._forget(whose)
            if server is None or known.grant is None or known.grant.server != server.identity:
                return False
            revoked = await server.revoke(known.grant.tokens)
            if not revoked:
                _log.warning("tokens were not revoked at the server", connection=whose.connection)
            return revoked
        raise _busy()

    def _forget(self, whose: Whose) -> None:
        self.tokens.forget(whose)
        self.broker.forget(whose.tenant, whose.subject)

    def _server(self, person: Principal, name: str) -> AuthorizationServer:
        require(person, Permission.CONNECTIONS_OWN)
        server = self.servers.get(name)
        if server is None or person.tenant not in server.settings.tenants:
            raise Absent("connection", name)
        return server

    def _brief(self, name: str, state: str) -> dict[str, Any]:
        server = self.servers.get(name)
        return {"id": name, "title": name if server is None else server.title, "state": state}

    def _view(self, tenant: str, server: AuthorizationServer, state: str) -> dict[str, Any]:
        hands = {
            manifest.hand
            for manifest in self.offered(tenant)
            if any(use.connection == server.name for use in manifest.secrets)
        }
        return {
            "id": server.name,
            "title": server.title,
            "state": state,
            "scopes": list(server.settings.scopes),
            "targets": list(server.settings.origins),
            "hands": sorted(hands),
            "page": self.page_url,
        }


def _beginner(person: Principal, server: AuthorizationServer, session: str, redirect_uri: str) -> Beginner:
    return Beginner(person.tenant, person.pseudonym, session, server.name, server.identity, redirect_uri)


def _check_issuer(pages: Endpoints, named: str | None) -> None:
    """RFC 9207 section 2.4: an answer of another server was mixed in."""
    if named != pages.issuer and (pages.names_itself or named is not None):
        raise refused("issuer", "the answer is of another server")


def _state(last: EntryType | None) -> str:
    return "none" if last is None else _STATES.get(last, "none")


def _busy() -> Refused:
    return Refused(Reason.REQUEST_CONFLICT, "others change it", **because(Conflict.CONNECTION_CHANGED))
