"""The life of a policy bundle in the gateway: it is brought, signed; proposed by one person and activated by another;
followed by every gateway on the database; gone back from.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from gateway.canonical import sha256_canonical
from gateway.commitments import commit, subject_key
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Malformed, Refused, Unavailable
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission, permits, require
from gateway.policy import signed
from gateway.policy.activations import Activation, Way, check_rollback, previous
from gateway.policy.build import prove
from gateway.policy.faults import BundleError, PolicyFault
from gateway.policy.signed import SignedBundle
from gateway.ports import Append, AuditLog, Directory, Guard, Purpose, Signer, Typ
from gateway.proposals import acts
from gateway.proposals.again import again
from gateway.proposals.handlers import Effects
from gateway.reasons import Conflict, Reason, because
from gateway.stages.verify import Jws
from gateway.store.bundles import StoredBundle
from gateway.times import format_time
from gateway.two_person import Proposal, ProposalStatus

_log = structlog.get_logger("handrail.lifecycle")

ROLLBACK: Final = "policy.rollback"
"""What a person signs who goes back: an act of its own, beside the kinds that take two people."""
PULLED: Final = "(pulled)"
"""Stands for the person who brought a bundle where it was pulled from a Git remote; no principal has such an id."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_DOCUMENT: Final = frozenset({"digest", "commit", "replaces"})


class Bundles(Protocol):
    """Rows of bundles and activations; see ``gateway.store.bundles``."""

    def insert(self, bundle: StoredBundle) -> Guard:
        """Keep a bundle; the first one of a digest stays."""

    def activate(self, activation: Activation) -> Guard:
        """Have a bundle decide; a number that is taken raises ``proposal.outdated``."""

    async def get(self, digest: str) -> StoredBundle | None:
        """A kept bundle."""

    async def list(self) -> Sequence[Mapping[str, Any]]:
        """The newest bundles without their files."""

    async def history(self) -> Sequence[Activation]:
        """Every change, oldest first."""


@dataclass(slots=True)
class Lifecycle:
    """Bundles of one gateway, and the handler of ``policy.activate``.

    Attributes:
        follows: whether this gateway decides by what is activated here; where it follows a directory, nothing is.
        reload: have this gateway look at once for what should decide.
    """

    log: AuditLog
    bundles: Bundles
    directory: Directory
    keys: Signer
    jws: Jws
    follows: bool
    reload: Callable[[], Awaitable[None]]
    clock: Callable[[], float] = time.time
    _proving: asyncio.Lock = field(default_factory=asyncio.Lock)

    # --- what people ask for -----------------------------------------------------------------------------------------

    async def add(self, actor: Principal, token: bytes) -> dict[str, Any]:
        """Take in a signed bundle. It decides nothing before two people activated it.

        Raises:
            Refused: ``auth.forbidden``; ``policy.directory`` where this gateway takes none; ``verify.*`` where it is
                unsigned, or not signed by the enrolled key of a principal who may propose policies; ``policy.bundle``
                where it cannot be used.
            Unavailable: ``log.unavailable``, or it cannot be tried out on this machine.
        """
        self.require(actor, Permission.POLICY_PROPOSE)
        self._require_followed()
        try:
            kept, jwk = await self._verified(token)
            await self._prove(kept)
        except BundleError as error:
            raise _refused(error) from None
        row = StoredBundle(kept, jwk, actor.pseudonym, self.clock())
        await self.log.append(Append((), (), [self.bundles.insert(row)]))
        return await self.show(kept.bundle.digest, actor)

    async def take(self, token: bytes) -> SignedBundle:
        """Take in a signed bundle that no person brings: as :meth:`add`, on its signature alone.

        Raises:
            Refused: as :meth:`add`.
            Unavailable: as :meth:`add`.
        """
        self._require_followed()
        try:
            kept, jwk = await self._verified(token)
            if await self.bundles.get(kept.bundle.digest) is None:
                await self._prove(kept)
                row = StoredBundle(kept, jwk, PULLED, self.clock())
                await self.log.append(Append((), (), [self.bundles.insert(row)]))
        except BundleError as error:
            raise _refused(error) from None
        return kept

    async def list(self, viewer: Principal) -> dict[str, Any]:
        """The newest bundles and every change of the one that decides: ``{bundles, activations}``, newest first."""
        self.require(viewer, Permission.POLICY_READ)
        history = await self.bundles.history()
        bundles = await self.bundles.list()
        names = await self._names([*(row["added_by"] for row in bundles), *(one.by for one in history)])
        return {
            "bundles": [{**row, "added_by": names.get(row["added_by"], row["added_by"])} for row in bundles],
            "activations": [_view(one, names) for one in reversed(history)],
        }

    async def show(self, digest: str, viewer: Principal) -> dict[str, Any]:
        """One bundle: where it comes from, who signed it, its files by digest, and when it decided.

        Raises:
            Refused: ``request.not_found``; ``policy.bundle`` where the stored one cannot be believed.
        """
        self.require(viewer, Permission.POLICY_READ)
        found = await self._stored(digest)
        kept = found.signed
        activations = [one for one in await self.bundles.history() if one.digest == digest]
        names = await self._names([found.added_by, *(one.by for one in activations)])
        return {
            "digest": digest,
            "commit": kept.commit,
            "directory": kept.directory,
            "built_at": format_time(kept.built_at),
            "signer": kept.signer,
            "kid": kept.kid,
            "checks": dict(kept.checks),
            "added_by": names.get(found.added_by, found.added_by),
            "added_at": format_time(found.added_at),
            "files": [{"path": path, "sha256": sha256} for path, sha256 in kept.bundle.files],
            "activations": [_view(one, names) for one in activations],
        }

    async def file(self, digest: str, viewer: Principal) -> str:
        """The signed file itself, as it was brought. Raises as :meth:`show`."""
        self.require(viewer, Permission.POLICY_READ)
        return (await self._stored(digest)).signed.token

    async def rollback(self, actor: Principal, digest: str | None, *, act: bytes | None = None) -> dict[str, Any]:
        """Go back to a bundle that two people activated before; one person is enough, and it is loud.

        Args:
            digest: the bundle; ``None`` for the one that decided before the present one was first activated. With an
                ``act`` it is needed: what is signed is exact.
            act: the person's ``proposal+jws`` (``act: rollback``); needed from everybody who has an enrolled key.

        Raises:
            Refused: ``auth.forbidden``, ``policy.not_activated``, ``request.conflict``, ``policy.bundle``,
                ``proposal.key``, ``proposal.mismatch``, ``proposal.outdated`` where the policy changed meanwhile.
            Unavailable: ``log.unavailable``.
        """
        self.require(actor, Permission.POLICY_ROLLBACK)
        self._require_followed()
        activation, active = await again(
            lambda: self._roll_back(actor, digest, act), "people change at the same moment"
        )
        _log.warning("policy rolled back by one person", digest=activation.digest, active=active)
        await self.reload()
        return _view(activation, {actor.pseudonym: actor.id})

    async def _roll_back(self, actor: Principal, digest: str | None, act: bytes | None) -> tuple[Activation, str]:
        """Durable, and not followed yet: the activation, and the bundle that decided before. Raises as
        :meth:`rollback`, and ``Overtaken`` where somebody was revoked, frozen or given a key meanwhile."""
        standing = await self.directory.standing(actor.tenant, [actor.pseudonym])
        if actor.pseudonym not in standing.people:
            raise Refused(Reason.AUTH_FORBIDDEN, "revoked meanwhile")
        history = await self.bundles.history()
        chosen = digest or previous(history)
        check_rollback(history, chosen)
        await self._stored(chosen)
        now = self.clock()
        # In a thread, because the key may be in a service.
        proof = await asyncio.to_thread(self._rollback_act, actor, chosen, history[-1].digest, act, now)
        activation = Activation(len(history) + 1, chosen, Way.ROLLBACK, None, actor.pseudonym, now)
        draft = EntryDraft(
            EntryType.POLICY_ROLLED_BACK,
            DEFAULT_TENANT,
            principal=actor.pseudonym,
            policy_digest=chosen,
            facts={
                "number": activation.number,
                "digest": chosen,
                "active": history[-1].digest,
                "attested_by": "gateway" if act is None else "person",
            },
            fields={"act": commit(proof, subject_key(actor.tenant, actor.id, "@proposals"))},
        )
        guards = [self.bundles.activate(activation)]
        await self.log.append(Append([draft], (), guards, unless=[standing.unchanged]))
        return activation, history[-1].digest

    # --- what other parts ask for ------------------------------------------------------------------------------------

    async def deciding(self) -> str:
        """Digest of the bundle that was activated or gone back to last; empty where there is none."""
        history = await self.bundles.history()
        return history[-1].digest if history else ""

    async def active_beside(self, digest: str) -> str:
        """Whether a bundle may be tried beside the one that decides, whose digest is returned.

        Raises:
            Refused: ``policy.directory``, ``request.not_found``, ``policy.bundle``; ``request.conflict`` where it
                decides already.
        """
        self._require_followed()
        await self._stored(digest)
        active = await self.deciding()
        if active == digest:
            raise Refused(Reason.REQUEST_CONFLICT, "it decides already", **because(Conflict.DECIDES))
        return active

    async def vouch(self, digest: str) -> None:
        """Verify a kept bundle again, by who its signer is now, and try it out again.

        Raises:
            Refused: ``request.not_found``, ``policy.bundle``, ``verify.*``.
            Unavailable: it cannot be tried out on this machine.
        """
        found = await self._stored(digest)
        try:
            await self._verified(found.signed.token.encode("ascii"))
            await self._prove(found.signed)
        except BundleError as error:
            raise _refused(error) from None

    # --- the handler of policy.activate ------------------------------------------------------------------------------

    async def check(self, document: Mapping[str, Any], actor: Principal) -> str:
        """See ``gateway.proposals.life.Handler``. The document is ``{digest, commit, replaces}``: the bundle, where it
        comes from, and the bundle that decides now (``null`` where none does)."""
        del actor
        self._require_followed()
        if document.keys() != _DOCUMENT:
            raise Malformed("members", pointer="/document", expected="commit, digest, replaces")
        digest = document["digest"]
        if not isinstance(digest, str) or len(digest) != 64:
            raise Malformed("digest", pointer="/document/digest", expected="64 hex digits")
        found = await self._stored(digest)
        if document["commit"] != found.signed.commit:
            raise Refused(Reason.PROPOSAL_MISMATCH, "commit", member="commit", commit=found.signed.commit)
        if document["replaces"] == digest:
            raise Refused(Reason.REQUEST_CONFLICT, "it decides already", **because(Conflict.DECIDES))
        await self._next(document)
        return digest

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        """See ``gateway.proposals.life.Handler``: everything is verified again, and the bundle tried out again."""
        await self.check(proposal.document, actor)
        await self.vouch(proposal.subject)
        number = await self._next(proposal.document)
        activation = Activation(number, proposal.subject, Way.ACTIVATE, proposal.id, actor.pseudonym, self.clock())
        return Effects(
            guards=[self.bundles.activate(activation)],
            facts={"number": number, "digest": proposal.subject, "active": str(proposal.document["replaces"] or "")},
            policy_digest=proposal.subject,
        )

    async def applied(self, proposal: Proposal) -> None:
        """See ``gateway.proposals.life.Handler``; other gateways follow within a reload interval."""
        if proposal.status is ProposalStatus.ACTIVATED:
            await self.reload()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _verified(self, token: bytes) -> tuple[SignedBundle, Mapping[str, Any]]:
        """A signed bundle and the key it holds under: one of somebody who may still propose policies."""
        try:
            author = await self.directory.principal(DEFAULT_TENANT, signed.claimed_signer(token))
        except Refused as refusal:
            if refusal.reason is not Reason.REQUEST_NOT_FOUND:
                raise
            raise Refused(Reason.VERIFY_UNKNOWN_KEY, "whoever built it is no principal") from None
        if not permits(author, Permission.POLICY_PROPOSE):
            raise Refused(Reason.VERIFY_UNKNOWN_KEY, "whoever built it may not propose policies")
        enrolled = author.approval_jwk
        if enrolled is None:
            raise Refused(Reason.VERIFY_UNKNOWN_KEY, "whoever built it has no enrolled key")

        def key_for(kid: str) -> Mapping[str, Any]:
            if enrolled["kid"] != kid:
                raise Refused(Reason.VERIFY_UNKNOWN_KEY, "not the enrolled key of whoever built it")
            return enrolled

        return await asyncio.to_thread(signed.verify, token, key_for), enrolled

    async def _prove(self, kept: SignedBundle) -> None:
        """Try a bundle out; one at a time, because it takes a processor for a second."""
        async with self._proving:
            try:
                await prove(kept.bundle)
            except BundleError:
                raise
            except PolicyFault as error:
                raise Unavailable(Reason.POLICY_UNAVAILABLE, error.detail) from None

    async def _names(self, people: Iterable[str]) -> Mapping[str, str]:
        """Pseudonym -> id; :data:`PULLED` is nobody's."""
        return await self.directory.names(DEFAULT_TENANT, {one for one in people if one != PULLED})

    async def _stored(self, digest: str) -> StoredBundle:
        try:
            found = await self.bundles.get(digest)
        except BundleError as error:
            raise _refused(error) from None
        if found is None:
            raise Absent("policy bundle", digest)
        return found

    async def _next(self, document: Mapping[str, Any]) -> int:
        """The number of the next change, if the bundle that decides is still the one that the document names."""
        history = await self.bundles.history()
        active = history[-1].digest if history else None
        if document["replaces"] != active:
            raise Refused(Reason.PROPOSAL_OUTDATED, "another bundle decides now")
        return len(history) + 1

    def _rollback_act(self, actor: Principal, digest: str, active: str, act: bytes | None, now: float) -> bytes:
        document_sha256 = sha256_canonical({"digest": digest, "replaces": active})
        binding = {"kind": ROLLBACK, "tenant": actor.tenant, "subject": digest, "document_sha256": document_sha256}
        if act is None:
            acts.check_unsigned(actor)
            whole = {"id": secrets.token_hex(16), **binding}
            payload = acts.act_payload("rollback", whole, actor.id, self.log.origin, now)
            return self.keys.sign(Purpose.APPROVAL, Typ.PROPOSAL, payload).encode("ascii")
        payload = self.jws.verify(act, Typ.PROPOSAL, acts.enrolled(actor)).payload
        whole = {"id": acts.signed_id(payload), **binding}
        acts.verify_act(payload, "rollback", whole, actor.id, self.log.origin, now)
        return act

    def require(self, actor: Principal, permission: Permission) -> None:
        """Let somebody of the gateway's own tenant through. Raises ``auth.forbidden``."""
        require(actor, permission)
        if actor.tenant != DEFAULT_TENANT:
            raise Refused(Reason.AUTH_FORBIDDEN, "the policy is every tenant's")

    def _require_followed(self) -> None:
        if not self.follows:
            raise Refused(Reason.POLICY_DIRECTORY)


def _view(activation: Activation, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": activation.number,
        "digest": activation.digest,
        "way": str(activation.way),
        "proposal_id": activation.proposal_id,
        "by": names.get(activation.by, activation.by),
        "at": format_time(activation.at),
    }


def _refused(error: BundleError) -> HandrailError:
    """Where the first fault is, and how many there are; the words quote the file and are for the log."""
    first = error.problems[0]
    place: dict[str, str | int] = {"file": first.file, "line": first.line} if _PLAIN.fullmatch(first.file) else {}
    return Refused(Reason.POLICY_BUNDLE, error.detail, problems=len(error.problems), **place)
