"""Proposals that take effect with the last of several people's signatures: changes of trust.

Every signature is a row and an entry; the one that makes them enough brings the change about, in the same append, which
also holds that nobody who counted was revoked or frozen meanwhile.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from gateway import two_person
from gateway.canonical import canonical, parse, sha256_canonical
from gateway.commitments import Committed
from gateway.dual_control import Signature
from gateway.entries import EntryDraft
from gateway.errors import Malformed, Refused
from gateway.model import Principal
from gateway.permissions import Permission, permits, require
from gateway.ports import Append, Guard, Payloads, Unless
from gateway.proposals.acts import UNSIGNED, WEBAUTHN, Given, Said
from gateway.proposals.again import again
from gateway.proposals.life import PAGE_DEFAULT, Proposals
from gateway.proposals.views import view
from gateway.reasons import Conflict, Reason, because
from gateway.times import format_time
from gateway.two_person import RULES, Act, Kind, Proposal, ProposalStatus

REQUEST: Final = "request"
"""Name of the committed field, and member of the document: what exactly is asked for, which names people."""


class SignatureStore(Protocol):
    """Rows of signatures; see ``gateway.store.proposal_signatures``."""

    def insert(self, signature: Signature) -> Guard:
        """A further one; conflicts raise ``request.conflict``, or ``Overtaken`` where the number is taken."""

    async def of(self, proposal_ids: Sequence[str]) -> Mapping[str, Sequence[Signature]]:
        """Those under each proposal, in their order."""


@dataclass(frozen=True, slots=True)
class Electorate:
    """Who may agree, as the log and the directory say.

    Attributes:
        people: pseudonym -> security admin, of those who are asked about.
        keys: pseudonym -> thumbprints of their security keys that are not revoked.
        needed: how many have to sign.
        unchanged: that this still holds, by the time of a commit.
    """

    people: Mapping[str, Principal]
    keys: Mapping[str, frozenset[str]]
    needed: int
    unchanged: Unless


class Changing(Protocol):
    """What proposals of counted kinds mean; see ``gateway.proposals.trust``."""

    async def electorate(self, tenant: str, kind: Kind, pseudonyms: Sequence[str]) -> Electorate:
        """Who of ``pseudonyms`` may agree now, and how many have to. Raises ``log.unavailable``."""

    async def change(self, proposal: Proposal, request: Mapping[str, Any], by: str) -> Append:
        """What the proposal brings about.

        Raises:
            Refused: ``proposal.outdated`` where what it rests on changed.
        """

    def applied(self) -> None:
        """A change is durable: forget what was remembered."""


@dataclass(kw_only=True)
class SignedProposals(Proposals):
    """Proposals of one gateway, of counted kinds too.

    Attributes:
        refresh_freezes: learn what was frozen until now.
    """

    signatures: SignatureStore
    payloads: Payloads
    changing: Changing
    refresh_freezes: Callable[[], Awaitable[None]]

    # --- what people ask for -----------------------------------------------------------------------------------------

    async def list(
        self,
        viewer: Principal,
        status: ProposalStatus | None = None,
        kind: Kind | None = None,
        *,
        after: str | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> dict[str, Any]:
        """As ``Proposals.list``; those of counted kinds with their signatures."""
        page = await super().list(viewer, status, kind, after=after, limit=limit)
        counted = {one["id"]: Kind(one["kind"]) for one in page["proposals"] if RULES[Kind(one["kind"])].counted}
        told = await self._told(viewer.tenant, counted)
        for one in page["proposals"]:
            one.update(told.get(one["id"], {}))
        return page

    async def show(self, proposal_id: str, viewer: Principal) -> dict[str, Any]:
        """As ``Proposals.show``; one of a counted kind with its signatures and, for who may sign it, with the request
        that its document commits to."""
        require(viewer, Permission.PROPOSALS_READ)
        proposal = await self._get(proposal_id, viewer)
        if not RULES[proposal.kind].counted:
            return view(proposal, await self._names([proposal]))
        return await self._shown(proposal, viewer)

    async def activate(
        self, proposal_id: str, actor: Principal, *, document_sha256: str, said: Said = UNSIGNED
    ) -> dict[str, Any]:
        """As ``Proposals.activate``. Raises ``request.conflict`` for a counted kind, which nobody activates alone."""
        require(actor, Permission.PROPOSALS_ACTIVATE)
        if RULES[(await self._get(proposal_id, actor)).kind].counted:
            raise Refused(Reason.REQUEST_CONFLICT, "signed, not activated", **because(Conflict.COUNTED))
        return await super().activate(proposal_id, actor, document_sha256=document_sha256, said=said)

    async def propose_change(
        self, actor: Principal, kind: Kind, subject: str, document: Mapping[str, Any], request: Committed
    ) -> dict[str, Any]:
        """Take in a proposal of a counted kind. It is the proposer's signature as well, unless they have an enrolled
        key: then they sign like everybody else, and until then it counts for nobody.

        Args:
            subject: whom it is about, nothing personal.
            request: what is asked for, whose commitment the document names.

        Raises:
            Refused: ``auth.forbidden``, ``freeze.active``; ``request.conflict`` where another one about it is open.
            Unavailable: ``log.unavailable``; nothing is proposed.
        """
        require(actor, Permission.PROPOSALS_MAKE)
        self.check_acts(actor)
        two_person.check_may_propose(kind, actor)
        checked, _ = two_person.check_document(dict(document))
        now = self.clock()
        binding = {
            "id": secrets.token_hex(16),
            "kind": str(kind),
            "tenant": actor.tenant,
            "subject": two_person.check_subject(subject),
            "document_sha256": sha256_canonical(checked),
        }
        given = await self.acts.take(Act.PROPOSE, binding, replace(actor, approval_jwk=None), UNSIGNED, now)
        proposal = Proposal(
            id=binding["id"],
            kind=kind,
            tenant=actor.tenant,
            subject=subject,
            document=checked,
            document_sha256=binding["document_sha256"],
            status=ProposalStatus.OPEN,
            proposed_by=actor.pseudonym,
            proposed_attested_by="gateway",
            proposed_at=now,
            expires_at=now + self.ttl_seconds,
            commitments={"propose": given.proof.commitment, REQUEST: request.commitment},
        )
        draft = self._draft(proposal, Act.PROPOSE, actor.pseudonym, given)
        kept = {name: value for name, value in draft.commitments.items() if name != REQUEST}
        draft = replace(draft, fields={**draft.fields, REQUEST: request}, commitments=kept)
        guards = [self.store.insert(proposal)]
        if actor.approval_jwk is None and not await self.directory.has_key(actor.tenant, actor.pseudonym):
            guards.append(self.signatures.insert(self._signature(proposal, 1, actor, given)))
        await self.log.append(Append([draft], (), guards))
        return await self._shown(proposal, actor)

    async def sign(
        self, proposal_id: str, actor: Principal, *, document_sha256: str, said: Said = UNSIGNED
    ) -> dict[str, Any]:
        """Agree to a change; with enough signatures it takes effect at once.

        Args:
            document_sha256: of the document that the person looked at.
            said: the person's signature (``act: sign``); needed from everybody who has, or had, a key of their own.

        Raises:
            Refused: ``request.not_found``, ``auth.forbidden``, ``proposal.*``, ``verify.*``; ``request.conflict`` where
                the person signed before; whatever making the change refuses.
            Unavailable: ``log.unavailable``; unless it is ``Uncertain``, nothing took effect.
        """
        require(actor, Permission.PROPOSALS_ACTIVATE)
        proposal = await again(
            lambda: self._sign(proposal_id, actor, document_sha256, said), "others sign at the same moment"
        )
        return await self._shown(proposal, actor)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _may_agree(self, proposal_id: str, actor: Principal) -> Proposal:
        proposal = await self._get(proposal_id, actor)
        if not RULES[proposal.kind].counted:
            return await super()._may_agree(proposal_id, actor)
        require(actor, Permission.PROPOSALS_ACTIVATE)
        await self._may_sign(proposal, actor, self.clock())
        return proposal

    async def _may_sign(
        self, proposal: Proposal, actor: Principal, now: float
    ) -> tuple[Sequence[Signature], Electorate]:
        """The signatures so far, and who may agree, where the person may sign now. Raises as :meth:`sign`."""
        given = (await self.signatures.of([proposal.id])).get(proposal.id, ())
        signers = [one.signer for one in given]
        proposer = await self._person(proposal)
        asked = [*signers, actor.pseudonym, *([proposer.pseudonym] if proposer is not None else [])]
        electorate = await self.changing.electorate(proposal.tenant, proposal.kind, asked)
        await self.refresh_freezes()  # what is frozen, up to where the electorate was read at least
        self.check_acts(actor)
        if proposer is not None and not self._acts(electorate.people.get(proposer.pseudonym)):
            proposer = None
        two_person.check_may_sign(proposal, actor, proposer, now)
        if actor.pseudonym not in electorate.people:
            raise Refused(Reason.AUTH_FORBIDDEN, "no security admin by the log")
        if actor.pseudonym in signers:
            raise Refused(Reason.REQUEST_CONFLICT, "signed before", **because(Conflict.SIGNED))
        if any(one.audience != self.log.origin for one in given):
            raise Refused(Reason.PROPOSAL_OUTDATED, "made before the log was restored")
        return given, electorate

    async def _sign(self, proposal_id: str, actor: Principal, document_sha256: str, said: Said) -> Proposal:
        now = self.clock()
        proposal = await self._get(proposal_id, actor)
        before, electorate = await self._may_sign(proposal, actor, now)
        if document_sha256 != proposal.document_sha256:
            raise Refused(Reason.PROPOSAL_MISMATCH, "document", member="document_sha256")
        given = await self.acts.take(Act.SIGN, proposal.binding(), actor, said, now)
        signature = self._signature(proposal, len(before) + 1, actor, given)
        # Each person once, also where somebody wrote a signature's row to the database a second time.
        counted = 1 + len({one.signer for one in before if self._counts(one, electorate)})
        draft = self._signed_draft(proposal, actor, given, counted, electorate.needed)
        if counted < electorate.needed:
            await self.log.append(
                Append([draft], given.writes, [self.signatures.insert(signature)], unless=[electorate.unchanged])
            )
            return proposal
        request = await self._request(proposal)
        if request is None:
            raise Refused(Reason.PROPOSAL_OUTDATED, "what was asked for was erased")
        change = await self.changing.change(proposal, request[0], actor.pseudonym)
        activated = replace(
            proposal,
            status=ProposalStatus.ACTIVATED,
            decided_by=actor.pseudonym,
            decided_attested_by="activator" if given.attested_by == "signer" else given.attested_by,
            decided_at=now,
            commitments={**proposal.commitments, "activate": given.proof.commitment},
        )
        guard, write = self.store.change(activated)
        decided = self._draft(activated, Act.ACTIVATE, actor.pseudonym)
        item = replace(
            change,
            entries=[
                draft,
                decided,
                *(replace(one, facts={**one.facts, "proposal": proposal.id}) for one in change.entries),
            ],
            writes=[write, *given.writes, *change.writes],
            guards=[self.signatures.insert(signature), guard, *change.guards],
            unless=[electorate.unchanged, *change.unless],
        )
        try:
            await self.log.append(item)
        except Refused:
            two_person.check_open(await self._get(proposal_id, actor), now)  # somebody else's signature was the last
            raise
        self.changing.applied()
        return activated

    def _counts(self, signature: Signature, electorate: Electorate) -> bool:
        """Whether a signature still counts: not where its person was revoked or frozen meanwhile, or its key was."""
        kept = signature.attested_by != WEBAUTHN or signature.kid in electorate.keys.get(signature.signer, ())
        here = signature.audience == self.log.origin
        return here and kept and self._acts(electorate.people.get(signature.signer))

    def _acts(self, person: Principal | None) -> bool:
        if person is None:
            return False
        try:
            self.check_acts(person)
        except Refused:
            return False
        return True

    def _signature(self, proposal: Proposal, number: int, actor: Principal, given: Given) -> Signature:
        return Signature(
            proposal.id,
            number,
            actor.pseudonym,
            given.attested_by,
            self.log.origin,
            self.clock(),
            given.proof.commitment,
            given.kid,
        )

    def _signed_draft(
        self, proposal: Proposal, actor: Principal, given: Given, counted: int, needed: int
    ) -> EntryDraft:
        draft = self._draft(proposal, Act.SIGN, actor.pseudonym, given)
        return replace(draft, facts={**draft.facts, "signatures": counted, "needed": needed})

    async def _request(self, proposal: Proposal) -> tuple[dict[str, Any], str] | None:
        """What is asked for, and its salt in hexadecimal; ``None`` where it was erased."""
        commitment = proposal.commitments.get(REQUEST, "")
        found = (await self.payloads.open([commitment])).get(commitment)
        if found is None or commitment != proposal.document.get(REQUEST):
            return None
        salt, value = found
        if hashlib.sha256(salt + value).hexdigest() != commitment:
            return None
        request = parse(value)
        if not isinstance(request, dict) or canonical(request) != value:
            raise Malformed("request", pointer="", expected="the canonical JSON that was committed to")
        return request, salt.hex()

    async def _shown(self, proposal: Proposal, viewer: Principal) -> dict[str, Any]:
        told = await self._told(proposal.tenant, {proposal.id: proposal.kind})
        shown = view(proposal, await self._names([proposal])) | told[proposal.id]
        if not permits(viewer, RULES[proposal.kind].activate):
            return shown
        request = await self._request(proposal)
        return shown if request is None else {**shown, "request": request[0], "request_salt": request[1]}

    async def _told(self, tenant: str, counted: Mapping[str, Kind]) -> dict[str, dict[str, Any]]:
        """What is shown of proposals beside themselves: how many signatures they need, and which they have."""
        signed = await self.signatures.of(list(counted))
        signers = sorted({one.signer for given in signed.values() for one in given})
        names = await self.directory.names(tenant, signers)
        may = {kind: await self.changing.electorate(tenant, kind, signers) for kind in {*counted.values()}}
        return {
            proposal: {
                "needed": may[kind].needed,
                "signatures": [
                    {
                        "by": names.get(one.signer, one.signer),
                        "attested_by": one.attested_by,
                        "kid": one.kid,
                        "at": format_time(one.signed_at),
                        "counts": self._counts(one, may[kind]),
                    }
                    for one in signed.get(proposal, ())
                ],
            }
            for proposal, kind in counted.items()
        }
