"""What can be wrong with a bundle or an engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import HandrailError
from gateway.reasons import Reason


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a bundle from being used.

    Attributes:
        file: path in the bundle, or ``""`` where the bundle as a whole is at fault.
        line: 1-based, or 0 where no line is at fault. ``column`` likewise.
        builtin: the builtin at fault, where one is.
    """

    file: str
    line: int
    column: int
    message: str
    builtin: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}" if where else self.message


class PolicyFault(HandrailError):
    """The root of everything this package raises."""


class BundleError(PolicyFault):
    """A bundle is refused as a whole.

    Attributes:
        problems: every problem found, in order of file and line; never empty.
        digest: of the refused bundle; empty where it could not even be read.
    """

    def __init__(self, problems: Sequence[Problem], digest: str = "") -> None:
        self.problems = tuple(sorted(problems, key=_order))
        self.digest = digest
        super().__init__(Reason.POLICY_BUNDLE, "; ".join(str(problem) for problem in self.problems))


class EngineUnavailable(PolicyFault):
    """The engine cannot answer now: a worker could not be started, or the server cannot be reached."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.POLICY_UNAVAILABLE, detail)


class EvaluationFailed(PolicyFault):
    """One evaluation gave no answer: ``policy.error`` or ``policy.timeout``."""


class EngineRefused(EvaluationFailed):
    """The engine itself said no; ``detail`` is its message."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.POLICY_ERROR, detail)


def _order(problem: Problem) -> tuple[str, int, int, str]:
    return problem.file, problem.line, problem.column, problem.message
