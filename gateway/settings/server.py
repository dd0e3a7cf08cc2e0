"""What callers, approvers and operators meet: the server, plans, the console, webhooks, logs and traces; and who
answers for it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gateway.model import DEFAULT_TENANT, Notice
from gateway.settings.base import Section, Tenant


class ServerSettings(Section):
    """Where the gateway listens, and how much it takes."""

    host: str = Field("127.0.0.1", description="Address to listen on. Beyond loopback put a TLS proxy in front.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    public_url: str | None = Field(None, description="The URL by which clients reach the gateway, for links.")
    body_max_bytes: int = Field(262_144, ge=1024, le=16_777_216, description="Largest request body accepted.")
    body_timeout_seconds: float = Field(10.0, gt=0, le=300, description="How long a request body may take to arrive.")
    wait_max_seconds: float = Field(60.0, gt=0, le=600, description="Longest ?wait= that is honoured.")
    plans_max_concurrent: int = Field(
        2048, ge=1, le=1_000_000, description="Plans running at once; beyond it 503 gateway.overloaded."
    )
    plans_max_concurrent_per_principal: int = Field(
        512,
        ge=1,
        le=1_000_000,
        description="The same of one principal's plans, on one gateway; beyond it 429 limit.plans.",
    )
    approvals_max_open_per_principal: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Approval requests that one principal's plans may have open; beyond it 429 limit.approvals.",
    )
    log_reads_per_second: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Checkpoints, tiles and entry bundles that one address or auditor may read steadily; beyond it 429 "
        "limit.reads.",
    )
    log_reads_burst: int = Field(
        2000, ge=1, le=1_000_000, description="The same at once, after a silence: what a walk over a log begins with."
    )


class PlanSettings(Section):
    """Limits of a plan."""

    steps_max: int = Field(100, ge=1, le=1000, description="Steps in one plan.")
    lifetime_max_seconds: int = Field(300, ge=1, le=300, description="Longest exp - iat accepted.")
    clock_skew_seconds: int = Field(5, ge=0, le=5, description="Tolerated difference between clocks.")
    approval_ttl_seconds: int = Field(3600, ge=1, le=604_800, description="How long a held step waits for a person.")


class ConsoleSettings(Section):
    """The pages for approvers."""

    session_seconds: int = Field(3600, ge=60, le=43_200, description="How long a login to the pages lasts.")
    logins_per_minute: int = Field(20, ge=1, le=1000, description="Logins that one address may try.")


class WebhookSettings(Section):
    """Who is told that a person is asked, and what became of it."""

    url: str | None = Field(None, pattern=r"^https?://", description="Where messages go. Or url_file.")
    url_file: Path | None = Field(None, description="File with the URL, where the URL is a secret (Slack's are).")
    format: Literal["standard", "slack"] = Field(
        "standard", description="standard: signed JSON (Standard Webhooks). slack: an incoming webhook of Slack."
    )
    secret_file: Path | None = Field(
        None, description="standard: file with the signing secret, whsec_... (HMAC-SHA256) or whsk_... (Ed25519)."
    )
    events: tuple[Notice, ...] = Field(tuple(Notice), min_length=1, description="What it is told.")
    tenants: tuple[Tenant, ...] = Field((DEFAULT_TENANT,), min_length=1, description="Of whose requests it is told.")
    details: bool = Field(
        False, description="Whether messages hold the call's arguments, reasons and people's ids, in clear."
    )
    private_network: bool = Field(False, description="Whether the host may be a private or loopback address.")
    timeout_seconds: float = Field(10.0, gt=0, le=60, description="How long one attempt may take.")
    attempts_max: int = Field(12, ge=1, le=50, description="Attempts before a message is given up.")

    @model_validator(mode="after")
    def _complete(self) -> "WebhookSettings":
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give url or url_file")
        if (self.format == "standard") == (self.secret_file is None):
            raise ValueError("format = 'standard' needs secret_file, and no other format takes one")
        return self


class TelemetrySettings(Section):
    """Logs, metrics and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Threshold of the log.")
    log_format: Literal["console", "json"] = Field("console", description="For people, or one JSON object a line.")
    traces: Literal["none", "console", "otlp"] = Field("none", description="Where OpenTelemetry spans go.")
    otlp_endpoint: str | None = Field(None, description="OTLP/HTTP endpoint (traces = otlp).")


class ControllerSettings(Section):
    """Who answers for the processing of personal data, for the record of processing activities (GDPR, article 30)."""

    name: str | None = Field(None, max_length=200, description="The controller.")
    contact: str | None = Field(None, max_length=200, description="How to reach it.")
    representative: str | None = Field(None, max_length=200, description="Its representative in the Union.")
    data_protection_officer: str | None = Field(None, max_length=200, description="Its data protection officer.")
