"""What decides: the engine and its bundle, how a new one comes in, and what rules know of the past."""

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gateway.settings.base import Identifier, Section

_REF: Final = r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$"


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
    deadline_milliseconds: int = Field(
        250,
        ge=10,
        le=2000,
        description="An evaluation is killed and denied after it, or after as long again for each MiB of its input.",
    )
    input_max_bytes: int = Field(4_194_304, ge=1024, le=16_777_216, description="Largest policy input.")
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
    """Changes that take two people, or more."""

    ttl_seconds: int = Field(259_200, ge=60, le=1_209_600, description="How long a proposal waits for a second person.")
    principals_threshold: int = Field(
        2,
        ge=2,
        le=16,
        description="Security admins who have to sign a change of who decides; all, where there are fewer.",
    )
    issuers_threshold: int = Field(2, ge=2, le=16, description="The same for a change of whose plans are believed.")


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
