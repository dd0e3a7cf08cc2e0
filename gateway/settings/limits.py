"""How much one caller, and one address, may ask of one gateway process; and how it stops."""

from pydantic import Field

from gateway.settings.base import Section


class LimitSettings(Section):
    """Limits of one process, kept in its memory: with several gateways each has its own. See docs/limits.md."""

    requests_per_second: float = Field(
        500.0, gt=0, le=1_000_000, description="Requests that one principal may send steadily; beyond it 429."
    )
    requests_burst: int = Field(2000, ge=1, le=1_000_000, description="The same at once, after a silence.")
    requests_max_concurrent: int = Field(
        1024, ge=1, le=1_000_000, description="Requests of one principal that may be unanswered at once; beyond it 429."
    )
    anonymous_per_second: float = Field(
        50.0,
        gt=0,
        le=1_000_000,
        description="Requests without a credential that holds, or for pages, that one address may send steadily.",
    )
    anonymous_burst: int = Field(500, ge=1, le=1_000_000, description="The same at once, after a silence.")
    connections_max: int = Field(
        4096, ge=1, le=1_000_000, description="Connections at once; fewer where file descriptors do not suffice."
    )
    connections_max_per_address: int = Field(
        1024, ge=1, le=1_000_000, description="The same of one address that is not among server.trusted_proxies."
    )
    drain_notice_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="How long a gateway that is told to stop goes on as before, but says that it is not ready: for "
        "balancers to notice.",
    )
    drain_seconds: float = Field(
        20.0, ge=0, le=3600, description="How long what is under way may then take to end; new requests get 503."
    )
