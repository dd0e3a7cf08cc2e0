"""Proposals: taking them in, having a second person activate them, and ending what is over.

What a kind's document means is its handler's business; who may do what, and when, is ``gateway.two_person``'s. An act
and everything that it brings about become durable in one append, or not at all.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from gateway import two_person
from gateway.canonical import sha256_canonical
from gateway.entries import EntryDraft
from gateway.errors import HandrailError, Malformed, Refused
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, AuditLog, Directory, ProposalStore, Unless
from gateway.proposals.acts import UNSIGNED, Acts, Given, Said, check_unsigned, signed_id
from gateway.proposals.again import again
from gateway.proposals.handlers import Effects, Handler
from gateway.proposals.views import view
from gateway.reasons import Reason
from gateway.two_person import RULES, Act, Kind, Proposal, ProposalStatus

_log = structlog.get_logger("handrail.proposals")

SYSTEM: Final = "system"
"""Pseudonym of the gateway itself."""
PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100
DUE_BATCH: Final = 64


@dataclass(slots=True)
class Proposals:
    """Proposals of one gateway.

    Attributes:
        ttl_seconds: how long a proposal waits for a second person.
        handlers: kind -> what it means; a kind without one cannot be proposed here.
    """

    log: AuditLog
    store: ProposalStore
    directory: Directory
    acts: Acts
    ttl_seconds: int
    clock: Callable[[], float] = time.time
    check_acts: Callable[[Principal], None] = lambda _person: None
    """Raises ``freeze.active`` for whoever is frozen."""
    handlers: dict[Kind, Handler] = field(default_factory=dict)

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
        """A page of the tenant's proposals, newest first: ``{proposals, next}``.

        Raises:
            Refused: ``auth.forbidden``; ``request.malformed`` where ``after`` is none of the tenant's.
        """
        require(viewer, Permission.PROPOSALS_READ)
        found = await self.store.page(viewer.tenant, status, kind, after=after, limit=limit + 1)
        more, found = len(found) > limit, found[:limit]
        names = await self._names(found)
        return {"proposals": [view(one, names) for one in found], "next": found[-1].id if more else None}

    async def show(self, proposal_id: str, viewer: Principal) -> dict[str, Any]:
        """One proposal. Raises ``auth.forbidden``, ``request.not_found``."""
        require(viewer, Permission.PROPOSALS_READ)
        return await self._view(await self._get(proposal_id, viewer))

    async def propose(
        self, actor: Principal, kind: Kind, document: Any, *, signed: bytes | None = None
    ) -> dict[str, Any]:
        """Take in a proposal.

        Args:
            signed: the proposer's ``proposal+jws``; needed from everybody who has an enrolled key.

        Raises:
            Refused: ``auth.forbidden``, ``request.malformed``, ``proposal.key``, ``proposal.mismatch``, ``verify.*``;
                ``request.conflict`` where the id that was signed exists (a proposal sent twice); whatever the kind's
                handler refuses.
            Unavailable: ``log.unavailable``; nothing is proposed.
        """
        require(actor, Permission.PROPOSALS_MAKE)
        self.check_acts(actor)
        two_person.check_may_propose(kind, actor)
        if signed is None:
            check_unsigned(actor)
        return await self._view(await self._propose(actor, kind, document, signed))

    async def look(self, proposal_id: str, viewer: Principal) -> tuple[dict[str, Any], Refused | None]:
        """One proposal, and why the viewer may not agree to it now; ``None`` where they may.

        Raises:
            Refused: ``auth.forbidden``, ``request.not_found``.
        """
        shown = await self.show(proposal_id, viewer)
        try:
            await self._may_agree(proposal_id, viewer)
        except Refused as refusal:
            return shown, refusal
        return shown, None

    async def challenge(self, proposal_id: str, actor: Principal) -> tuple[bytes, Sequence[str]]:
        """What a security key of the person is to sign the SHA-256 of to agree, and the ids of the keys that may.

        Raises:
            Refused: as :meth:`activate`; ``proposal.key`` where the person has no security key here.
        """
        proposal = await self._may_agree(proposal_id, actor)
        act = Act.SIGN if RULES[proposal.kind].counted else Act.ACTIVATE
        return await self.acts.challenge(act, proposal.binding(), actor, self.clock())

    async def activate(
        self, proposal_id: str, actor: Principal, *, document_sha256: str, said: Said = UNSIGNED
    ) -> dict[str, Any]:
        """Have a proposal take effect on a second person's word.

        Args:
            document_sha256: of the document that the person looked at.
            said: the person's signature; needed from everybody who has, or had, a key of their own.

        Raises:
            Refused: ``request.not_found``, ``auth.forbidden``, ``proposal.*``, ``verify.*``; whatever the kind's
                handler refuses.
            Unavailable: ``log.unavailable``; unless it is ``Uncertain``, nothing took effect.
        """
        activated = await again(
            lambda: self._activate(proposal_id, actor, document_sha256, said), "people change at the same moment"
        )
        await self._applied(activated)
        return await self._view(activated)

    async def withdraw(self, proposal_id: str, actor: Principal) -> dict[str, Any]:
        """Take an open proposal back, or end one that is in force. It only takes away, so one person is enough and no
        signature is asked for.

        Raises:
            Refused: ``request.not_found``, ``auth.forbidden``, ``proposal.closed``, ``proposal.expired``.
            Unavailable: ``log.unavailable``.
        """
        require(actor, Permission.PROPOSALS_MAKE)
        self.check_acts(actor)
        now = self.clock()
        proposal = await self._get(proposal_id, actor)
        act = two_person.check_may_withdraw(proposal, actor, now)
        if act is Act.END:
            changed = replace(proposal, status=ProposalStatus.ENDED, ended_by=actor.pseudonym, ended_at=now)
        else:
            changed = replace(
                proposal,
                status=ProposalStatus.WITHDRAWN,
                decided_by=actor.pseudonym,
                decided_attested_by="gateway",
                decided_at=now,
            )
        await self._change(changed, act, actor.pseudonym)
        if act is Act.END:
            await self._applied(changed)
        return await self._view(changed)

    # --- what other parts ask for ------------------------------------------------------------------------------------

    async def in_force(self, *kinds: Kind) -> Sequence[Proposal]:
        """The activated proposals of standing kinds that count now, of all tenants, newest first."""
        return await self.store.in_force(kinds, self.clock())

    async def expire(self) -> int:
        """End what is over; returns how many. Called every second or so."""
        now = self.clock()
        ended = 0
        for proposal in await self.store.due(now, DUE_BATCH):
            act = Act.EXPIRE if proposal.status is ProposalStatus.OPEN else Act.END
            changed = (
                replace(proposal, status=ProposalStatus.EXPIRED, decided_at=now)
                if act is Act.EXPIRE
                else replace(proposal, status=ProposalStatus.ENDED, ended_at=now)
            )
            try:
                await self._change(changed, act, SYSTEM)
            except Refused:
                continue  # another gateway, or a person, was faster
            ended += 1
            if act is Act.END:
                await self._applied(changed)
        return ended

    async def conclude(self, proposal: Proposal) -> None:
        """End what rests on something that is no more: the gateway's own act. Raises ``proposal.closed`` where somebody
        was faster, or ``log.unavailable``."""
        ended = replace(proposal, status=ProposalStatus.ENDED, ended_at=self.clock())
        await self._change(ended, Act.END, SYSTEM)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _may_agree(self, proposal_id: str, actor: Principal) -> Proposal:
        """A proposal that the person may agree to now. Raises as :meth:`activate`."""
        require(actor, Permission.PROPOSALS_ACTIVATE)
        self.check_acts(actor)
        proposal = await self._get(proposal_id, actor)
        two_person.check_may_activate(proposal, actor, await self._person(proposal), self.clock())
        return proposal

    async def _activate(self, proposal_id: str, actor: Principal, document_sha256: str, said: Said) -> Proposal:
        """Durable, and not acted on yet. Raises as :meth:`activate`, and ``Overtaken`` where somebody was revoked,
        frozen, or lost a key between the look and the commit."""
        now = self.clock()
        proposal = await self._may_agree(proposal_id, actor)
        if document_sha256 != proposal.document_sha256:
            raise Refused(Reason.PROPOSAL_MISMATCH, "document", member="document_sha256")
        standing = await self.directory.standing(proposal.tenant, [actor.pseudonym, proposal.proposed_by])
        self.check_acts(actor)
        if actor.pseudonym not in standing.people:
            raise Refused(Reason.AUTH_FORBIDDEN, "revoked meanwhile")
        two_person.check_may_activate(proposal, actor, standing.people.get(proposal.proposed_by), now)
        given = await self.acts.take(Act.ACTIVATE, proposal.binding(), actor, said, now)
        effects = await self._handler(proposal.kind).effects(proposal, actor)
        activated = replace(
            proposal,
            status=ProposalStatus.ACTIVATED,
            decided_by=actor.pseudonym,
            decided_attested_by=given.attested_by,
            decided_at=now,
            in_force_until=two_person.standing_until(proposal.kind, proposal.document, now),
            commitments={**proposal.commitments, "activate": given.proof.commitment},
        )
        await self._change(activated, Act.ACTIVATE, actor.pseudonym, given, effects, [standing.unchanged])
        return activated

    async def _propose(self, actor: Principal, kind: Kind, document: Any, signed: bytes | None) -> Proposal:
        handler = self._handler(kind)
        checked, _ = two_person.check_document(document)
        now = self.clock()
        two_person.standing_until(kind, checked, now)
        subject = two_person.check_subject(await handler.check(checked, actor))
        payload = None if signed is None else self.acts.payload(signed, actor)
        binding = {
            "id": secrets.token_hex(16) if payload is None else signed_id(payload),
            "kind": str(kind),
            "tenant": actor.tenant,
            "subject": subject,
            "document_sha256": sha256_canonical(checked),
        }
        given = await self.acts.take(Act.PROPOSE, binding, actor, Said(signed), now)
        proposal = Proposal(
            id=binding["id"],
            kind=kind,
            tenant=actor.tenant,
            subject=subject,
            document=checked,
            document_sha256=binding["document_sha256"],
            status=ProposalStatus.OPEN,
            proposed_by=actor.pseudonym,
            proposed_attested_by=given.attested_by,
            proposed_at=now,
            expires_at=now + self.ttl_seconds,
            commitments={"propose": given.proof.commitment},
        )
        draft = self._draft(proposal, Act.PROPOSE, actor.pseudonym, given)
        await self.log.append(Append([draft], (), [self.store.insert(proposal)]))
        return proposal

    async def _change(
        self,
        proposal: Proposal,
        act: Act,
        actor: str,
        given: Given | None = None,
        effects: Effects | None = None,
        unless: Sequence[Unless] = (),
    ) -> None:
        brought = effects or Effects()
        guard, write = self.store.change(proposal)
        draft = self._draft(proposal, act, actor, given, brought)
        writes = [write, *brought.writes, *(given.writes if given is not None else ())]
        await self.log.append(Append([draft, *brought.entries], writes, [guard, *brought.guards], unless=unless))

    def _draft(
        self, proposal: Proposal, act: Act, actor: str, given: Given | None = None, effects: Effects | None = None
    ) -> EntryDraft:
        facts: dict[str, str | int] = dict(effects.facts) if effects is not None else {}
        facts |= {
            "proposal": proposal.id,
            "act": str(act),
            "kind": str(proposal.kind),
            "subject": proposal.subject,
            "document_sha256": proposal.document_sha256,
        }
        if given is not None:
            facts["attested_by"] = given.attested_by
            if given.kid is not None:
                facts["kid"] = given.kid
        if proposal.in_force_until is not None:
            facts["in_force_until"] = int(proposal.in_force_until)
        fresh = {} if given is None else {str(act): given.proof}
        known = {name: value for name, value in proposal.commitments.items() if name not in fresh}
        return EntryDraft(
            RULES[proposal.kind].entry(act),
            proposal.tenant,
            principal=actor,
            policy_digest=effects.policy_digest if effects is not None else None,
            facts=facts,
            fields=fresh,
            commitments=known,
        )

    async def _view(self, proposal: Proposal) -> dict[str, Any]:
        return view(proposal, await self._names([proposal]))

    async def _names(self, proposals: Sequence[Proposal]) -> Mapping[str, str]:
        """Pseudonym -> id of everybody whom proposals of one tenant name."""
        people = {name for one in proposals for name in (one.proposed_by, one.decided_by, one.ended_by) if name}
        return await self.directory.names(proposals[0].tenant, people) if proposals else {}

    async def _get(self, proposal_id: str, viewer: Principal) -> Proposal:
        found = await self.store.get(viewer.tenant, proposal_id)
        if found is None:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return found

    async def _person(self, proposal: Proposal) -> Principal | None:
        try:
            person = await self.directory.person(proposal.tenant, proposal.proposed_by)
            self.check_acts(person)
        except Refused:
            return None
        return person

    def _handler(self, kind: Kind) -> Handler:
        handler = self.handlers.get(kind)
        if handler is None:
            expected = f"one of: {', '.join(self.handlers)}"
            raise Malformed(f"nothing here handles {kind}", pointer="/kind", expected=expected)
        return handler

    async def _applied(self, proposal: Proposal) -> None:
        """It is durable; that acting on it at once fails must not look as if it were not."""
        handler = self.handlers.get(proposal.kind)
        if handler is None:
            return
        try:
            await handler.applied(proposal)
        except HandrailError as error:
            _log.error(
                "an activation is on record and not acted on yet",
                proposal=proposal.id,
                reason=str(error.reason),
                detail=error.detail,
            )
