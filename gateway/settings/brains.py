"""Models that runs may be put to, which of them for what, and how far one run may go."""

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.settings.base import Identifier, Section

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,255}$")]


class PriceSettings(Section):
    """What a brain's endpoint asks for a million tokens. All four: what is not said would be counted as nothing."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217; the same for every brain.")
    input: float = Field(ge=0, le=1_000_000, description="Of input that is in no cache.")
    output: float = Field(ge=0, le=1_000_000, description="Of output.")
    cache_read: float = Field(ge=0, le=1_000_000, description="Of input that is read from a cache.")
    cache_write: float = Field(ge=0, le=1_000_000, description="Of input that is written to one, for five minutes.")


class BrainSettings(Section):
    """A model that runs may be put to, behind a hand of the adapter `anthropic`."""

    model: str = Field(min_length=1, max_length=256, description="The model, as its endpoint names it.")
    hand: Identifier | None = Field(None, description="The hand that it is behind. Default: the brain's own id.")
    max_tokens: int = Field(8192, ge=1, le=1_000_000, description="Longest answer, in tokens.")
    purposes: tuple[Word, ...] = Field((), description="What it is for; where none is named, every purpose.")
    data_classes: tuple[Identifier, ...] = Field(
        (), description="Which classes of data it may be shown. A run that says a class goes to brains that list it."
    )
    cost: int = Field(0, ge=0, le=1_000_000, description="Its rank: of those that fit, the lowest is asked first.")
    prices: PriceSettings | None = Field(
        None, description="What its answers cost. Runs with a budget in money are put to brains with prices alone."
    )
    fallback: tuple[Identifier, ...] = Field(
        (),
        description="Which brains are asked instead, in this order, where it is unavailable, overloaded or rate "
        "limited. Only those that fit the run. Default: every other that fits, by cost.",
    )


class RunSettings(Section):
    """How far one run may go, and how many there may be."""

    steps_max: int = Field(
        100, ge=1, le=10_000, description="Most steps of one run: questions to models and calls of tools together."
    )
    tokens_max: int = Field(2_000_000, ge=1, le=2**40, description="Most tokens of one run, in and out together.")
    money_max: float | None = Field(
        None,
        ge=0.000001,
        le=1_000_000_000,
        description="Most money of one run, in the currency of the brains' prices. Default: no limit.",
    )
    deadline_seconds: float = Field(
        600.0,
        gt=0,
        le=604_800,
        description="How long a run may take where it does not say, waiting for people included.",
    )
    deadline_max_seconds: float = Field(86_400.0, gt=0, le=604_800, description="The longest that it may say.")
    result_max_characters: int = Field(
        32_768, ge=256, le=1_048_576, description="How much of one tool's result a model is shown; the rest is cut."
    )
    max_concurrent: int = Field(64, ge=1, le=10_000, description="Runs that one gateway takes forward at once.")
    max_concurrent_per_principal: int = Field(
        8, ge=1, le=10_000, description="The same of one principal's; beyond it 429 limit.runs."
    )
