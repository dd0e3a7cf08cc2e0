"""What whoever begins a run wants of it beside the words, held against the configuration. Pure but for the run's id."""

import secrets
from dataclasses import dataclass

from gateway.errors import Malformed
from gateway.model import Principal
from gateway.ports import Hands
from gateway.ports.runs import Run
from gateway.runs import brains, money
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for.

    Attributes:
        hands: whose tools the model may be offered; ``None`` for all that the caller may use.
        steps, tokens, money, deadline_seconds: ``None`` where the configuration says; money in units of the currency.
    """

    hands: tuple[str, ...] | None = None
    steps: int | None = None
    tokens: int | None = None
    money: float | None = None
    deadline_seconds: float | None = None

    def run(self, caller: Principal, settings: Settings, hands: Hands, now: float) -> Run:
        """The run that is asked for; its brain is still to be chosen, and its words are still to be sealed.

        Raises:
            Refused: ``request.malformed`` for what is over a limit, or a hand of which no tool would be offered;
                ``request.not_found`` for one that is not there for the caller.
        """
        limits = settings.runs
        _within("/budget/steps", self.steps, limits.steps_max)
        _within("/budget/tokens", self.tokens, limits.tokens_max)
        _within("/budget/money", self.money, limits.money_max)
        _within("/deadline_seconds", self.deadline_seconds, limits.deadline_max_seconds)
        if self.hands is not None:
            brains.check_tools(hands, caller, settings.brains, self.hands)
        most = limits.money_max if self.money is None else self.money
        return Run(
            run_id=f"run_{secrets.token_hex(16)}",
            tenant=caller.tenant,
            principal=caller.pseudonym,
            brain="",
            hands=None if self.hands is None else tuple(sorted(set(self.hands))),
            commitment="",
            steps_max=self.steps or limits.steps_max,
            tokens_max=self.tokens or limits.tokens_max,
            money_max=None if most is None else money.limit(most),
            currency=money.currency(settings.brains),
            created_at=now,
            deadline_at=now + (self.deadline_seconds or min(limits.deadline_seconds, limits.deadline_max_seconds)),
        )


def _within(pointer: str, value: float | None, most: float | None) -> None:
    if value is not None and most is not None and value > most:
        said = f"{most:.15g}"
        maximum = int(most) if said.isdigit() else said
        raise Malformed("over the limit", pointer=pointer, maximum=maximum, expected=f"at most {said}")
