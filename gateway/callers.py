"""Who calls and who signs plans: the directory, callers whom others vouch for, and the gateway's own ingresses."""

from gateway.errors import Absent, Refused
from gateway.identity.bearers import Bearers, tenants_of
from gateway.model import CONNECTOR_PREFIX, Issuer, Principal
from gateway.permissions import Permission, require
from gateway.reasons import Reason
from gateway.store.directory import SqlDirectory
from gateway.store.directory_links import TOKEN, Identity, LinkView
from gateway.store.directory_rows import API_KEY_PREFIX
from gateway.store.sessions import Session
from keys.keyset import Keyset


class Callers(SqlDirectory):
    """The directory, plus other issuers' tokens, plus the gateway's own ingresses as issuers."""

    connectors: Keyset
    bearers: Bearers

    async def authenticate(self, token: str, now: float) -> Principal:
        """The principal behind an API key or an access token.

        Raises:
            Refused: ``auth.invalid``, ``auth.expired``, ``auth.scope``, ``auth.forbidden``.
            Unavailable: ``auth.unavailable``; the database cannot be read.
        """
        if token.startswith(API_KEY_PREFIX):
            return await super().authenticate(token, now)
        return await self.bearers.authenticate(token, now)

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

    async def link_subject(self, actor: Principal, principal_id: str, issuer: str, subject: str) -> LinkView:
        """Let tokens of a subject of a configured issuer call as a principal.

        Args:
            issuer: its name in the settings.

        Raises:
            Refused: as :meth:`link`; ``request.not_found`` for an issuer that vouches for nobody of the actor's tenant.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        provider = self.bearers.source_of(issuer)
        if provider is None or actor.tenant not in tenants_of(provider.settings):
            raise Absent("issuer", issuer)
        identity = Identity(TOKEN, actor.tenant, provider.settings.issuer, subject)
        return await self.link(actor, principal_id, identity)

    async def attests_request(self, tenant: str, issuer_id: str) -> bool:
        """Whether an issuer may attest a user's words, now; one that is gone may not."""
        try:
            return (await self.issuer(issuer_id, tenant)).attests_request
        except Refused:
            return False

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        """See ``ports.Directory``."""
        if issuer_id.startswith(CONNECTOR_PREFIX):
            return self.connectors.issuer(issuer_id, tenant)
        return await super().issuer(issuer_id, tenant)
