"""One append on its way through the writer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from audit.entry import Built
from gateway.errors import HandrailError
from gateway.ports import Append


@dataclass(slots=True, eq=False)
class Job:
    """An append and its outcome: exactly one of the three is set in the end.

    Attributes:
        durable: it is committed, at ``indices``.
        refusal: what a guard said.
        failure: what is wrong with this append alone.
    """

    item: Append
    built: list[Built] = field(default_factory=list)
    indices: Sequence[int] = ()
    durable: bool = False
    refusal: HandrailError | None = None
    failure: HandrailError | None = None

    @property
    def settled(self) -> bool:
        """Whether its outcome is known."""
        return self.durable or self.refusal is not None or self.failure is not None
