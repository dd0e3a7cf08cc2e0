"""Who calls and who signs plans: the directory, callers whom others vouch for, and the gateway's own ingresses."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from gateway.certificates import Certificate, CertificateName, NameKind, checked_name
from gateway.errors import Absent, Malformed, Refused
from gateway.identity.bearers import Bearers, tenants_of
from gateway.model import CONNECTOR_PREFIX, RUNS, Issuer, Principal, Role, Shown
from gateway.permissions import Permission, require
from gateway.reasons import Reason
from gateway.settings import ServerSettings
from gateway.store.administrators import Administrators
from gateway.store.directory import SqlDirectory
from gateway.store.directory_links import CERTIFICATE, TOKEN, Identity, LinkView
from gateway.store.directory_rows import API_KEY_PREFIX, Linked, key_id_of
from gateway.store.sessions import Session
from keys.keyset import Keyset


class Callers(SqlDirectory):
    """The directory, plus other issuers' tokens and client certificates, plus the gateway's ingresses as issuers."""

    connectors: Keyset
    bearers: Bearers
    _certificate_tenant: str

    def open(self, connectors: Keyset, bearers: Bearers, server: ServerSettings) -> None:
        """Take what a directory alone has not; to be done before anybody calls."""
        self.connectors, self.bearers = connectors, bearers
        self._certificate_tenant = server.client_certificate_tenant

    async def authenticate(
        self, token: str, now: float, certificate: Certificate | None = None, audiences: Collection[str] = ()
    ) -> Principal:
        """The principal behind an API key or an access token.

        Args:
            certificate: what the client proved to hold; a token that is bound to one goes with it alone.
            audiences: what an access token may be for, beside its issuer's audiences: the resource that is asked for.

        Raises:
            Refused: ``auth.invalid``, ``auth.expired``, ``auth.scope``, ``auth.forbidden``.
            Unavailable: ``auth.unavailable``; the database cannot be read.
        """
        if token.startswith(API_KEY_PREFIX):
            return await super().authenticate(token, now)
        return await self.bearers.authenticate(token, now, certificate, audiences)

    async def shown(
        self, token: str, now: float, certificate: Certificate | None = None, audiences: Collection[str] = ()
    ) -> Shown:
        """What stands behind an API key or an access token; :meth:`check_shown` says later whether it holds still.
        Arguments and refusals are those of :meth:`authenticate`."""
        if token.startswith(API_KEY_PREFIX):
            return Shown(key_id=key_id_of(token))
        link_id, _ = await self.bearers.linked(token, now, certificate, audiences)
        return Shown(links=(link_id,))

    async def shown_by(self, certificate: Certificate) -> Shown:
        """The same of a client certificate. Raises ``log.unavailable``."""
        return Shown(links=tuple(one.link_id for one in await self._links_of(certificate)))

    async def check_shown(self, shown: Shown, now: float) -> None:
        """Whether what a caller showed holds still. An access token may be over by now: its subject's link is not.

        Raises:
            Refused: ``auth.invalid`` for a key or a link that was revoked, or of an issuer that is not believed any
                more; ``auth.expired`` for a key.
            Unavailable: the database cannot be read.
        """
        if shown.key_id is not None:
            await self.holder(shown.key_id, now)
        elif not shown.links:
            raise Refused(Reason.AUTH_INVALID, "nothing was shown")
        for link_id in shown.links:
            linked = await self.link_of(link_id)
            if linked is None or linked.principal is None or not self._vouched(linked):
                raise Refused(Reason.AUTH_INVALID, "a link or an issuer that is no more")

    def _vouched(self, linked: Linked) -> bool:
        """Whether the source of a link still counts: the gateway's own authorities, or an issuer that is believed."""
        return linked.source in set(NameKind) or self.bearers.believed(linked.source)

    async def holder_of(self, certificate: Certificate, now: float) -> Principal:
        """The principal that a client certificate stands for, by its thumbprint or by any name in it.

        Raises:
            Refused: ``auth.expired``; ``auth.forbidden`` for one that is nobody's; ``auth.invalid`` where any of what
                it is known by is revoked, or where its names are several principals'.
            Unavailable: the database cannot be read.
        """
        if not certificate.good_at(now):
            raise Refused(Reason.AUTH_EXPIRED, f"certificate {certificate.thumbprint}")
        found = await self._links_of(certificate)
        if not found:
            raise Refused(Reason.AUTH_FORBIDDEN, f"certificate {certificate.thumbprint} is nobody's")
        people = {one.principal.id: one.principal for one in found if one.principal is not None}
        if len(people) != 1 or any(one.principal is None for one in found):
            raise Refused(Reason.AUTH_INVALID, f"certificate {certificate.thumbprint}: revoked, or of several")
        return people.popitem()[1]

    async def _links_of(self, certificate: Certificate) -> list[Linked]:
        """The links of all that a certificate is known by."""
        identities = [
            Identity(CERTIFICATE, self._certificate_tenant, kind, value) for kind, value in certificate.identities
        ]
        return [one for one in await asyncio.gather(*map(self.linked, identities)) if one is not None]

    async def link_certificate(
        self, actor: Principal, principal_id: str, shown: Certificate | CertificateName
    ) -> LinkView:
        """Let whoever holds a certificate call as a principal.

        Args:
            shown: one certificate, or a name that an authority writes into certificates.

        Raises:
            Refused: as :meth:`link` and :meth:`certificate_identity`.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        return await self.link(actor, principal_id, self.certificate_identity(actor.tenant, shown))

    def certificate_identity(self, tenant: str, shown: Certificate | CertificateName) -> Identity:
        """A certificate, or a name in certificates.

        Raises:
            Refused: ``request.malformed`` for a name that is none or a certificate that is over;
                ``request.not_found`` in a tenant that has no callers with certificates.
        """
        if tenant != self._certificate_tenant:
            raise Absent("tenant", tenant, "certificates are of another tenant")
        if isinstance(shown, Certificate):
            if shown.ends_at < self._clock():
                raise Malformed("the certificate is over", pointer="/certificate", expected="one that is good")
            return Identity(CERTIFICATE, tenant, NameKind.THUMBPRINT, shown.thumbprint, expires_at=shown.ends_at)
        kind, value = shown
        return Identity(CERTIFICATE, tenant, kind, checked_name(kind, value))

    async def logged_in(self, session: Session, now: float) -> Principal:
        """Whose session it is, as they are now, with what the session may.

        Raises:
            Refused: ``auth.invalid``, ``auth.expired``: what opened it, or its principal, is no more.
            Unavailable: the database cannot be read.
        """
        if session.key_id is not None:
            return session.narrowed(await self.holder(session.key_id, now))
        linked = None if session.link_id is None else await self.link_of(session.link_id)
        if linked is None or linked.principal is None or not self.bearers.believed(linked.source):
            raise Refused(Reason.AUTH_INVALID, "a session whose link or issuer is no more")
        return session.narrowed(linked.principal)

    async def able(self, known: Administrators, pseudonyms: Collection[str]) -> dict[str, Principal]:
        """As ``Changes.able``. Whom claims made is a security admin while their issuer can say so, and as long as this
        process has seen no newer token that does not."""
        people = await super().able(known, pseudonyms)
        return {name: person for name, person in people.items() if await self._still(known, person)}

    async def _still(self, known: Administrators, person: Principal) -> bool:
        claimed = known.claimed.get(person.pseudonym, frozenset())
        if not claimed:
            return True
        if self.bearers.took_away(person, Role.SECURITY_ADMIN):
            return False
        links = [await self.link_of(one) for one in sorted(claimed)]
        return any(one is not None and self.bearers.may_give(one.source, Role.SECURITY_ADMIN) for one in links)

    async def link_subject(self, actor: Principal, principal_id: str, issuer: str, subject: str) -> LinkView:
        """Let tokens of a subject of a configured issuer call as a principal.

        Args:
            issuer: its name in the settings.

        Raises:
            Refused: as :meth:`link`; ``request.not_found`` for an issuer that vouches for nobody of the actor's tenant.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        return await self.link(actor, principal_id, self.identity(actor.tenant, issuer, subject))

    def identity(self, tenant: str, issuer: str, subject: str) -> Identity:
        """A subject of a configured issuer. Raises ``request.not_found`` where it vouches for nobody of the tenant."""
        provider = self.bearers.source_of(issuer)
        if provider is None or tenant not in tenants_of(provider.settings):
            raise Absent("issuer", issuer)
        return Identity(TOKEN, tenant, provider.settings.issuer, subject)

    async def attests_request(self, tenant: str, issuer_id: str) -> bool:
        """Whether an issuer may attest a user's words, now; one that is gone may not."""
        try:
            return (await self.issuer(issuer_id, tenant)).attests_request
        except Refused:
            return False

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        """See ``ports.Directory``."""
        if issuer_id.startswith(CONNECTOR_PREFIX):
            connector = self.connectors.issuer(issuer_id, tenant)
            # Whoever begins a run tells the gateway itself what they want.
            return replace(connector, attests_request=issuer_id == RUNS)
        return await super().issuer(issuer_id, tenant)
