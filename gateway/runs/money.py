"""What answers cost, by the prices of their brains. Pure. Amounts are whole millionths of the currency's unit, rounded
up: what was spent is never said to be less than it is."""

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from gateway.model import MILLIONTHS
from gateway.settings import BrainSettings


def currency(brains: Mapping[str, BrainSettings]) -> str:
    """Of the prices of a configuration, which has no two; empty where no brain has any."""
    return next((one.prices.currency for one in brains.values() if one.prices is not None), "")


def limit(amount: float) -> int:
    """A limit that somebody wrote: rounded down, as what is spent is rounded up."""
    return int((Decimal(str(amount)) * MILLIONTHS).to_integral_value(ROUND_FLOOR))


def after(spent: int | None, brain: BrainSettings | None, wanted: str, usage: Mapping[str, int]) -> int | None:
    """What was spent once an answer came; ``None`` where nobody knows: it was not known before, or this brain has no
    price in the currency of the run.

    Args:
        wanted: that currency.
        usage: kind -> tokens of the answer (``conversation.Answer``).
    """
    cost = price(brain, wanted, usage)
    return None if spent is None or cost is None else spent + cost


def price(brain: BrainSettings | None, wanted: str, usage: Mapping[str, int]) -> int | None:
    """Of one answer; ``None`` where nobody knows."""
    prices = None if brain is None else brain.prices
    if prices is None or prices.currency != wanted:
        return None
    # So much of the unit for a million tokens is so many millionths for one.
    cost = sum((Decimal(str(getattr(prices, kind))) * tokens for kind, tokens in usage.items()), Decimal(0))
    return int(cost.to_integral_value(ROUND_CEILING))


def longest(brain: BrainSettings, left: int) -> int | None:
    """How many tokens of an answer ``left`` pays for; ``None`` for any number."""
    if brain.prices is None or not brain.prices.output:
        return None
    return int(left // Decimal(str(brain.prices.output)))


def amount(millionths: int) -> float:
    """As people and policies are told, with six digits after the point."""
    return millionths / MILLIONTHS
