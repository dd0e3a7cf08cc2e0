"""The JSON shapes of freezes; see ``schemas``."""

from pydantic import Field

from gateway.freeze import Cause, Scope
from gateway.freezing import WHY_MAX
from gateway.web.schemas import Shape
from gateway.web.times import Time


class FreezeRequest(Shape):
    """What to stop, at once."""

    scope: Scope
    subject: str | None = Field(None, max_length=128, description="Id of the hand, principal or context; none for all.")
    cause: Cause = Cause.OTHER
    why: str | None = Field(None, max_length=WHY_MAX, description="Words for people; erasable, and in no entry.")


class FreezeView(Shape):
    """A freeze. Who and why are shown to its own tenant alone."""

    id: str
    tenant: str
    scope: Scope
    subject: str | None = Field(None, description="Id of the hand, principal or context; absent for all.")
    cause: Cause
    at: Time
    running: int = Field(description="Steps that ran when it was set, at all gateways. Each became ambiguous.")
    held: int = Field(description="Approval requests that waited when it was set. Each was voided.")
    every_tenant: bool
    log_index: int | None
    recorded: bool = Field(description="False while it holds in the gateway that was asked alone: its log is away.")
    lifted: bool
    pseudonym: str | None = Field(None, description="Of a frozen principal, as entries name it.")
    by: str | None = None
    why: str | None = None


class FreezeList(Shape):
    """What is frozen, oldest first."""

    freezes: list[FreezeView]
