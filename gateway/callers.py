"""Who calls and who signs plans: the directory, and the gateway's own ingresses."""

from gateway.errors import Refused
from gateway.model import CONNECTOR_PREFIX, Issuer
from gateway.store.directory import SqlDirectory
from keys.keyset import Keyset


class Callers(SqlDirectory):
    """The directory, plus the gateway's own ingresses as issuers."""

    connectors: Keyset

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
