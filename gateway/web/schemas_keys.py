"""The JSON shapes of the gateway's keys and of what it asks others to trust; see ``schemas``."""

from typing import Any, Literal

from pydantic import Field

from gateway.web.schemas import Shape
from gateway.web.times import GivenTime, Time


class KeyView(Shape):
    """A key of the gateway."""

    kid: str
    purpose: str
    state: Literal["next", "active", "retiring", "retired", "revoked"]
    created_at: Time
    activated_at: Time | None
    retiring_at: Time | None
    retired_at: Time | None
    revoked_at: Time | None
    compromised_at: Time | None = Field(description="Of a revoked one: since when it may have been in wrong hands.")
    covered_size: int | None = Field(description="Of such a one: what it signed about entries below this index stands.")


class EpochView(Shape):
    """A key above data keys, which wraps them."""

    epoch: str
    state: Literal["active", "retiring"]


class KeyList(Shape):
    """The gateway's keys."""

    keys: list[KeyView]
    epochs: list[EpochView]
    now: Time = Field(description="The gateway's time, to tell the age of a key by.")


class KeyRequest(Shape):
    """Which purpose gets a further next key."""

    purpose: Literal["connector", "step", "receipt", "checkpoint", "checkpoint-pq", "policy", "approval"]


class KeyRevocation(Shape):
    """Since when the key may be in wrong hands; nothing that it signed stands where that is not said."""

    compromised_at: GivenTime | None = Field(None, description="Not a time to come.")


class KeyHistoryView(Shape):
    """The history of the gateway's keys."""

    history: str = Field(description="Compact JWS of the typ `history+jws`.")


class Jwks(Shape):
    """RFC 7517 key set."""

    keys: list[dict[str, Any]]


class TrustView(Shape):
    """What ``handrail verify --trust`` takes."""

    v: Literal[1]
    origin: str
    jwks: Jwks
    log: list[str] = Field(description="Signed-note verifier keys of the log.")
    log_post_quantum: list[str] | None = Field(
        None, description="Its ML-DSA-44 verifier keys, where checkpoints are signed a second time."
    )
