"""Changes of trust: what one person may not do alone becomes a proposal, and what a proposal says is done when enough
security admins have signed it. How many that is: ``gateway.dual_control``.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.callers import Callers
from gateway.canonical import canonical
from gateway.certificates import Certificate, NameKind
from gateway.commitments import commit, subject_key
from gateway.dual_control import same_target
from gateway.errors import Malformed, Refused
from gateway.model import Principal
from gateway.ports import Append
from gateway.proposals.signing import Electorate, SignedProposals
from gateway.reasons import Reason
from gateway.store.directory_changes import Change
from gateway.store.directory_links import Identity
from gateway.store.directory_rows import NewPrincipal
from gateway.two_person import Kind, Proposal


@dataclass(slots=True)
class TrustChanges:
    """Implements ``gateway.proposals.signing.Changing`` over the directory, and turns changes into proposals."""

    directory: Callers
    proposals: SignedProposals = field(init=False)

    async def or_propose(
        self, actor: Principal, name: str, request: Mapping[str, Any], alone: Awaitable[Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], bool]:
        """Make a change on one person's word, or propose it where it takes more people.

        Args:
            name: what is done; see ``_prepare``.
            request: its arguments as JSON; ``id`` is whom it is about.
            alone: the attempt to make it.

        Returns:
            What was made and ``True``, or the proposal and ``False``.

        Raises:
            HandrailError: what ``alone`` raised, or :meth:`SignedProposals.propose_change`; ``request.malformed`` where
                the API key of somebody who decides is not their own.
        """
        try:
            return await alone, True
        except Refused as refusal:
            if refusal.reason is not Reason.PROPOSAL_REQUIRED:
                raise
        if name in {"principal.add", "principal.key"} and request.get("api_key") is None:
            # Whoever is handed the token could be the second person, whom the change is meant to be.
            expected = "the public part of a key that the principal made: handrail keys api"
            raise Malformed("an API key of the principal's own", pointer="/api_key", expected=expected)
        change = await self._prepare(name, actor.tenant, actor.pseudonym, request)
        if change.trust is None:
            raise Refused(Reason.PROPOSAL_OUTDATED, "one person may make it by now")
        sealed = commit(canonical(dict(request)), subject_key(actor.tenant, str(request["id"]), "@directory"))
        trust = change.trust
        document = trust.document(sealed.commitment)
        return await self.proposals.propose_change(actor, trust.kind, trust.target, document, sealed), False

    # --- gateway.proposals.signing.Changing ---------------------------------------------------------------------------

    async def electorate(self, tenant: str, kind: Kind, pseudonyms: Sequence[str]) -> Electorate:
        """See ``gateway.proposals.signing.Changing``."""
        known = await self.directory.administrators(tenant)
        people = await self.directory.able(known, pseudonyms)
        keys = {name: await self.directory.security_keys(tenant, name) for name in people if name in known.keyed}
        kids = {name: frozenset(key.kid for key in held) for name, held in keys.items()}
        return Electorate(
            people, kids, self.directory.thresholds.needed(kind, len(known.pseudonyms)), known.unchanged()
        )

    async def change(self, proposal: Proposal, request: Mapping[str, Any], by: str) -> Append:
        """See ``gateway.proposals.signing.Changing``: prepared anew, it must be exactly what was proposed."""
        name = str(proposal.document["change"])
        try:
            change = await self._prepare(name, proposal.tenant, by, request)
        except Refused as refusal:
            raise Refused(Reason.PROPOSAL_OUTDATED, f"it could not be made any more: {refusal.reason}") from refusal
        trust = change.trust
        if trust is None or trust.kind is not proposal.kind or not same_target(trust.target, proposal.subject):
            raise Refused(Reason.PROPOSAL_OUTDATED, "another change by now")
        if trust.document(str(proposal.document["request"])) != proposal.document:
            raise Refused(Reason.PROPOSAL_OUTDATED, "what it changes moved meanwhile")
        if trust.removes_admin:
            await self.directory.administrators_left(await self.directory.administrators(proposal.tenant), trust.target)
        return change.item

    def applied(self) -> None:
        """See ``gateway.proposals.signing.Changing``."""
        self.directory.forget()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _identity(self, tenant: str, request: Mapping[str, Any]) -> Identity:
        """Whom a link is to be to: a subject of an issuer, a certificate, or a name in certificates."""
        if "issuer" in request:
            return self.directory.identity(tenant, request["issuer"], request["subject"])
        if "certificate" in request:
            return self.directory.certificate_identity(tenant, Certificate.read_pem(request["certificate"]))
        return self.directory.certificate_identity(tenant, (NameKind(request["kind"]), request["value"]))

    async def _prepare(self, name: str, tenant: str, by: str, request: Mapping[str, Any]) -> Change[Any]:
        directory = self.directory
        match name:
            case "principal.add":
                return await directory.prepare_principals(tenant, by, [NewPrincipal(**request)])
            case "principal.key":
                return await directory.prepare_api_key(
                    tenant, by, request["id"], request["ttl_days"], request["api_key"]
                )
            case "principal.link":
                return await directory.prepare_link(tenant, by, request["id"], self._identity(tenant, request))
            case "principal.name":
                return await directory.prepare_name(tenant, by, request["pseudonym"], request["id"])
            case "principal.revoke":
                return await directory.prepare_revocation(tenant, by, request["id"])
            case "issuer.add":
                return await directory.prepare_issuer(
                    tenant,
                    by,
                    request["id"],
                    request["jwk"],
                    request["speaks_for"],
                    attests_request=request["attests_request"],
                )
        raise Malformed(name, pointer="/document/change", expected="a change that is known here")
