"""What is kept: rows, the audit log, the gateway's keys."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from gateway.settings.base import Identifier, Section
from gateway.settings.key_services import AwsKmsSettings, Pkcs11Settings, TransitSettings


class DatabaseSettings(Section):
    """Where plans, approvals and the log live."""

    url: str | None = Field(
        None,
        description="SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://... Default: handrail.db in the home.",
    )
    eraser_url: str | None = Field(
        None,
        description="PostgreSQL: the same database as the role that may delete personal data and nothing else "
        "(deploy/postgres/eraser-role.sql). Default: url.",
    )

    @model_validator(mode="after")
    def _one_database(self) -> "DatabaseSettings":
        if self.eraser_url is not None and not (self.url or "").startswith("postgresql"):
            raise ValueError("eraser_url goes with a PostgreSQL url: SQLite has no roles")
        return self


class PrivacySettings(Section):
    """Personal data: how long it is kept."""

    payload_days: int = Field(
        30,
        ge=1,
        le=3660,
        description="Days after which arguments, results and other sealed values are deleted. Entries stay.",
    )
    epochs: Path | None = Field(
        None,
        description="Directory of the epoch keys, which every gateway of one database shares and no backup holds. "
        "Default: epochs in the home.",
    )


class WitnessSettings(Section):
    """A witness that cosigns the log's checkpoints."""

    key: str = Field(
        pattern=r"^[^\s+]{1,255}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$",
        max_length=4096,
        description="Its verifier key for cosignatures, NAME+ID+KEY, from a channel that you trust.",
    )
    url: str = Field(
        pattern=r"^https?://", max_length=1024, description="Its submission prefix; /add-checkpoint is put behind it."
    )
    private_network: bool = Field(False, description="Whether the host may be a private or loopback address.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long one answer may take.")

    @model_validator(mode="after")
    def _tls(self) -> "WitnessSettings":
        if self.url.startswith("http://") and not self.private_network:
            raise ValueError("plain http needs private_network = true; use https")
        return self


class LogSettings(Section):
    """The audit log."""

    origin: str = Field(
        "handrail.local/log",
        pattern=r"^[a-z0-9.-]+(/[a-zA-Z0-9._-]+)+$",
        max_length=128,
        description="Name of the log in its checkpoints, and the audience of plans. Fixed for the life of a log.",
    )
    append_deadline_seconds: float = Field(
        1.8, gt=0, le=2.0, description="A record that is not durable by then refuses its step."
    )
    group_max_entries: int = Field(256, ge=1, le=4096, description="Entries in one group commit.")
    group_wait_milliseconds: float = Field(0.0, ge=0, le=5, description="How long a commit waits for company.")
    checkpoint_interval_seconds: float = Field(1.0, gt=0, le=60, description="Longest time between checkpoints.")
    post_quantum: bool = Field(
        False, description="Sign each checkpoint a second time, by ML-DSA-44, for verifiers that require both."
    )
    retention_months: int = Field(
        24,
        ge=6,
        le=1_200,
        description="Entries older than this may be dropped (handrail retention apply). "
        "Never under six: EU AI Act art. 19 and 26(6).",
    )
    witness_quorum: int = Field(
        0, ge=0, le=32, description="Witnesses that have to cosign a checkpoint; a verifier sets its own number."
    )
    witness_interval_seconds: float = Field(
        10.0, gt=0, le=3600, description="Shortest time between two checkpoints that one witness is asked to cosign."
    )
    witness_heartbeat_seconds: float = Field(
        300.0, gt=0, le=86_400, description="Where nothing is logged, a checkpoint is cosigned anew this often."
    )
    witness_lag_max_seconds: float = Field(
        900.0, gt=0, le=604_800, description="How old the quorum's newest word may be before log.unwitnessed is given."
    )
    witness_lag: Literal["notice", "unready"] = Field(
        "notice",
        description="What log.unwitnessed and log.forked do: a notice at /readyz, or also 503 there. Nothing else: "
        "witnesses never stop the log.",
    )
    witnesses: dict[Identifier, WitnessSettings] = Field({}, description="The witnesses, by name; see below.")

    @model_validator(mode="after")
    def _quorum_can_be_reached(self) -> "LogSettings":
        if self.witness_quorum > len(self.witnesses):
            raise ValueError(f"witness_quorum is {self.witness_quorum}, but there are {len(self.witnesses)} witnesses")
        if self.witness_lag_max_seconds <= self.witness_heartbeat_seconds:
            raise ValueError("witness_lag_max_seconds must be more than witness_heartbeat_seconds")
        return self


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


Days = Annotated[int, Field(ge=0, le=3660)]
_ROTATED: Final = "Days after which the key {} is rotated; 0 is never."


class KeySettings(Section):
    """The gateway's own keys."""

    master_key_file: Path | None = Field(
        None, description="File with the 32-byte master key in hex. Default: master.key in the home, made at first use."
    )
    master_key_previous_file: Path | None = Field(
        None, description="File with the master key before, while it is being changed (handrail keys rewrap)."
    )
    root_file: Path | None = Field(
        None,
        description="File with the data root that the master key wraps, which every gateway of one database has. "
        "Default: root.key in the home, made at first use.",
    )
    store: Literal["file", "database"] = Field(
        "file", description="Where the gateway's keys lie, sealed: keys in the home, or the PostgreSQL database."
    )
    pkcs11: Pkcs11Settings | None = Field(None, description="The token; see below.")
    transit: TransitSettings | None = Field(None, description="Transit; see below.")
    aws_kms: AwsKmsSettings | None = Field(None, description="AWS KMS; see below.")
    token_lifetime_seconds: int = Field(60, ge=1, le=60, description="Life of a step credential.")
    jwks_lifetime_seconds: int = Field(300, ge=1, le=86_400, description="How long others may cache the JWKS.")
    rotate_connector_days: Days = Field(90, description=_ROTATED.format("that signs an ingress's plans"))
    rotate_step_days: Days = Field(90, description=_ROTATED.format("of step credentials"))
    rotate_receipt_days: Days = Field(90, description=_ROTATED.format("of receipts"))
    rotate_checkpoint_days: Days = Field(
        0, description=_ROTATED.format("of checkpoints") + " Witnesses and readers must be told of a new one: by hand."
    )
    rotate_checkpoint_pq_days: Days = Field(0, description=_ROTATED.format("of the checkpoints' second signature"))
    rotate_policy_days: Days = Field(90, description=_ROTATED.format("of policy bundles"))
    rotate_approval_days: Days = Field(90, description=_ROTATED.format("of what the gateway attests"))

    @model_validator(mode="after")
    def _one_place_for_each_key(self) -> "KeySettings":
        services = [one for one in (self.pkcs11, self.transit, self.aws_kms) if one is not None]
        named = [purpose for service in services for purpose in service.purposes]
        if len(set(named)) != len(named):
            raise ValueError("a purpose's keys are made in one place: it stands in the purposes of two")
        wrapping = [one for one in (self.transit, self.aws_kms) if one is not None]
        if sum(one.root_key is not None for one in wrapping) > 1:
            raise ValueError("one key wraps the data root: root_key stands in two tables")
        before = [one.root_key_previous for one in wrapping] + [self.master_key_previous_file]
        if sum(one is not None for one in before) > 1:
            raise ValueError("one key wrapped the data root before: root_key_previous, or master_key_previous_file")
        return self
