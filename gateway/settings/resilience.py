"""How calls of a hand are retried, limited, and withheld while it fails."""

from pydantic import Field, model_validator

from gateway.settings.base import Section


class ResilienceSettings(Section):
    """What keeps a failing or slow hand from doing more harm."""

    retries_max: int = Field(
        2, ge=0, le=5, description="How often a call is tried again; see docs/resilience.md for which ones are."
    )
    backoff_first_seconds: float = Field(
        0.1,
        gt=0,
        le=60,
        description="Longest wait before the first retry; it doubles with each. Drawn from 0 up to it.",
    )
    backoff_max_seconds: float = Field(5.0, gt=0, le=600, description="What it doubles up to.")
    retries_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="How many retries a principal may have for each of its calls, beyond a reserve of ten.",
    )
    attempt_seconds: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Longest attempt of an action that is idempotent. Default: what is left of its deadline.",
    )
    breaker_failures: int = Field(
        5, ge=0, le=1000, description="Failures in a row that open the circuit; 0 is no circuit breaker."
    )
    breaker_window_seconds: float = Field(30.0, gt=0, le=3600, description="How close together they are.")
    breaker_open_seconds: float = Field(
        15.0, gt=0, le=3600, description="How long an open circuit lets nothing through."
    )
    breaker_probes: int = Field(
        1, ge=1, le=100, description="Calls that are let through after that; when all succeed, the circuit closes."
    )
    concurrency_max: int = Field(64, ge=1, le=10_000, description="Calls of the hand at once.")
    queue_max: int = Field(1024, ge=0, le=100_000, description="Calls that may wait for their turn.")
    queue_seconds: float = Field(10.0, gt=0, le=3600, description="How long one waits at most, within its deadline.")
    principal_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="What part of both one principal may take, rounded down, one at least: the rest is for others.",
    )
    tenant_share: float = Field(
        0.9,
        gt=0,
        le=1,
        description="The same of one tenant's principals together, where several tenants have the hand.",
    )
    calls_per_second: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Attempts that the hand is sent steadily, at both shares; beyond it hand.busy. Default: no limit.",
    )
    calls_burst: int = Field(10, ge=1, le=1_000_000, description="The same at once, after a silence.")

    @model_validator(mode="after")
    def _ordered(self) -> "ResilienceSettings":
        if self.backoff_max_seconds < self.backoff_first_seconds:
            raise ValueError("backoff_max_seconds is not below backoff_first_seconds")
        return self
