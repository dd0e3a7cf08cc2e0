"""What a principal and a context have spent, did and read before: the sums and lists of ``input.context``. No I/O, no
clock: times are seconds since the epoch.

A step is *reserved* when it is put to the policy, before anybody else is asked about, so that plans judged at the same
time see each other. What is denied is released at once. What was let go or is held stays reserved; it is released when
it ends without having been dispatched (refused, expired, skipped, cancelled), because then nothing happened. Whatever
was dispatched stays spent, also where it failed: a limit on attempts is a limit too, and a hand that answered with an
error may have acted.

Tokens are counted when the outcome of a question to a model is on record, because nobody knows them before: they are
not reserved, and not taken back.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.canonical import MAX_SAFE_INTEGER
from gateway.policy.memory import Memory
from gateway.ports import Topic

StepKey = tuple[str, str]
"""Plan id and step id."""
ActionKey = tuple[str, str]
"""Hand and action."""

HISTORY_MAX: Final = 64
"""Steps of a context that the policy is told of."""
TAINTS_MAX: Final = 64
"""Distinct actions whose untrusted results are told of; beyond it a context is as tainted as it can be."""
TAINT_SECONDS: Final = 3600.0
"""How long what a principal read in one context shows in its others."""
WINDOWS: Final[Mapping[str, tuple[float, float]]] = {
    "minute": (60.0, 1.0),
    "hour": (3600.0, 60.0),
    "day": (86_400.0, 900.0),
}
"""Name -> length and width of a bucket, in seconds. A bucket counts until all of it is older than the window, so that a
window is never shorter than its name says and longer by one bucket at most."""
LONGEST_SECONDS: Final = max(length for length, _ in WINDOWS.values())


@dataclass(slots=True)
class Sums:
    """Steps, those among them that may change something, the sum of their arguments with the role ``amount``, and the
    tokens, read and written, of models' answers."""

    steps: int = 0
    changes: int = 0
    amount: float = 0.0
    tokens: int = 0

    def add(self, other: "Sums", sign: int = 1) -> None:
        """Add ``other``, or take it away."""
        self.steps += sign * other.steps
        self.changes += sign * other.changes
        self.tokens += sign * other.tokens
        # Adding and taking away floats leaves dust behind; where no step is left, none of their amount is.
        self.amount = self.amount + sign * other.amount if self.steps else 0.0

    def document(self) -> dict[str, Any]:
        """As the policy input has it. The amount has six digits after the point; it and the tokens end at 2^53 - 1:
        beyond it a number is not the same in every reader.
        """
        amount = min(round(max(self.amount, 0.0), 6), float(MAX_SAFE_INTEGER))
        return {
            "steps": self.steps,
            "changes": self.changes,
            "amount": int(amount) if amount.is_integer() else amount,
            "tokens": min(self.tokens, MAX_SAFE_INTEGER),
        }


class Window:
    """A sliding sum over the last ``seconds``, kept in buckets of ``width`` seconds."""

    __slots__ = ("_buckets", "_seconds", "_total", "_width")

    def __init__(self, seconds: float, width: float) -> None:
        self._seconds = seconds
        self._width = width
        self._total = Sums()
        self._buckets: dict[int, Sums] = {}
        """Number -> sum, oldest first."""

    def add(self, at: float, sums: Sums) -> None:
        """Count ``sums`` at time ``at``."""
        number = int(at // self._width)
        bucket = self._buckets.get(number)
        if bucket is None:
            newest = next(reversed(self._buckets), number)
            # A clock that was set back counts into the newest bucket: later is stricter.
            bucket = self._buckets.setdefault(max(number, newest), Sums())
        bucket.add(sums)
        self._total.add(sums)

    def remove(self, at: float, sums: Sums) -> None:
        """Take back what :meth:`add` counted, unless it is out of the window by now."""
        bucket = self._buckets.get(int(at // self._width))
        if bucket is not None and bucket.steps >= sums.steps:
            bucket.add(sums, -1)
            self._total.add(sums, -1)

    def total(self, now: float) -> Sums:
        """The sum over the window that ends now."""
        edge = now - self._seconds
        while self._buckets:
            oldest = next(iter(self._buckets))
            if (oldest + 1) * self._width > edge:
                break
            self._total.add(self._buckets.pop(oldest), -1)
        return self._total


@dataclass(slots=True)
class PastStep:
    """One judged step of a context, as the policy is told of it later."""

    hand: str
    action: str
    effect: str
    side_effects: str
    status: str
    at: float

    def document(self, now: float) -> dict[str, Any]:
        """A member of ``context.history``."""
        return {
            "hand": self.hand,
            "action": self.action,
            "effect": self.effect,
            "side_effects": self.side_effects,
            "status": self.status,
            "seconds_ago": max(0, int(now - self.at)),
        }


@dataclass(slots=True)
class ContextAccount:
    """What is known of one context.

    Attributes:
        topic: what entries about it are known by.
        presumed: it was never seen before and is taken to be new. Only the database can tell; it does with the first
            record, which is refused where that was wrong.
        size: of the log when this was read from it; later entries of this process are told as they are made.
        as_of: everything that other gateways wrote below this log index is in here.
        newest: log index of the newest entry of this process that is in here, if it is not below ``size``.
    """

    context_id: str
    topic: Topic
    presumed: bool = False
    size: int = 0
    as_of: int = 0
    newest: int = -1
    torn: bool = False
    """Its memory is not in the order of the log, and must be read anew before it is caught up."""
    unrecorded: set[str] = field(default_factory=set)
    """Plans whose request is remembered and which are not on record: nobody knows yet where in the log they stand."""
    spent: Sums = field(default_factory=Sums)
    reserved: dict[StepKey, Sums] = field(default_factory=dict)
    """Of ``spent``, by steps that were neither dispatched nor ended yet."""
    history: deque[PastStep] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))
    """Newest last."""
    under_way: dict[StepKey, PastStep] = field(default_factory=dict)
    """Steps of the history that are not final, and older ones."""
    taint: dict[ActionKey, str] = field(default_factory=dict)
    """Untrusted results that were read here: their action -> its trust."""
    private: dict[ActionKey, None] = field(default_factory=dict)
    """Results that were read here of hands whose results are not for everybody."""
    personal_data: set[str] = field(default_factory=set)
    """Kinds of personal data in results that were read here."""
    runs: set[str] = field(default_factory=set)
    """Plans that are turns of runs."""
    memory: Memory = field(default_factory=lambda: Memory(0))
    used_at: float = 0.0

    def reserve(self, key: StepKey, sums: Sums) -> None:
        """Count a step that has no reservation."""
        self.reserved[key] = sums
        self.spent.add(sums)

    def release(self, key: StepKey) -> None:
        """The step ended and was never dispatched: it spent nothing."""
        sums = self.reserved.pop(key, None)
        if sums is not None:
            self.spent.add(sums, -1)

    def settle(self, key: StepKey) -> None:
        """The step was dispatched: what it spends is spent."""
        self.reserved.pop(key, None)

    def use(self, tokens: int) -> None:
        """A model answered."""
        self.spent.add(Sums(tokens=tokens))

    def note(self, key: StepKey, past: PastStep, *, final: bool) -> None:
        """Take a judged step into the history; one that is judged anew takes its earlier place's part."""
        before = self.under_way.pop(key, None)
        if before is not None and before in self.history:
            self.history.remove(before)
        self.history.append(past)
        if not final:
            self.under_way[key] = past

    def move(self, key: StepKey, status: str, *, final: bool) -> None:
        """A step of the history is now this."""
        past = self.under_way.get(key)
        if past is not None:
            past.status = status
            if final:
                del self.under_way[key]

    def read(self, action: ActionKey, trust: str) -> None:
        """An untrusted result was read."""
        if len(self.taint) < TAINTS_MAX:
            self.taint[action] = trust

    def read_private(self, action: ActionKey) -> None:
        """A result was read that is not for everybody."""
        if len(self.private) < TAINTS_MAX:
            self.private[action] = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one step spends, until it is certain that it did, or did not."""

    sums: Sums
    at: float


class PrincipalAccount:
    """What is known of one principal, over all its contexts. ``topic, size`` and ``as_of`` are a context's."""

    __slots__ = ("_reserved", "_taints", "_windows", "as_of", "size", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.size = 0
        self.as_of = 0
        self._windows = {name: Window(*shape) for name, shape in WINDOWS.items()}
        self._reserved: dict[StepKey, Reservation] = {}
        """Steps that were neither dispatched nor ended yet."""
        self._taints: dict[ActionKey, dict[str, float]] = {}
        """Action -> the two contexts that read an untrusted result of it last, and when."""

    def reservation(self, key: StepKey) -> Reservation | None:
        """What is reserved for a step."""
        return self._reserved.get(key)

    def reserve(self, key: StepKey, reservation: Reservation) -> None:
        """Count a step that has no reservation."""
        self._reserved[key] = reservation
        for window in self._windows.values():
            window.add(reservation.at, reservation.sums)

    def release(self, key: StepKey) -> Reservation | None:
        """The step ended and was never dispatched: it spent nothing. Returns what was reserved for it."""
        reservation = self._reserved.pop(key, None)
        if reservation is not None:
            for window in self._windows.values():
                window.remove(reservation.at, reservation.sums)
        return reservation

    def settle(self, key: StepKey) -> None:
        """The step was dispatched: what it spends is spent."""
        self._reserved.pop(key, None)

    def use(self, tokens: int, at: float) -> None:
        """A model answered."""
        for window in self._windows.values():
            window.add(at, Sums(tokens=tokens))

    def spent(self, now: float) -> dict[str, Any]:
        """``context.spent.principal``."""
        return {name: window.total(now).document() for name, window in self._windows.items()}

    def read(self, action: ActionKey, context_id: str, at: float) -> None:
        """An untrusted result was read in a context."""
        if action not in self._taints and len(self._taints) >= TAINTS_MAX:
            # What was read longest ago makes room.
            del self._taints[min(self._taints, key=lambda known: max(self._taints[known].values()))]
        contexts = self._taints.setdefault(action, {})
        contexts[context_id] = max(at, contexts.get(context_id, at))  # what another gateway read may come late
        if len(contexts) > 2:
            del contexts[min(contexts, key=contexts.__getitem__)]

    def taint_beside(self, context_id: str, now: float) -> list[ActionKey]:
        """Actions whose untrusted results were read lately in other contexts than this one."""
        return [
            action
            for action, contexts in self._taints.items()
            if any(other != context_id and at > now - TAINT_SECONDS for other, at in contexts.items())
        ]
