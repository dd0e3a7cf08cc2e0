"""What is kept: rows, the audit log, the gateway's keys."""

from pathlib import Path

from pydantic import Field

from gateway.settings.base import Section


class DatabaseSettings(Section):
    """Where plans, approvals and the log live."""

    url: str | None = Field(
        None,
        description="SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://... Default: handrail.db in the home.",
    )


class LogSettings(Section):
    """The audit log."""

    origin: str = Field(
        "handrail.local/log",
        pattern=r"^[a-z0-9.-]+(/[a-zA-Z0-9._-]+)+$",
        max_length=128,
        description="Name of the log in its checkpoints, and the audience of plans. Fixed for the life of a log.",
    )
    append_deadline_seconds: float = Field(
        2.0, gt=0, le=2.0, description="A record that is not durable by then refuses its step."
    )
    group_max_entries: int = Field(256, ge=1, le=4096, description="Entries in one group commit.")
    group_wait_milliseconds: float = Field(0.0, ge=0, le=5, description="How long a commit waits for company.")
    checkpoint_interval_seconds: float = Field(1.0, gt=0, le=60, description="Longest time between checkpoints.")
    retention_months: int = Field(
        24,
        ge=6,
        le=1_200,
        description="Entries older than this may be dropped (handrail retention apply). "
        "Never under six: EU AI Act art. 19 and 26(6).",
    )


class ArchiveSettings(Section):
    """Where partitions of the log go before they are dropped: a bucket with object lock (the extra s3)."""

    bucket: str | None = Field(
        None, min_length=3, max_length=63, description="Its name. Without one, nothing is archived."
    )
    endpoint_url: str | None = Field(
        None, pattern=r"^https?://[^\s]+$", description="Of a store that is not Amazon's. Default: Amazon S3."
    )
    region: str | None = Field(None, description="Region of the bucket. Default: as the AWS tools find it.")
    prefix: str = Field("handrail", max_length=256, description="What the objects' names begin with.")
    lock_months: int = Field(
        60,
        ge=6,
        le=240,
        description="For how long the store refuses to delete what it took; nobody can shorten it afterwards.",
    )


class KeySettings(Section):
    """The gateway's own keys."""

    master_key_file: Path | None = Field(
        None, description="File with the 32-byte master key in hex. Default: master.key in the home, made at first use."
    )
    token_lifetime_seconds: int = Field(60, ge=1, le=60, description="Life of a step credential.")
    jwks_lifetime_seconds: int = Field(300, ge=1, le=86_400, description="How long others may cache the JWKS.")
