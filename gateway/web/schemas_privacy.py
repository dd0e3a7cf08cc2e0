"""The JSON shapes of what privacy officers see and send; see ``schemas``."""

from typing import Any, Literal

from pydantic import Field

from gateway.privacy.requests import HoldCode
from gateway.web.schemas import Shape
from gateway.web.times import GivenTime, Time

Name = Field(min_length=1, max_length=512, description="The person: a principal's id, or as calls name people.")


class PersonNamed(Shape):
    """Whom it is about. In the body, so that no name gets into a log of URLs."""

    person: str = Name


class AccessRequest(Shape):
    """Whose data is exported."""

    person: str = Name
    format: Literal["json", "markdown"] = "json"


class ErasureRequest(Shape):
    """Whose data is erased."""

    person: str = Name
    acts: bool = Field(False, description="Also what the person answered and changed in office: evidence about others.")


class HoldRequest(Shape):
    """Whose data has to stay."""

    person: str = Name
    code: HoldCode
    until: GivenTime | None = Field(None, description="Default: until lifted.")


class HoldView(Shape):
    """A hold."""

    hold_id: str
    person: str | None = Field(
        description="As the hold compares names. Null: the database was restored from before an erasure and nobody can "
        "say whom it is on; it stands against every erasure until it is lifted."
    )
    code: HoldCode
    set_at: Time
    set_by: str = Field(description="Pseudonym.")
    until: Time | None
    in_force: bool


class HoldList(Shape):
    """Holds of the tenant that were not lifted."""

    holds: list[HoldView]


class ErasurePreview(Shape):
    """What an erasure would take, and what stays."""

    keys: int
    values: int
    shared: int = Field(description="Values that concern somebody else, too; they go with it.")
    rows: dict[str, int]
    acts: int = Field(description="Answers and changes in office; they stay as evidence unless asked for.")
    principal: bool = Field(description="Whether the person is a principal, who would be revoked.")
    plans_under_way: int
    holds: list[HoldView]


class ErasureView(Shape):
    """An erasure."""

    erasure_id: str
    state: Literal["erasing", "done"]
    requested_at: Time
    requested_index: int = Field(description="Of the entry 'erasure requested'.")
    keys: int
    values: int
    done_at: Time | None
    done_index: int | None = Field(description="Of the entry 'erasure done': the proof.")


class AccessExport(Shape):
    """Everything held about a person."""

    about: dict[str, Any]
    rows: dict[str, Any]
    values: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    end: dict[str, int]
