"""The Messages ingress: what clients that speak to Anthropic's API may do through the gateway."""

from pydantic import Field

from gateway.settings.base import Identifier, Section


class AnthropicSettings(Section):
    """The Messages API at /anthropic, for clients whose base URL is changed to it."""

    hand: Identifier | None = Field(
        None,
        description="The hand that requests go to. Default: the one of adapter = 'anthropic' that a caller may use.",
    )
    pass_credentials: bool = Field(
        False,
        description="Whether a client that names its Handrail key in x-handrail-key has its own credential for the "
        "provider sent on, where the hand has none.",
    )
    body_max_bytes: int = Field(
        8_388_608,
        ge=1024,
        le=33_554_432,
        description="Largest request. Policies see no more than policy.input_max_bytes.",
    )
    ask_hold_seconds: float = Field(
        60.0, ge=0, le=600, description="How long an answer waits for a person, before it says where to approve."
    )
    ping_seconds: float = Field(
        10.0,
        gt=0,
        le=60,
        description="How often a stream that waits for a person, or for a record, says that it lives.",
    )
    redact_secrets: bool = Field(
        False, description="Whether what has the form of a key or token is taken out of requests before they leave."
    )
    redact_personal: tuple[str, ...] = Field(
        (),
        max_length=64,
        description="Kinds of personal data that are taken out of requests before they leave; * is all.",
    )
