"""What the operator expects of a hand: its service level objectives."""

from pydantic import Field, model_validator

from gateway.settings.base import Section


class SloSettings(Section):
    """How often a hand shall answer, and how fast."""

    availability: float | None = Field(None, gt=0, lt=1, description="Which part of its calls it shall answer: 0.995.")
    latency_seconds: float | None = Field(None, gt=0, le=3600, description="Within which it shall answer.")
    latency_quantile: float = Field(0.95, gt=0, lt=1, description="Which part of its answers shall be within that.")
    window_days: int = Field(28, ge=1, le=90, description="Over how many days.")

    @model_validator(mode="after")
    def _says_something(self) -> "SloSettings":
        if self.availability is None and self.latency_seconds is None:
            raise ValueError("name availability, latency_seconds or both")
        if self.latency_seconds is None and "latency_quantile" in self.model_fields_set:
            raise ValueError("latency_quantile goes with latency_seconds")
        return self
