"""One frozen settings object, from ``handrail.toml`` and ``HANDRAIL_*`` variables; unknown keys are refused.

Environment variables win over the file: ``HANDRAIL_SERVER__PORT=8081`` sets ``[server] port``. Units are in names.
``handrail config example`` prints a commented file generated from this module, so that it cannot drift.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.errors import HandrailError
from gateway.manifest import ArgumentRole, SideEffects, Trust
from gateway.model import DEFAULT_TENANT, Notice
from gateway.reasons import Reason

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Tenant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Pointer = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$", max_length=512)]
"""RFC 6901 JSON pointer; a segment ``*`` matches every array item."""


_REF: Final = r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$"


class SettingsError(HandrailError):
    """The configuration cannot be used; ``detail`` says which key and what to do."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.REQUEST_MALFORMED, detail)


class Section(BaseModel):
    """A frozen table of the file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class RemoteSettings(Section):
    """A Git repository that signed bundles are pulled from. Pulling activates nothing: two people do."""

    url: str = Field(max_length=1024, description="https://..., ssh://user@host/... or file:///...; no password in it.")
    branch: str | None = Field(None, pattern=_REF, max_length=200, description="The branch. Default: main, or the tag.")
    tag: str | None = Field(None, pattern=_REF, max_length=200, description="A tag in place of a branch.")
    path: str = Field(
        "policy.bundle",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
        max_length=512,
        description="The signed file in the repository, as 'handrail policy build' wrote it.",
    )
    interval_seconds: float = Field(60.0, ge=5, le=86_400, description="How often it is pulled.")
    timeout_seconds: float = Field(60.0, ge=1, le=600, description="Longest pull.")
    size_max_bytes: int = Field(
        268_435_456, ge=1_048_576, le=4_294_967_296, description="Largest history of the branch, packed."
    )
    username: str = Field(
        "git", pattern=r"^[!-9;-~]{1,64}$", description="User name beside the token. Most servers take any."
    )
    token_file: Path | None = Field(None, description="https: file with a read-only access token.")
    ca_file: Path | None = Field(None, description="https: authorities (PEM) of the server. Default: the system's.")
    ssh_key_file: Path | None = Field(None, description="ssh: private key that may read the repository.")
    known_hosts_file: Path | None = Field(None, description="ssh: the server's host keys; no other is believed.")
    notify_secret_file: Path | None = Field(
        None,
        description="File with the secret of the server's webhook: POST /v1/policy/remote/notify then has it pulled at "
        "once. Without one the route is closed.",
    )

    @property
    def ref(self) -> str:
        """The whole name of the branch or tag."""
        return f"refs/tags/{self.tag}" if self.tag is not None else f"refs/heads/{self.branch or 'main'}"

    @model_validator(mode="after")
    def _sound(self) -> "RemoteSettings":
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in {"https", "ssh", "file"} and bool(parts.hostname or parts.scheme == "file")
        except ValueError:
            known = False
        if not known or not self.url.isprintable() or " " in self.url or parts.query or parts.fragment:
            raise ValueError("url: not https://, ssh:// or file:///")
        if parts.password is not None or (parts.scheme == "https" and parts.username is not None):
            raise ValueError("url: secrets belong in token_file or ssh_key_file")
        if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
            raise ValueError("url: a file:/// URL has an absolute path and no host")
        if self.branch is not None and self.tag is not None:
            raise ValueError("give branch or tag")
        if any(".." in name or "//" in name or name.endswith((".lock", "/", ".")) for name in (self.ref, self.path)):
            raise ValueError("branch, tag or path: not a name that Git takes")
        if parts.scheme != "https" and (self.token_file or self.ca_file):
            raise ValueError("token_file and ca_file are for https")
        if (parts.scheme == "ssh") != bool(self.ssh_key_file and self.known_hosts_file):
            raise ValueError("ssh needs ssh_key_file and known_hosts_file, and nothing else takes them")
        return self


class PolicySettings(Section):
    """The policy engine and its bundle."""

    engine: Literal["embedded", "opa"] = Field("embedded", description="embedded (regorus) or opa (a real server).")
    source: Literal["directory", "signed"] = Field(
        "directory",
        description="directory: what lies in bundle decides, and a saved file takes effect. signed: only a signed "
        "bundle that two people activated decides; until there is one, everything is denied.",
    )
    bundle: Path | None = Field(
        None, description="Directory of the Rego bundle (source = directory). Default: the shipped policies."
    )
    workers: int = Field(2, ge=1, le=64, description="Evaluator processes of the embedded engine.")
    deadline_milliseconds: int = Field(250, ge=10, le=2000, description="An evaluation is killed and denied after it.")
    input_max_bytes: int = Field(1_048_576, ge=1024, le=16_777_216, description="Largest policy input.")
    environment: Identifier = Field("production", description="input.environment for the rules.")
    data_region: str | None = Field(None, description="input.context.data_region for the rules.")
    opa_url: str = Field("http://127.0.0.1:8181", description="The OPA server (engine = opa).")
    opa_candidate_url: str | None = Field(
        None,
        description="Another OPA server, for a candidate bundle beside the active one (engine = opa): a bundle fills a "
        "server. Without it nothing can be shadowed or tried as a canary.",
    )
    opa_token_file: Path | None = Field(None, description="File with the bearer token for OPA.")
    opa_ca_file: Path | None = Field(
        None, description="Authorities (PEM) that an https OPA server is verified by. Default: the system's."
    )
    opa_certificate_file: Path | None = Field(None, description="Client certificate (PEM) shown to OPA (mutual TLS).")
    opa_certificate_key_file: Path | None = Field(None, description="Its key, where it is not in the same file.")
    reload_interval_seconds: float = Field(
        2.0, gt=0, le=3600, description="How often the bundle is checked for changes."
    )
    remote: RemoteSettings | None = Field(None, description="Where signed bundles are pulled from; see below.")

    @model_validator(mode="after")
    def _remote_needs_signed(self) -> "PolicySettings":
        if self.remote is not None and self.source != "signed":
            raise ValueError("[policy.remote] needs source = 'signed': what lies in a directory is not pulled")
        return self

    @model_validator(mode="after")
    def _tls_files_need_tls(self) -> "PolicySettings":
        files = (self.opa_ca_file, self.opa_certificate_file, self.opa_certificate_key_file)
        for name, url in (("opa_url", self.opa_url), ("opa_candidate_url", self.opa_candidate_url)):
            if any(files) and url is not None and not url.startswith("https://"):
                raise ValueError(f"TLS files for OPA are named, but {name} is not https://")
        if self.opa_candidate_url is not None and self.opa_candidate_url.rstrip("/") == self.opa_url.rstrip("/"):
            raise ValueError("opa_candidate_url is opa_url: one server holds one bundle")
        return self


class ProposalSettings(Section):
    """Changes that take two people."""

    ttl_seconds: int = Field(259_200, ge=60, le=1_209_600, description="How long a proposal waits for a second person.")


class RolloutSettings(Section):
    """A candidate bundle beside the active one: how much a shadow may lag, and when a canary stops itself."""

    shadow_queue_max: int = Field(
        128, ge=1, le=10_000, description="Policy inputs that may wait for the shadow; others are left out and counted."
    )
    canary_window: int = Field(
        1000, ge=1, le=100_000, description="Newest decisions of a canary that each gateway looks at."
    )
    canary_sample_min: int = Field(20, ge=1, le=100_000, description="Fewer of them say nothing.")
    canary_denied_margin: float = Field(
        0.1, ge=0, le=1, description="By how much the candidate's share of denials may exceed the active bundle's."
    )
    canary_error_margin: float = Field(
        0.05, ge=0, le=1, description="The same of decisions that its engine failed to give."
    )

    @model_validator(mode="after")
    def _sample_fits(self) -> "RolloutSettings":
        if self.canary_sample_min > self.canary_window:
            raise ValueError("canary_sample_min is more than canary_window")
        return self


class ProvenanceSettings(Section):
    """What contexts remember of values, and where they came from."""

    known: tuple[str, ...] = Field((), description="Values that the operator vouches for: addresses, URLs, accounts.")
    context_max_bytes: int = Field(
        1_048_576, ge=0, le=16_777_216, description="Requests and results that one context remembers."
    )
    total_max_bytes: int = Field(
        67_108_864, ge=1_048_576, description="The same of all contexts in memory; others are read again when used."
    )
    idle_seconds: float = Field(
        86_400.0, gt=0, le=2_592_000, description="A context that was not used for so long remembers no values."
    )


class KeySettings(Section):
    """The gateway's own keys."""

    master_key_file: Path | None = Field(
        None, description="File with the 32-byte master key in hex. Default: master.key in the home, made at first use."
    )
    token_lifetime_seconds: int = Field(60, ge=1, le=60, description="Life of a step credential.")
    jwks_lifetime_seconds: int = Field(300, ge=1, le=86_400, description="How long others may cache the JWKS.")


class JailSettings(Section):
    """The sandbox for hand processes."""

    bwrap: Path | None = Field(None, description="The bubblewrap program. Default: found on PATH.")
    uid: int = Field(65_532, ge=1000, le=2**31, description="Unprivileged uid for jails when the gateway is root.")
    gid: int = Field(65_532, ge=1000, le=2**31, description="Its group.")
    memory_budget_bytes: int = Field(
        40 * 2**30,
        ge=2**26,
        description="Where there is no cgroup: processes x address space of all jails stay under this. It bounds what "
        "they may map, not what they hold in memory, so it may exceed the machine's.",
    )


class TelemetrySettings(Section):
    """Logs, metrics and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Threshold of the log.")
    log_format: Literal["console", "json"] = Field("console", description="For people, or one JSON object a line.")
    traces: Literal["none", "console", "otlp"] = Field("none", description="Where OpenTelemetry spans go.")
    otlp_endpoint: str | None = Field(None, description="OTLP/HTTP endpoint (traces = otlp).")


class ActionSettings(Section):
    """What the operator says of one action. What is not said counts as the worst."""

    side_effects: SideEffects = Field(SideEffects.EXTERNAL, description="none, reversible, irreversible or external.")
    idempotent: bool = Field(False, description="Whether running it twice is the same as once.")
    cacheable: bool = Field(False, description="Whether an answer may be reused (part of the pin; none is reused yet).")
    args: dict[Pointer, ArgumentRole] = Field({}, description="JSON pointer into the args -> role.")
    data_subjects: tuple[Pointer, ...] = Field(
        (), description="JSON pointers that name people (part of the pin; not read yet)."
    )
    trust: Trust | None = Field(None, description="Trust of this action's results, where it differs from the hand's.")
    result_trust: dict[Pointer, Trust] = Field(
        {}, description="JSON pointer into {content, structured} -> trust of what is there, where it differs."
    )
    deadline_seconds: float = Field(30.0, gt=0, le=3600, description="Longest run of one call.")
    result_max_bytes: int = Field(1_048_576, ge=64, le=67_108_864, description="Largest result.")
    # http adapter: the declared request
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] | None = Field(None, description="http: method.")
    path: str | None = Field(None, pattern=r"^/", description="http: path with {name} for arguments.")
    description: str | None = Field(None, description="http: what the action does.")
    args_schema: dict[str, Any] | None = Field(None, description="http: JSON Schema 2020-12 of the args.")
    result_schema: dict[str, Any] | None = Field(None, description="http: JSON Schema 2020-12 of the result.")


class BindSettings(Section):
    """A directory that a jail sees."""

    source: Path = Field(description="Directory on the host.")
    target: str | None = Field(None, pattern=r"^/", description="Where the jail sees it. Default: the same path.")
    writable: bool = Field(False, description="Whether the hand may write there.")


class ControllerSettings(Section):
    """Who answers for the processing of personal data, for the record of processing activities (GDPR, article 30)."""

    name: str | None = Field(None, max_length=200, description="The controller.")
    contact: str | None = Field(None, max_length=200, description="How to reach it.")
    representative: str | None = Field(None, max_length=200, description="Its representative in the Union.")
    data_protection_officer: str | None = Field(None, max_length=200, description="Its data protection officer.")


class ProcessingSettings(Section):
    """What the operator says of a hand for the record of processing activities. No rule reads it, no pin holds it."""

    purposes: tuple[str, ...] = Field((), description="What the hand is used for.")
    legal_basis: str | None = Field(None, max_length=200, description="The legal ground of that.")
    data_categories: tuple[str, ...] = Field((), description="Categories of personal data that reach it.")
    subject_categories: tuple[str, ...] = Field((), description="Categories of people whom the data is about.")
    recipient: str | None = Field(None, max_length=200, description="Who operates the hand.")
    transfer_safeguard: str | None = Field(
        None, max_length=200, description="On what a transfer to another region rests."
    )
    retention: str | None = Field(None, max_length=200, description="How long the hand keeps what it is sent.")


class HandSettings(Section):
    """A hand: a tool server or API that plans may use once its manifest is pinned."""

    adapter: Identifier = Field(description="Which adapter speaks to it: mcp, http, or an installed third party's.")
    enabled: bool = Field(True, description="Whether the hand is loaded.")
    tenants: tuple[Tenant, ...] = Field(
        (DEFAULT_TENANT,), min_length=1, description="Whose operators may see and pin it; each tenant pins for itself."
    )
    region: str | None = Field(None, description="Where its data goes.")
    trust: Trust = Field(Trust.UNTRUSTED, description="Whether its results may vouch for values.")
    labels: tuple[str, ...] = Field((), description="Free words for policies.")
    processing: ProcessingSettings = Field(
        ProcessingSettings(), description="For the record of processing activities; see below."
    )
    actions: dict[str, ActionSettings] = Field({}, description="The operator's word on each action.")
    command: tuple[str, ...] | None = Field(None, description="mcp: program and arguments of the stdio server.")
    binds: tuple[BindSettings, ...] = Field((), description="mcp: directories the jail may see.")
    jail_profile: Identifier = Field("default", description="mcp: jail profile.")
    idle_seconds: float = Field(300.0, gt=0, description="mcp: a warm process is stopped after this idle time.")
    base_url: str | None = Field(None, pattern=r"^https?://", description="http: scheme, host and port.")
    private_network: bool = Field(False, description="http: whether the host may be a private or loopback address.")
    options: dict[str, Any] = Field({}, description="Settings of a third party's adapter, which checks them itself.")

    @model_validator(mode="after")
    def _adapter_needs(self) -> "HandSettings":
        if self.adapter == "mcp" and not self.command:
            raise ValueError("adapter = 'mcp' needs command = [...]")
        if self.adapter == "http":
            if not self.base_url:
                raise ValueError("adapter = 'http' needs base_url")
            for name, action in self.actions.items():
                if action.method is None or action.path is None or action.args_schema is None:
                    raise ValueError(f"actions.{name} needs method, path and args_schema")
        return self


class Settings(BaseSettings):
    """Everything a gateway is told at start."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="HANDRAIL_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    home: Path = Field(Path("./.handrail"), description="Directory of state: database, keys, staging.")
    server: ServerSettings = ServerSettings()
    console: ConsoleSettings = ConsoleSettings()
    plans: PlanSettings = PlanSettings()
    database: DatabaseSettings = DatabaseSettings()
    log: LogSettings = LogSettings()
    policy: PolicySettings = PolicySettings()
    provenance: ProvenanceSettings = ProvenanceSettings()
    proposals: ProposalSettings = ProposalSettings()
    rollout: RolloutSettings = RolloutSettings()
    keys: KeySettings = KeySettings()
    jail: JailSettings = JailSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    controller: ControllerSettings = ControllerSettings()
    webhooks: dict[Identifier, WebhookSettings] = Field({}, description="The webhooks, by name.")
    hands: dict[Identifier, HandSettings] = Field({}, description="The hands, by id.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file's values; no dotenv, no secrets directory."""
        return (EnvSettingsSource(settings_cls), init_settings)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database.url or f"sqlite:///{(self.home / 'handrail.db').absolute()}"

    @property
    def public_url(self) -> str:
        """The base URL for links, without a trailing slash."""
        return (self.server.public_url or f"http://{self.server.host}:{self.server.port}").rstrip("/")


# Variables that steer clients of the gateway, not the gateway itself.
CLIENT_VARIABLES = frozenset({"HANDRAIL_URL", "HANDRAIL_API_KEY", "HANDRAIL_CONFIG", "HANDRAIL_MASTER_KEY"})


def load(path: Path | None = None) -> Settings:
    """Settings from ``path`` (default: ``HANDRAIL_CONFIG``, then ``./handrail.toml`` if it exists) and the environment.

    Raises:
        SettingsError: naming the file and each wrong key.
    """
    chosen = path or _from_environment() or (Path("handrail.toml") if Path("handrail.toml").exists() else None)
    values: dict[str, Any] = {}
    if chosen is not None:
        try:
            values = tomllib.loads(chosen.read_text(encoding="utf-8"))
        except OSError as exc:
            raise SettingsError(f"{chosen}: {exc.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise SettingsError(f"{chosen}: {exc}") from None
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in exc.errors()
        )
        raise SettingsError(f"{chosen or 'environment'}: {problems}") from None


def _from_environment() -> Path | None:
    value = os.environ.get("HANDRAIL_CONFIG")
    return Path(value) if value else None


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores a mistyped top-level variable; a mistyped safety setting must not pass unseen."""
    for name in os.environ:
        if name.startswith("HANDRAIL_") and name not in CLIENT_VARIABLES:
            section = name.removeprefix("HANDRAIL_").split("__")[0].lower()
            if section not in Settings.model_fields:
                raise SettingsError(f"environment: {name} is not a setting")
