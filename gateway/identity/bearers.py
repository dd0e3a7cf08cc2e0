"""From an access token of another issuer to a principal of this gateway.

1. whose token it claims to be, out of the configured issuers; 2. that issuer's key; 3. the token's checks
(``keys.access_tokens``), and the client certificate that it may be bound to; 4. its tenant; 5. who its subject is here:
linked by a security admin, or made a principal by the operator's table of claims. A linked principal may what it is
registered for. One that claims made may what *this* token's claims give, so that a group taken away at the issuer is
gone with its next token.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.certificates import Certificate
from gateway.errors import Malformed, Overtaken, Refused, Unavailable
from gateway.identity.provider import Provider
from gateway.model import Principal, Role
from gateway.pointers import tokens
from gateway.reasons import Reason
from gateway.settings import IdentitySettings
from gateway.store.directory import SqlDirectory
from gateway.store.directory_links import CLAIMS, TOKEN, Identity
from gateway.store.directory_rows import Linked, Name
from keys.access_tokens import Profile, VerifiedToken, peek, verify

CLAIMED_MAX: Final = 1024
"""Groups, roles or scopes of one token that are looked at; with more, the token is refused."""
SEEN_MAX: Final = 10_000
"""People whose newest token's roles are remembered."""
WIDEN_ATTEMPTS: Final = 4
"""How often a row that others change meanwhile is looked at again."""

_SCOPES: Final = frozenset({"/scope", "/scp"})


class Bearers:
    """Believes the tokens of the configured issuers. Belongs to one event loop."""

    def __init__(self, providers: Iterable[Provider], directory: SqlDirectory) -> None:
        """Believe tokens of ``providers``, each of another issuer (the settings see to that)."""
        self._providers = {one.settings.issuer: (one, profile_of(one.settings)) for one in providers}
        self._directory = directory
        self._widening = asyncio.Lock()
        self._newest: OrderedDict[Name, tuple[float, frozenset[Role]]] = OrderedDict()

    @property
    def providers(self) -> list[Provider]:
        """The configured issuers, in their order in the settings."""
        return [provider for provider, _ in self._providers.values()]

    def believed(self, issuer: str) -> bool:
        """Whether tokens of the issuer of that URL are believed."""
        return issuer in self._providers

    def may_give(self, issuer: str, role: Role) -> bool:
        """Whether the settings still say that claims of the issuer of that URL can give a role."""
        known = self._providers.get(issuer)
        return known is not None and any(role in roles for roles in known[0].settings.roles.values())

    def took_away(self, person: Principal, role: Role) -> bool:
        """Whether the newest token of a principal that claims made, of those that this process saw, gives it a role no
        more. Where none was seen, nobody here knows."""
        seen = self._newest.get((person.tenant, person.pseudonym))
        return seen is not None and role not in seen[1]

    def source_of(self, name: str) -> Provider | None:
        """The issuer of that name in the settings."""
        return next((one for one, _ in self._providers.values() if one.name == name), None)

    async def authenticate(
        self, token: str, now: float, certificate: Certificate | None = None, audiences: Collection[str] = ()
    ) -> Principal:
        """The principal behind an access token. Arguments and refusals are those of :meth:`linked`."""
        return (await self.linked(token, now, certificate, audiences))[1]

    async def linked(
        self, token: str, now: float, certificate: Certificate | None = None, audiences: Collection[str] = ()
    ) -> tuple[str, Principal]:
        """The link of an access token's subject, and the principal behind it.

        Args:
            certificate: what the client proved to hold.
            audiences: what the token may be for, beside the issuer's audiences: the resource that is asked for (RFC
                8707).

        Raises:
            Refused: ``auth.invalid``, ``auth.expired``, ``auth.scope``; ``auth.forbidden`` for a subject that is nobody
                here.
            Unavailable: ``auth.unavailable``; the database cannot be read or written.
        """
        unverified = peek(token)
        known = self._providers.get(unverified.issuer)
        if known is None:
            raise Refused(Reason.AUTH_INVALID, "bearer token: of an issuer that is not configured")
        provider, profile = known
        if audiences:
            profile = replace(profile, audiences=profile.audiences.union(audiences))
        verified = verify(unverified, profile, await provider.key(unverified.kid), now)
        _check_bound(verified, provider.settings, certificate, now)
        return await self.subject(provider, verified)

    async def subject(self, provider: Provider, verified: VerifiedToken) -> tuple[str, Principal]:
        """The link of a token's subject, and who that is here with what this token's claims give.

        Raises:
            Refused: ``auth.invalid``; ``auth.forbidden`` for a subject that is nobody here.
            Unavailable: ``auth.unavailable``; the database cannot be read or written.
        """
        settings = provider.settings
        kind = TOKEN if settings.roles_claim is None else CLAIMS
        identity = Identity(kind, tenant_of(settings, verified.claims), settings.issuer, verified.subject)
        return await self._principal(provider, identity, verified)

    async def close(self) -> None:
        """Close the connections to issuers."""
        for provider, _ in self._providers.values():
            await provider.close()

    async def _principal(self, provider: Provider, identity: Identity, token: VerifiedToken) -> tuple[str, Principal]:
        linked = await self._directory.linked(identity)
        if linked is None:
            if provider.settings.roles_claim is None:
                raise Refused(Reason.AUTH_FORBIDDEN, f"a subject of issuer {provider.name} that is linked to nobody")
            await self._provision(provider, identity, token)
            linked = await self._directory.linked(identity)
        link_id, person = _standing(provider, linked)
        if linked is None or not linked.by_claims:
            return link_id, person
        return link_id, await self._by_claims(provider, identity, person, token)

    async def _provision(self, provider: Provider, identity: Identity, token: VerifiedToken) -> None:
        roles = self._roles(provider, token)
        try:
            await self._directory.provision(identity, provider.name, sorted(roles), provider.settings.hands)
        except Malformed:
            raise Refused(Reason.AUTH_FORBIDDEN, "its claims give roles that nobody may have together") from None
        except Refused as refusal:
            # Another request or gateway made the principal at the same moment; it is found there.
            if refusal.reason is not Reason.REQUEST_CONFLICT:
                raise

    async def _by_claims(
        self, provider: Provider, identity: Identity, person: Principal, token: VerifiedToken
    ) -> Principal:
        try:
            roles = self._roles(provider, token)
        except Refused:
            self._saw(person, token, frozenset())
            raise
        self._saw(person, token, roles)
        for _ in range(WIDEN_ATTEMPTS):
            if roles <= person.roles:
                return replace(person, roles=roles, hands=_narrowed(person.hands, provider.settings.hands))
            await self._widen(person, roles)
            _, person = _standing(provider, await self._directory.linked(identity))
        raise Unavailable(Reason.OVERLOADED, f"a subject of issuer {provider.name} that changes all the time")

    def _saw(self, person: Principal, token: VerifiedToken, roles: frozenset[Role]) -> None:
        """Of tokens of one second, what all of them give."""
        issued = float(token.claims["iat"])
        name = (person.tenant, person.pseudonym)
        before = self._newest.pop(name, (issued, roles))
        if before[0] >= issued:
            issued, roles = before[0], before[1] & roles if before[0] == issued else before[1]
        self._newest[name] = (issued, roles)
        if len(self._newest) > SEEN_MAX:
            self._newest.popitem(last=False)

    async def _widen(self, person: Principal, roles: frozenset[Role]) -> None:
        """One at a time: a commit may hold several appends, and each must see the row as the one before left it."""
        async with self._widening:
            try:
                await self._directory.widen(person, sorted(roles))
            except Overtaken:
                return  # its row changed at another gateway; the caller looks again
            except Malformed:
                # Each token alone would do; the same subject with both kinds could ask by one and approve by the other.
                raise Refused(Reason.AUTH_FORBIDDEN, "its tokens give roles that nobody may have together") from None

    @staticmethod
    def _roles(provider: Provider, token: VerifiedToken) -> frozenset[Role]:
        settings = provider.settings
        values = claimed(token.claims, settings.roles_claim)
        found = {role for value in values for role in settings.roles.get(value, ())}
        if not found:
            raise Refused(Reason.AUTH_FORBIDDEN, f"issuer {provider.name}: no claim that gives a role")
        if {Role.AGENT, Role.APPROVER} <= found:
            raise Refused(Reason.AUTH_FORBIDDEN, "its claims give roles that nobody may have together")
        return frozenset(found)


def _standing(provider: Provider, linked: Linked | None) -> tuple[str, Principal]:
    """A link's id, and who it is to, if neither it nor the principal is revoked."""
    if linked is None or linked.principal is None:
        raise Refused(Reason.AUTH_INVALID, f"a subject of issuer {provider.name} that is revoked")
    return linked.link_id, linked.principal


def _check_bound(token: VerifiedToken, settings: IdentitySettings, certificate: Certificate | None, now: float) -> None:
    """A token that is bound to a certificate goes with exactly that (RFC 8705 section 3)."""
    if token.certificate_sha256 is None:
        if settings.require_bound:
            raise Refused(Reason.AUTH_INVALID, "bearer token: not bound to a certificate")
        return
    if certificate is None or not hmac.compare_digest(token.certificate_sha256, certificate.thumbprint):
        raise Refused(Reason.AUTH_INVALID, "bearer token: bound to another certificate than the client's")
    if not certificate.good_at(now):
        raise Refused(Reason.AUTH_EXPIRED, "bearer token: its certificate is over")


def tenant_of(settings: IdentitySettings, claims: Mapping[str, Any]) -> str:
    """The tenant of a token.

    Raises:
        Refused: ``auth.forbidden`` where its claims name none that is listed, or several.
    """
    if settings.tenant_claim is None:
        return settings.tenant
    found = {settings.tenants[value] for value in claimed(claims, settings.tenant_claim) if value in settings.tenants}
    if len(found) != 1:
        raise Refused(Reason.AUTH_FORBIDDEN, "its claims do not name one tenant")
    return found.pop()


def tenants_of(settings: IdentitySettings) -> frozenset[str]:
    """Every tenant that an issuer vouches in."""
    return frozenset([settings.tenant] if settings.tenant_claim is None else settings.tenants.values())


def claimed(claims: Mapping[str, Any], pointer: str | None) -> frozenset[str]:
    """The texts at ``pointer``: of a list, or the one text; scopes (RFC 8693 section 4.2) are parted at blanks."""
    found: Any = claims
    for name in tokens(pointer or ""):
        found = found.get(name) if isinstance(found, Mapping) else None
    values: Any = found
    if isinstance(found, str):
        values = found.split(" ") if pointer in _SCOPES else [found]
    if not isinstance(values, list):
        return frozenset()
    if len(values) > CLAIMED_MAX:
        raise Refused(Reason.AUTH_INVALID, "bearer token: too many groups")
    return frozenset(value for value in values if isinstance(value, str) and value)


def _narrowed(registered: frozenset[str] | None, now: Sequence[str] | None) -> frozenset[str] | None:
    """The hands that are in both scopes; ``None`` is every hand."""
    if now is None or registered is None:
        return registered if now is None else frozenset(now)
    return registered & frozenset(now)


def profile_of(settings: IdentitySettings) -> Profile:
    """What the tokens of an issuer must be."""
    return Profile(
        issuer=settings.issuer,
        algorithm=settings.algorithm,
        audiences=frozenset(settings.audiences),
        typ=settings.token_type,
        clients=None if settings.clients is None else frozenset(settings.clients),
        scopes=frozenset(settings.scopes),
        lifetime_max_seconds=settings.lifetime_max_seconds,
        skew_seconds=settings.clock_skew_seconds,
    )
