"""What the pipeline needs from the rest of Handrail, as protocols. ``audit``, ``keys``, ``hand_adapters``,
``gateway.policy`` and ``gateway.store`` implement them; only ``gateway.app`` joins them.

Every method raises ``gateway.errors.HandrailError`` and nothing else.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Executable, Insert

from gateway.entries import EntryDraft, EntryType
from gateway.manifest import Manifest
from gateway.model import (
    Answer,
    ApprovalRequest,
    ApprovalStatus,
    Attestation,
    Binding,
    Decision,
    HandCall,
    HandResult,
    Issuer,
    Notice,
    Plan,
    PlanStatus,
    Principal,
)
from gateway.state import PlanState, StepState
from gateway.webauthn import SecurityKey

# --- keys ------------------------------------------------------------------------------------------------------------


class Purpose(StrEnum):
    """What a key of the gateway may sign. One key never serves two purposes."""

    CONNECTOR = "connector"
    """Plans that an ingress signs for its caller."""
    STEP = "step"
    """Step credentials."""
    RECEIPT = "receipt"
    """Receipts, acceptances, and the manifests of exported evidence."""
    CHECKPOINT = "checkpoint"
    """The log's signed notes."""
    POLICY = "policy"
    """Nothing yet; kept for policy bundles that the gateway builds itself."""
    APPROVAL = "approval"
    """Approvals and acts on proposals that the gateway attests."""


class Typ(StrEnum):
    """JWS ``typ`` per message class."""

    PLAN = "plan+jws"
    ACCEPT = "accept+jws"
    STEP = "step+jws"
    RESULT = "result+jws"
    RECEIPT = "receipt+jws"
    APPROVAL = "approval+jws"
    PROPOSAL = "proposal+jws"
    BUNDLE = "bundle+jws"
    EXPORT = "export+jws"


class Signer(Protocol):
    """Signs the gateway's own messages with the active key of a purpose. Thread-safe; no I/O."""

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        """Compact JWS, ``alg: Ed25519``, ``kid`` = RFC 7638 thumbprint.

        Raises:
            Unavailable: ``key.unavailable``.
        """

    def sign_raw(self, purpose: Purpose, message: bytes) -> bytes:
        """64-byte Ed25519 signature (RFC 8032) by the purpose's active key, for signed notes."""

    def active_jwk(self, purpose: Purpose) -> Mapping[str, str]:
        """Public JWK of the active key (``kty, crv, x, kid, alg, use``)."""

    def jwks(self) -> Mapping[str, Any]:
        """RFC 7517 set of every key that is next, active or retiring."""


class Credentials(Protocol):
    """Mints step credentials (RFC 8693 and RFC 9396 in shape)."""

    def mint(
        self, plan: Plan, hand: str, action: str, binding: Binding, ttl_seconds: int, now: float
    ) -> tuple[str, str]:
        """A single-use JWT for one exact call, and its ``jti``. At most 60 s old when it dies.

        Raises:
            Unavailable: ``key.unavailable``.
        """


# --- the log and the one writer --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """A row to write in the same transaction as the entries. Use module-level statement objects: the writer groups
    equal statements of one commit into one ``executemany``, in order of first appearance.
    """

    statement: Executable
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """An insert that must be the first of its kind, or the whole append is refused.

    The writer first tries all guards of a commit as plain inserts; where one conflicts, each is tried alone and
    ``on_conflict`` decides for its own append: raise to refuse it, return to go on.
    """

    insert: Insert
    parameters: Mapping[str, Any]
    on_conflict: Callable[[Connection], None]


class TopicKind(StrEnum):
    """What decisions rest on the past of."""

    CONTEXT = "context"
    PRINCIPAL = "principal"


class Topic(NamedTuple):
    """A context (by its id) or a principal (by its pseudonym), as entries are about one."""

    kind: TopicKind
    tenant: str
    name: str


class Others(Protocol):
    """What other writers of the same log appended about topics that are watched, as far as this process saw when it
    last held the head's lock. Asks the database nothing."""

    def watch(self, topic: Topic) -> None:
        """Take note from now on; call it before the log is read about the topic."""

    def unwatch(self, topic: Topic) -> None:
        """Forget the topic. Nothing that rests on it is in step any more."""

    def in_step(self, topic: Topic, as_of: int) -> bool:
        """Whether others wrote nothing about the topic at ``as_of`` or later, as far as is known here."""

    def since(self, topic: Topic, as_of: int) -> Sequence[int] | None:
        """Log indices of what they wrote since, rising; ``None`` where that is not known, or was too much."""


@dataclass(frozen=True, slots=True)
class Append:
    """What is made durable at once: all of it, or nothing.

    Attributes:
        rests_on: topic -> log index below which everything that others wrote about it was known when this was decided.
            Where they wrote more by the time of the commit, the append is refused with ``errors.Outdated``: exactly,
            because whoever commits holds the head's lock.
        finalise: called in the writer with the entries' log indices, before the commit; returns more rows (a receipt
            that names its index). It may be called again with other indices, so it must be quick and pure, and it must
            not touch the database.
    """

    entries: Sequence[EntryDraft]
    writes: Sequence[Write] = ()
    guards: Sequence[Guard] = ()
    finalise: Callable[[Sequence[int]], Sequence[Write]] | None = None
    rests_on: Mapping[Topic, int] = field(default_factory=dict)


class AuditLog(Protocol):
    """The append-only log. One writer per process."""

    origin: str

    @property
    def others(self) -> Others:
        """What other writers of the log append."""

    async def append(self, item: Append) -> Sequence[int]:
        """Make ``item`` durable; returns the log index of each entry, in order.

        Raises:
            Unavailable: ``log.unavailable`` within two seconds where the log cannot be written. An append that timed
                out before its commit began is dropped, never written later.
            Refused: what a guard's ``on_conflict`` raised.
        """

    def aggregate(self, entry: EntryDraft, source: str) -> None:
        """Count a refusal that happened before authentication; written as one entry per type, reason, source and
        minute (facts ``count`` and ``source``), so that a flood cannot fill the log.
        """

    async def checkpoint(self) -> str:
        """The newest signed checkpoint (C2SP tlog-checkpoint)."""

    async def proof(self, index: int) -> str:
        """``c2sp.org/tlog-proof@v1`` text for the entry at ``index``."""

    async def entry(self, index: int) -> bytes:
        """Canonical bytes of the entry at ``index``. Raises ``request.not_found``."""

    async def committing(self, plan_id: str, commitment: str) -> tuple[int, Mapping[str, str]]:
        """Index and fields of a plan's first entry that commits to ``commitment``. Raises ``request.not_found``."""

    async def ready(self) -> None:
        """Raises ``log.unavailable`` where an append would fail now."""


# --- policy ----------------------------------------------------------------------------------------------------------


class PolicyEngine(Protocol):
    """Evaluates one bundle. Any doubt is a denial: ``decide`` itself never raises for a bad evaluation."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the active bundle."""

    @property
    def epoch(self) -> int:
        """Grows whenever a decision by the active bundle may have ceased to stand, as :meth:`stands` says."""

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """One evaluation for every step of ``policy_input`` (policy contract, input version 1).

        Returns:
            Step id -> decision, one for each step asked about. Errors, time-outs and ill-shaped answers are denials
            with ``policy.error``, ``policy.timeout``, ``policy.unavailable``, ``policy.obligation``, ``policy.input``
            or ``policy.undecided``.
        """

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:
        """Whether a decision made earlier would be made the same way now: by a bundle that decides for this principal,
        under the same states of trial and observation. One that does not stand is never acted upon."""

    def locate(self, code: str, digest: str) -> Mapping[str, Any] | None:
        """Where the bundle ``digest`` gives a rule's reason code, and how severe: ``{file, line, rule, title,
        severity}``; ``None`` where it does not, or is not at hand."""

    async def ready(self) -> None:
        """Raises ``policy.unavailable``."""

    async def close(self) -> None:
        """Stop workers and connections."""


# --- what was done and read before -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoggedStep:
    """An entry about a plan or one of its steps, with what a context is remembered by."""

    index: int
    type: EntryType
    at: float
    """Seconds since the epoch."""
    gateway: str
    context_id: str
    plan_id: str
    step_id: str | None
    hand: str
    action: str
    effect: str | None
    manifest_digest: str | None
    facts: Mapping[str, Any]
    commitments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Logged:
    """What a reading of the log found, and the size of the log that was read."""

    size: int
    steps: Sequence[LoggedStep]


class Past(Protocol):
    """What the log knows of a context or a principal. Reads only."""

    async def of_context(self, tenant: str, context_id: str) -> Logged:
        """Every entry about plans and steps of a context, oldest first. Raises ``log.unavailable``."""

    async def these(self, indices: Sequence[int]) -> Sequence[LoggedStep]:
        """The entries at these indices that are about plans and steps, oldest first. Raises ``log.unavailable``."""

    async def of_principal(self, tenant: str, pseudonym: str, since: float, limit: int) -> Logged:
        """The newest ``limit`` entries about a principal's plans and steps since a time, oldest first.

        Raises:
            Unavailable: ``log.unavailable``.
        """


class Contexts(Protocol):
    """What contexts and principals did and read before: what ``input.context`` and ``steps[].provenance`` say.

    One process's memory of the log, which is the truth: it is rebuilt from there where it is not at hand, and caught up
    where another gateway wrote about the same. The methods that do not wait keep no caller waiting.
    """

    async def recall(self, plan: PlanState) -> None:
        """Have at hand what is known of the plan's principal and context. Reads the log at the first use of either in
        this process and after another gateway wrote about it, and not at all for a context that nobody used before.

        Raises:
            Unavailable: ``log.unavailable``, or ``gateway.overloaded`` where others write faster than can be read.
        """

    async def prepare(self, plan: PlanState) -> None:
        """Have what the context remembers ready to be looked at. Whoever calls :meth:`consider` does this right before,
        with nothing to wait for in between."""

    def rests_on(self, plan: PlanState) -> Mapping[Topic, int]:
        """What the round that is being decided rests on (``Append.rests_on``); nothing where nobody was judged."""

    def consider(self, plan: PlanState, states: Sequence[StepState], now: float) -> Mapping[str, Any]:
        """The ``context`` members ``spent, history, taint, principal_taint, private`` for a round, before it; what the
        round may spend is reserved from now on, and each state has its ``provenance``."""

    def decided(self, plan: PlanState, states: Sequence[StepState]) -> None:
        """Release what was denied."""

    def recorded(
        self,
        plan: PlanState,
        judged: Sequence[StepState],
        ended: Sequence[StepState],
        launched: Sequence[StepState],
        now: float,
        index: int,
    ) -> None:
        """A round is on record: what was judged, what ended without having run, and what is about to run.

        Args:
            index: of its last entry.
        """

    def outcome(self, plan: PlanState, state: StepState, document: bytes | None, now: float, index: int) -> None:
        """A step's ending is on record, at ``index``.

        Args:
            document: the result that the caller is shown (``HandResult.document``), as JSON.
        """

    def forget(self, tenant: str, principal_id: str, context_id: str | None = None) -> None:
        """What one context of a principal remembers was erased, or what all of them do: call it once that is durable.

        The values are unknown from now on, as they are to whoever reads the log. That untrusted and private results
        were read, and what was spent, stays.
        """

    def left(self, plan: PlanState, *, certain: bool) -> None:
        """The plan is taken forward no more, or anew. What it reserved for a round that did not come on record is
        released.

        Args:
            certain: whether it is certain that the round is not on record; else what it reserved stays.
        """


# --- hands -----------------------------------------------------------------------------------------------------------


class HandFailure(StrEnum):
    """How a call that gave no result ended, for invariant 5."""

    NOT_EXECUTED = "not_executed"
    """The hand surely did not act."""
    EXECUTED = "executed"
    """The hand acted and answered, but the answer is unusable."""
    UNKNOWN = "unknown"
    """Nobody can tell."""


class Hands(Protocol):
    """The registry of hands as the pipeline sees it."""

    def manifest(self, tenant: str, hand: str) -> Manifest | None:
        """The manifest that the tenant *pinned* of a usable hand, or ``None``: unpinned, drifted, disabled, unknown and
        another tenant's look alike."""

    def listed(self, principal: Principal) -> Sequence[Manifest]:
        """Manifests that the principal's tenant pinned and the principal may see."""

    def check_args(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """Problems of ``args`` against the pinned schema as ``{pointer, keyword}``; empty where they match.
        Validators are compiled at pinning, never per call; no ``$ref`` is fetched.
        """

    def check_result(self, tenant: str, hand: str, action: str, structured: Any) -> Sequence[Mapping[str, str]]:
        """The same for a structured result."""

    def confinement(self, hand: str, profile: str | None) -> Mapping[str, str] | None:
        """How a hand's code is confined, for receipts: ``{tier, profile_sha256}``; ``None`` where it runs none here.

        Args:
            profile: the decision's jail profile; ``None`` is the hand's own.
        """

    async def run(self, call: HandCall) -> HandResult:
        """Run one call on its hand, within its deadline.

        Raises:
            hand_adapters.contract.HandError: with a ``hand.*`` reason and a :class:`HandFailure`.
        """

    async def close(self) -> None:
        """Stop every hand process."""


class Courier(Protocol):
    """Posts messages to one receiver that is none of ours."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> tuple[int, float | None]:
        """The status that was answered, and the seconds of its ``Retry-After``. Follows no redirect, reads no body.

        Raises:
            Refused: ``hand.timeout`` or ``hand.unavailable``: nothing was answered.
        """

    async def close(self) -> None:
        """Close its connections."""


# --- stores ----------------------------------------------------------------------------------------------------------


class Directory(Protocol):
    """Principals, API keys and issuers. Cached for at most two seconds, so a revocation bites soon everywhere."""

    async def authenticate(self, token: str, now: float) -> Principal:
        """The principal behind an API key. Raises ``auth.invalid`` or ``auth.expired``."""

    async def principal(self, tenant: str, principal_id: str) -> Principal:
        """Raises ``request.not_found``."""

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        """Raises ``verify.unknown_issuer``."""

    async def security_keys(self, tenant: str, principal_id: str) -> Sequence[SecurityKey]:
        """The principal's security keys that are not revoked; none where the principal is. Read anew each time."""

    async def used(self, tenant: str, key: SecurityKey, sign_count: int) -> Write:
        """The row that keeps a security key's counter. Raises ``approval.key`` where the key was revoked."""


class Payloads(Protocol):
    """Reads the erasable side table."""

    async def open(self, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Commitment -> (salt, value) for those that are still there."""


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """One person's answer, as stored."""

    approver_id: str
    answer: Answer
    attested_by: Attestation
    commitment: str
    """Of the ``approval+jws``."""
    answered_at: float


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """An approval request as stored.

    Attributes:
        asked: how often it was put to people by now; ``policy_digest`` and ``evaluation`` are of the newest asking.
        evaluation: commitment of the evaluation that asked.
        answers: to the newest asking.
        void_answers: to earlier ones; they count no more.
    """

    request: ApprovalRequest
    tenant: str
    plan_id: str
    step_id: str
    principal_id: str
    caller_id: str
    hand: str
    status: ApprovalStatus
    policy_digest: str
    manifest_digest: str
    asked: int
    evaluation: str
    answers: tuple[ApprovalAnswer, ...]
    void_answers: tuple[ApprovalAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step's row."""

    step_id: str
    hand: str
    action: str
    status: str
    effect: str | None
    reasons: tuple[str, ...]
    policy_digest: str | None
    manifest_digest: str | None
    commitments: Mapping[str, str]
    """Name (``args``, ``evaluation``, ``result``) -> commitment."""
    error: Mapping[str, Any] | None
    step_jti: str | None
    receipt: str | None
    log_index: int | None


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan's row, its steps in order and its approval requests."""

    plan_id: str
    tenant: str
    context_id: str
    principal_id: str
    caller_id: str
    issuer: str
    kid: str
    commitment: str
    received_at: float
    log_index: int
    people: tuple[str, str]
    """Pseudonyms of principal and caller, as the log has them."""
    steps: tuple[StoredStep, ...]
    approvals: tuple[ApprovalRow, ...]


class PlanStore(Protocol):
    """Rows of plans, steps and approvals. Builders of writes do no I/O: the log's writer carries the rows, so that
    a state and the entry about it are durable together or not at all."""

    def guards(self, plan: PlanState) -> Sequence[Guard]:
        """The first-of-its-kind inserts of a new plan: ``(iss, jti)`` and the context's binding.

        Their conflicts raise ``verify.replayed`` and ``verify.context``, and :class:`gateway.errors.Mistaken` where the
        plan was judged as the first of its context and is not.
        """

    def bound(self, plan: PlanState) -> None:
        """Remember a context's binding, now that it is on record."""

    def knows_context(self, plan: PlanState) -> bool:
        """Whether the binding of the plan's context is remembered. Where it is not, the database says with the plan's
        first record whether somebody used the context before."""

    def fate_guard(self, plan: PlanState, state: StepState) -> Guard:
        """The insert that lets a step go, or ends it, once among all gateways; a conflict raises ``request.conflict``.
        Steps that go or end with their plan's first record need none: their rows are new then."""

    def insert_plan(self, plan: PlanState, log_index: int) -> Write:
        """The plan's row."""

    def plan_status(self, plan: PlanState, status: PlanStatus | None = None) -> Write:
        """Bring the plan's status up to date, or set it."""

    def save_step(self, plan: PlanState, state: StepState, log_index: int, receipt: str | None, *, new: bool) -> Write:
        """A step's row."""

    def insert_approval(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> Write:
        """An open approval request."""

    def rebind_approval(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> Write:
        """Bind an open request to the step's new decision and put it to people anew."""

    def asking_guard(self, approval_id: str, asked: int, *, answered: bool = False) -> Guard:
        """The insert that ends one asking of an open request, once among all gateways: by an answer that decides it, by
        voiding it, or by asking anew.

        Args:
            answered: it is an answer that ends it. A conflict then raises ``approval.closed``, else
                ``request.conflict``.
        """

    def approval_status(self, approval_id: str, status: ApprovalStatus) -> Write:
        """Close an approval request."""

    def notices(self, tenant: str, approval_id: str, told: ApprovalStatus | Notice, at: float) -> Sequence[Write]:
        """Rows that have webhooks told of a request's new state, where any listens; to be written with that state."""

    def insert_answer(
        self,
        approval_id: str,
        asked: int,
        approver: Principal,
        answer: Answer,
        attested_by: Attestation,
        commitment: str,
        at: float,
    ) -> Guard:
        """A person's answer; a second one by the same person raises ``approval.closed``."""

    async def load(self, plan_id: str) -> StoredPlan | None:
        """A plan as the rows have it.

        Raises:
            HandrailError: ``gateway.internal`` where a row is not the one that the gateway wrote last: its MAC does not
                hold, or the log, which only grows, knows a later state.
        """

    async def find_receipt(self, receipt_id: str) -> tuple[str, str] | None:
        """``(plan_id, step_id)`` of a receipt."""

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """One approval request with its answers."""

    async def approvals(
        self,
        tenant: str,
        status: ApprovalStatus | None,
        hands: Collection[str] | None,
        *,
        after: str | None,
        limit: int,
    ) -> Sequence[ApprovalRow]:
        """The tenant's approval requests, newest first.

        Args:
            hands: only those for these hands; ``None`` for every hand.
            after: id of the request that the page before ended with.

        Raises:
            Refused: ``request.malformed`` where the tenant has no request ``after``.
        """

    async def open_approvals(self, tenant: str, caller: str) -> int:
        """How many approval requests of plans that ``caller`` sent are open. An index answers it."""

    async def expired_approvals(self, now: float, limit: int) -> Sequence[tuple[str, str]]:
        """``(plan_id, approval_id)`` of open requests past their time."""

    async def outdated_approvals(self, policy_digest: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """``(plan_id, approval_id)`` of open requests, of plans that this gateway takes forward, that another bundle
        than ``policy_digest`` asked for; by id, those that follow ``after``."""

    async def unfinished(self) -> Sequence[str]:
        """Plans that this gateway owns and that were running when it last stopped."""
