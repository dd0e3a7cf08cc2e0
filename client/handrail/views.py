"""What the gateway answers, as types for the reader and the type checker. At run time they are plain dicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

Json = dict[str, Any]


class ReasonView(TypedDict):
    """A rule's code and its sentence."""

    code: str
    message: str


class DecisionView(TypedDict):
    """What policy said of a step."""

    effect: str
    reasons: list[ReasonView]
    policy_digest: str


class TrustView(TypedDict):
    """How far parts of a result may vouch, by the operator's word: ``trusted`` or ``untrusted``."""

    content: list[str]
    structured: str


class TruncationView(TypedDict):
    """That the end of a result's text was cut off; ``None`` where nobody knows how much that is."""

    left_out_bytes: int | None


class MarksView(TypedDict):
    """What is to be known of a result beside it: trust, personal data by kind, left in it or taken out, and a cut."""

    trust: TrustView
    personal_data: NotRequired[dict[str, int]]
    personal_data_redacted: NotRequired[dict[str, int]]
    truncated: NotRequired[TruncationView]


class StepView(TypedDict):
    """One step of a plan."""

    id: str
    hand: str
    action: str
    status: str
    decision: DecisionView | None
    approval_id: NotRequired[str]
    result: NotRequired[Json]
    result_marks: NotRequired[MarksView]
    error: NotRequired[Json]
    receipt: NotRequired[str]
    receipt_id: NotRequired[str]
    log_index: NotRequired[int]
    reported: NotRequired[Json]
    settled: NotRequired[Json]


class JudgedCall(TypedDict):
    """What became of a call that the program is about to make: ``go`` says whether it may, now and this once; ``text``
    is what a model may be told where it may not."""

    go: bool
    text: str
    plan_id: str
    step: StepView


class PlanView(TypedDict):
    """A plan: ``status`` is running, waiting or done; ``acceptance`` is the gateway's signed word that it has it."""

    plan_id: str
    context_id: str
    status: str
    log_index: NotRequired[int]
    acceptance: NotRequired[str]
    steps: list[StepView]


class ApprovalView(TypedDict):
    """A held step with the exact call to approve, and what an approval of it binds.

    :func:`handrail.parse_time` reads its times.
    """

    id: str
    status: str
    plan_id: str
    step_id: str
    context_id: str
    hand: str
    action: str
    args: Json
    reasons: list[ReasonView]
    requested_by: str
    acts_for: str
    requested_at: str
    expires_at: str
    approver_role: str
    quorum: int
    enrolled_key: bool
    roles: NotRequired[dict[str, str]]
    side_effects: str
    description: str
    binding: dict[str, str | int]
    asked: NotRequired[int]
    answers: list[Json]
    void_answers: NotRequired[list[Json]]
    your_answer: NotRequired[str | None]
    successor: NotRequired[str | None]


class ApprovalPage(TypedDict):
    """Approval requests; ``next`` goes into ``after`` for the following page, and is ``None`` on the last one."""

    approvals: list[ApprovalView]
    next: NotRequired[str | None]


class ReceiptFile(TypedDict):
    """A receipt with everything that :func:`handrail.verify.verify_receipt` needs beside the trust document."""

    v: int
    receipt_id: str
    receipt: str
    entry: str
    log_index: int
    fields: dict[str, str]
    openings: dict[str, dict[str, str]]
    proof: str


class Event(TypedDict):
    """One message of a plan's event stream: ``step`` (a :class:`StepView`), ``plan`` (its status) or ``done``."""

    id: str
    event: str
    data: Json


@dataclass(frozen=True, slots=True)
class Download:
    """An export of the log that is under way.

    Attributes:
        tree_size: of the log that is exported from.
        entries: how many are to come.
        cosignatures: of a bundle, how many witnesses cosigned its checkpoint; of whom ``needed`` are asked for.
        later: of a bundle, how many entries are left out because they came after its checkpoint.
        checkpoint: of a bundle, what going on with it needs.
        hands: whose entries alone they are, with those on keys, policies and the log; ``None`` for every hand.
        pieces: its bytes, once.
    """

    tree_size: int
    entries: int
    cosignatures: int
    needed: int
    later: int
    checkpoint: str | None
    hands: tuple[str, ...] | None
    pieces: Iterator[bytes]
