"""What becomes of what hands answer: personal data in it, and an operator's own recognisers."""

from typing import Annotated

from pydantic import Field, model_validator

from gateway.manifest import EVERY_KIND, PersonalData
from gateway.personal_data import KINDS, PatternError, declared
from gateway.settings.base import Identifier, Section

Kind = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_-]{0,62})$")]
"""A kind of personal data, built in or declared; ``*`` is every kind."""


class RecogniserSettings(Section):
    """A kind of personal data of your own."""

    pattern: str = Field(
        description="RE2 syntax; no `*`, `+` or `{n,}`. It is held against the text in ASCII: other digits, letters "
        "with marks and lookalikes are folded, invisible characters are gone."
    )


class ResultSettings(Section):
    """What the gateway looks for in results."""

    recognisers: dict[Identifier, RecogniserSettings] = Field(
        {}, max_length=64, description="Kinds of personal data beside the built-in ones, by name."
    )

    @model_validator(mode="after")
    def _usable(self) -> "ResultSettings":
        for name, one in self.recognisers.items():
            try:
                declared(name, one.pattern)
            except PatternError as exc:
                raise ValueError(f"recognisers.{name}: {exc}") from None
        return self

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind that there is, and the word for all of them."""
        return frozenset({EVERY_KIND, *KINDS, *self.recognisers})


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
