"""The JSON shapes of claiming steps and returning results."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.web.schemas import Shape


class WorkView(Shape):
    """What waits for a hand."""

    steps: list[str] = Field(description="step_jti of each step that may be claimed, oldest first.")


class TokenView(Shape):
    """RFC 8693 section 2.2.1, with what the step is about."""

    model_config = ConfigDict(frozen=True, extra="allow")

    access_token: str = Field(description="The step credential: step+jws, bound to the key of the proof.")
    issued_token_type: str
    token_type: str = Field(description="DPoP")
    expires_in: int = Field(description="Seconds within which the hand has to begin.")
    scope: str = Field(description="The action.")
    authorization_details: list[dict[str, Any]] = Field(description="RFC 9396: what the credential is bound to.")
    args: dict[str, Any] = Field(description="The action's arguments.")
    lease_seconds: float = Field(description="Within which the result has to be returned.")
    result_max_bytes: int = Field(description="Of the result's {content, structured} in canonical JSON.")
    idempotency_key: str | None = None


class TokenRefusal(BaseModel):
    """An OAuth error, and the closed reason that it is. Further members are safe facts."""

    model_config = ConfigDict(frozen=True, extra="allow")

    error: str = Field(description="RFC 6749 section 5.2, or RFC 8693, 9449, 6750.")
    error_description: str
    code: str = Field(description="The closed reason code.")
    request_id: str


class ResultReturn(Shape):
    """What a hand answers: MCP-style content blocks, structured data where the action has it, or both."""

    content: list[dict[str, Any]] = Field([], max_length=10_000)
    structured: Any = None
    is_error: bool = Field(False, description="Whether the tool failed.")


class ResultTaken(Shape):
    """What became of the step."""

    status: str
    error: dict[str, Any] | None = None
