"""What whoever asks for a check may choose."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.model import EMPTY


def new_seed() -> int:
    """A seed that nobody used on purpose."""
    return secrets.randbelow(1_000_000_000)


@dataclass(frozen=True, slots=True)
class Options:
    """How a hand is checked.

    Attributes:
        examples: arguments that each action is tried with.
        seed: equal seeds make equal arguments.
        actions: the only ones that are checked; empty is all.
        allow_effects: actions that are called although they may change something.
        inputs: action -> arguments that are tried before the made-up ones, for what no schema says.
        secrets: secret -> its value for the check; others are made up.
        digest: of the manifest that was reviewed; ``None`` compares with none.
        call_seconds: the most that one call is given, where its action is declared to take longer.
        grace_seconds: how long after its deadline, or its cancellation, a call may take to end, and a process to go.
        analysis_seconds: how long one analysis may take.
        words: what else a command says that shows a finding again.
    """

    examples: int = 25
    seed: int = field(default_factory=new_seed)
    actions: frozenset[str] = frozenset()
    allow_effects: frozenset[str] = frozenset()
    inputs: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=lambda: EMPTY)
    secrets: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    digest: str | None = None
    call_seconds: float = 10.0
    grace_seconds: float = 5.0
    analysis_seconds: float = 1.0
    words: tuple[str, ...] = ()
