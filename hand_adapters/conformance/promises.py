"""What a hand promises, and what a check says of each promise. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Promise(StrEnum):
    """What ``HandAdapter`` and the manifest promise, as far as it can be tried from outside."""

    MANIFEST = "manifest"
    DECLARATION = "declaration"
    SCHEMAS = "schemas"
    ARGUMENTS = "arguments"
    ANALYSIS = "analysis"
    RESULT = "result"
    RESULT_SIZE = "result_size"
    ERRORS = "errors"
    SECRETS = "secrets"
    DRIFT = "drift"
    IDEMPOTENT = "idempotent"
    SIDE_EFFECTS = "side_effects"
    CONCURRENCY = "concurrency"
    DEADLINE = "deadline"
    CANCELLATION = "cancellation"
    RESTART = "restart"
    CLOSE = "close"


TEXTS: Final[Mapping[Promise, str]] = {
    Promise.MANIFEST: "Asked again, and built anew, it offers the same manifest.",
    Promise.DECLARATION: "The operator's word on each action stands in the manifest.",
    Promise.SCHEMAS: "Schemas are closed, compile, and lead nowhere else; descriptions are bounded.",
    Promise.ARGUMENTS: "Arguments that do not match the schema are refused before the hand.",
    Promise.ANALYSIS: "An analysis is pure, quick, bounded JSON, and refuses by schema.analysis alone.",
    Promise.RESULT: "A result is JSON and matches its schema.",
    Promise.RESULT_SIZE: "No result is larger than the call allows.",
    Promise.ERRORS: "What gives no result raises HandError, whose text tells no traceback and no path.",
    Promise.SECRETS: "Secrets come back in no result, error, note, log line or jail.",
    Promise.DRIFT: "A call that was decided on another manifest is not run.",
    Promise.IDEMPOTENT: "Run again with the same key, an idempotent action changes nothing more.",
    Promise.SIDE_EFFECTS: "An action without side effects changes no answer of another.",
    Promise.CONCURRENCY: "Calls at once get each its own result.",
    Promise.DEADLINE: "A call ends by its deadline as hand.timeout, and leaves no process.",
    Promise.CANCELLATION: "A cancelled call ends at once, and leaves no process.",
    Promise.RESTART: "Closed or killed, it starts anew at a later call.",
    Promise.CLOSE: "Closing it leaves no process and no connection.",
}


class Status(StrEnum):
    """What was seen of a promise."""

    KEPT = "kept"
    """It was tried, and not broken. No number of calls proves more."""
    BROKEN = "broken"
    NOT_SHOWN = "not_shown"
    """It could not be tried, or what was seen has an honest reason too."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen of one promise.

    Attributes:
        action: ``None`` where it is the whole hand's.
        seen: a sentence for people.
        args: of the call that showed it.
        calls: how many cases were tried.
    """

    promise: Promise
    status: Status
    seen: str
    action: str | None = None
    args: Mapping[str, Any] | None = field(default=None, repr=False)
    calls: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "promise": str(self.promise),
            "action": self.action,
            "status": str(self.status),
            "seen": self.seen,
            "cases": self.calls,
            **({} if self.args is None else {"args": self.args}),
        }
