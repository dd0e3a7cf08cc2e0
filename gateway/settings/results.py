"""What becomes of what hands answer: personal data in it, and an operator's own recognisers."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gateway.manifest import EVERY_KIND, Oversize, PersonalData
from gateway.personal_data import KINDS, PatternError, Presidio, Scanner, declared
from gateway.settings.base import Identifier, Section

Kind = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_-]{0,62})$")]
"""A kind of personal data, built in or declared; ``*`` is every kind."""


Entity = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]


class RecogniserSettings(Section):
    """A kind of personal data of your own."""

    pattern: str = Field(
        description="RE2 syntax; no `*`, `+` or `{n,}`. It is held against the text in ASCII: other digits, letters "
        "with marks and lookalikes are folded, invisible characters are gone."
    )


class PresidioSettings(Section):
    """Microsoft Presidio beside the gateway's own recognisers, in a process of its own."""

    interpreter: Path = Field(
        description="Python of an environment that has presidio-analyzer; the gateway's own needs none of it."
    )
    entities: dict[Entity, Identifier] = Field(
        min_length=1, max_length=64, description="What Presidio calls it -> the kind that it is here."
    )
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="Language of the texts.")
    model: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,127}$",
        description="spaCy pipeline that finds names, installed beside it. Without one, Presidio's patterns alone.",
    )
    score_min: float = Field(0.5, gt=0, le=1, description="How sure it must be.")
    deadline_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description="For one result, its turn included. What it does not say by then is unsearched.",
    )


class ResultSettings(Section):
    """What the gateway looks for in results."""

    recognisers: dict[Identifier, RecogniserSettings] = Field(
        {}, max_length=64, description="Kinds of personal data beside the built-in ones, by name."
    )

    presidio: PresidioSettings | None = Field(None, description="Presidio; see below.")

    @model_validator(mode="after")
    def _usable(self) -> "ResultSettings":
        for name, one in self.recognisers.items():
            try:
                declared(name, one.pattern)
            except PatternError as exc:
                raise ValueError(f"recognisers.{name}: {exc}") from None
        return self

    def scanner(self) -> Scanner:
        """What looks through results."""
        presidio = None
        if (asked := self.presidio) is not None:
            presidio = Presidio(
                asked.interpreter,
                asked.entities,
                language=asked.language,
                model=asked.model,
                score_min=asked.score_min,
                deadline_seconds=asked.deadline_seconds,
            )
        return Scanner((declared(name, one.pattern) for name, one in self.recognisers.items()), presidio)

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind that there is, and the word for all of them."""
        asked = () if self.presidio is None else self.presidio.entities.values()
        return frozenset({EVERY_KIND, *KINDS, *self.recognisers, *asked})


class ActionResultSettings(Section):
    """What becomes of the results of one action."""

    personal_data: PersonalData = Field(
        PersonalData.TAG,
        description="tag: kinds and numbers of personal data in a result are on record and shown. redact: it is taken "
        "out. off: nobody looks. A policy can still have it taken out.",
    )
    personal_kinds: tuple[Kind, ...] = Field(
        (EVERY_KIND,), min_length=1, description="The kinds that are looked for; `*` is all."
    )
    oversize: Oversize = Field(
        Oversize.FAIL,
        description="fail: a result over result_max_bytes fails the step. truncate: its text is cut and marked; http "
        "(but no JSON), mcp, and process with text on standard output.",
    )
