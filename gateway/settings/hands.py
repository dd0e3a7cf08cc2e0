"""The hands, and the operator's word on each of their actions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from gateway.manifest import DEFAULT_PROFILE, HOST, ArgumentRole, Oversize, SideEffects, Trust
from gateway.model import DEFAULT_TENANT
from gateway.reach import SecretPlace
from gateway.settings import client_hands, mcp_servers
from gateway.settings.base import Identifier, PathPattern, Pointer, Section, Tenant
from gateway.settings.code_hands import CodeActionSettings, PythonSettings, WasmSettings
from gateway.settings.hand_databases import HandDatabaseSettings
from gateway.settings.mail import MailSettings
from gateway.settings.mcp_clients import McpClientSettings
from gateway.settings.models import ModelSettings
from gateway.settings.objectives import SloSettings
from gateway.settings.resilience import ResilienceSettings
from gateway.settings.results import ActionResultSettings
from gateway.settings.secrets import HandSecretSettings
from gateway.settings.variables import VariableName, holds_a_secret


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The texts in a value, each with its place."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for member, one in value.items():
            yield from _texts(one, f"{name}.{member}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one, name)


class PaginationSettings(Section):
    """How an answer goes on: a GET without side effects is asked for page after page, as one call."""

    by: Literal["link", "cursor", "page", "offset"] = Field(
        description="link: the Link header names the next page. cursor: a value in the answer. page, offset: counted."
    )
    parameter: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.$\[\]-]{1,64}$",
        description="cursor, page, offset: the query parameter that takes it.",
    )
    cursor: Pointer | None = Field(None, description="cursor: JSON pointer into the answer; null or absent at the end.")
    items: Pointer | None = Field(
        None, description="page, offset: JSON pointer to the list in the answer; an empty list is the end."
    )
    first: int = Field(1, ge=0, le=1, description="page: the number of the first page.")
    pages_max: int = Field(10, ge=1, le=100, description="Most pages of one call.")

    @model_validator(mode="after")
    def _complete(self) -> "PaginationSettings":
        counted = self.by in {"page", "offset"}
        if (self.by != "link") != (self.parameter is not None):
            raise ValueError("by = 'cursor', 'page' and 'offset' need parameter, and 'link' takes none")
        if (self.by == "cursor") != (self.cursor is not None):
            raise ValueError("by = 'cursor' needs cursor, and no other takes one")
        if counted != (self.items is not None):
            raise ValueError("by = 'page' and 'offset' need items, and no other takes them")
        return self


RUNS_CODE: Final = frozenset({"mcp", "process", "python", "wasm"})
"""Built-in adapters whose hands run in a jail here."""
_TRUNCATES: Final = frozenset({"http", "mcp", "process"})
"""Adapters that can stop reading at a limit and give what they read."""


class ActionSettings(CodeActionSettings):
    """What the operator says of one action. What is not said counts as the worst."""

    side_effects: SideEffects = Field(SideEffects.EXTERNAL, description="none, reversible, irreversible or external.")
    idempotent: bool = Field(False, description="Whether running it twice is the same as once.")
    cacheable: bool = Field(False, description="Whether an answer may be given again to the same principal.")
    cache_seconds: float = Field(60.0, gt=0, le=3600, description="cacheable: for how long.")
    args: dict[Pointer, ArgumentRole] = Field({}, description="JSON pointer into the args -> role.")
    data_subjects: tuple[Pointer, ...] = Field(
        (),
        description="JSON pointers into the args or {content, structured} that name the people whom a call concerns.",
    )
    trust: Trust | None = Field(None, description="Trust of this action's results, where it differs from the hand's.")
    result_trust: dict[Pointer, Trust] = Field(
        {}, description="JSON pointer into {content, structured} -> trust of what is there, where it differs."
    )
    deadline_seconds: float = Field(30.0, gt=0, le=3600, description="Longest run of one call.")
    result_max_bytes: int = Field(1_048_576, ge=64, le=67_108_864, description="Largest result.")
    results: ActionResultSettings = Field(ActionResultSettings(), description="What becomes of its results; see below.")
    # What a tool does not say itself
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] | None = Field(
        None, description="http: method. A webhook's is POST."
    )
    path: str | None = Field(
        None, pattern=r"^/", description="http: path with {name} for arguments. webhook: path, without any."
    )
    statement: str | None = Field(
        None, max_length=16_384, description="sql: the statement that the action runs, with :NAME for arguments."
    )
    description: str | None = Field(None, description="All but mcp: what the action does.")
    args_schema: dict[str, Any] | None = Field(None, description="All but mcp: JSON Schema 2020-12 of the args.")
    result_schema: dict[str, Any] | None = Field(None, description="All but mcp: JSON Schema 2020-12 of the result.")
    pagination: PaginationSettings | None = Field(None, description="http: how answers go on.")

    @model_validator(mode="after")
    def _cacheable_has_no_effects(self) -> "ActionSettings":
        if self.cacheable and self.side_effects is not SideEffects.NONE:
            raise ValueError("cacheable needs side_effects = 'none': an answer from before has none")
        if not self.cacheable and "cache_seconds" in self.model_fields_set:
            raise ValueError("cache_seconds goes with cacheable = true")
        return self


class BindSettings(Section):
    """A directory that a jail sees."""

    source: Path = Field(description="Directory on the host.")
    target: str | None = Field(None, pattern=r"^/", description="Where the jail sees it. Default: the same path.")
    writable: bool = Field(False, description="Whether the hand may write there.")


class EgressSettings(Section):
    """Where a hand's jail may send requests, and which. It reaches nothing that is not named."""

    host: str = Field(pattern=rf"^(?:{HOST.pattern})$", description="Name or address literal, in lower case.")
    scheme: Literal["https", "http"] = Field("https", description="What the host is spoken to in.")
    port: int | None = Field(None, ge=1, le=65_535, description="Its port. Default: the scheme's.")
    methods: tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], ...] = Field(
        ("GET", "HEAD"), min_length=1, description="Which requests are let through."
    )
    paths: tuple[PathPattern, ...] = Field(
        (), max_length=256, description="Which paths are: `*` is one segment, `**` at the end whatever follows."
    )
    blind: bool = Field(
        False,
        description="The hand speaks TLS with the host itself. Nothing of its requests is seen, so methods and paths "
        "cannot be named, and no secret goes there.",
    )
    credential: bool = Field(
        False, description="The host checks step credentials: each request carries one, and a proof."
    )
    private_network: bool = Field(False, description="Whether it may be at a private or loopback address.")
    ca_file: Path | None = Field(None, description="Authorities (PEM) of its certificate. Default: the system's.")

    @model_validator(mode="after")
    def _complete(self) -> "EgressSettings":
        if self.blind:
            if self.paths or self.credential or self.scheme != "https" or "methods" in self.model_fields_set:
                raise ValueError("blind takes https alone, and no methods, paths or credential: nothing of it is seen")
            if self.host.replace(".", "").isdecimal() or ":" in self.host:
                raise ValueError("blind needs a name: an address stands in no TLS greeting that could be compared")
        elif not self.paths:
            raise ValueError("paths: name them ('/**' is all)")
        if self.scheme == "http" and not self.private_network:
            raise ValueError("plain http needs private_network = true; use https")
        if any(segment in {".", ".."} for path in self.paths for segment in path.split("/")):
            raise ValueError("paths: no segment is . or ..")
        if any("//" in path for path in self.paths):
            raise ValueError("paths: no segment is empty")
        return self


class EgressLimits(Section):
    """What one step may send and receive through its jail's way out."""

    requests: int = Field(100, ge=1, le=100_000, description="Requests and blind connections of one step.")
    requests_per_second: float = Field(20.0, gt=0, le=10_000, description="How fast, after as many at once.")
    connections: int = Field(16, ge=1, le=64, description="Connections that the jail may hold at once.")
    sent_bytes: int = Field(1_048_576, ge=0, le=2**40, description="Bodies, and blind bytes, that leave in one step.")
    received_bytes: int = Field(16_777_216, ge=0, le=2**40, description="The same that come in.")
    searched_bytes: int = Field(
        4_194_304, ge=1024, le=67_108_864, description="Longest answer that a hand with secrets may be given."
    )


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

    adapter: Identifier = Field(
        description="Which adapter speaks to it: mcp, http, sql, mail, webhook, anthropic, remote, client, process, "
        "python, wasm, or one of a third party."
    )
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
    url: str | None = Field(
        None, pattern=r"^https?://", max_length=2048, description="mcp: endpoint of a server that is reached over HTTP."
    )
    listing: Path | None = Field(
        None,
        description="mcp: file with what the server at url offers, as `handrail hands listing` writes it. Needed where "
        "the hand has secrets: the server is sent none before the pin.",
    )
    mcp: McpClientSettings = Field(
        McpClientSettings(), description="mcp: what the server may send to clients while a call runs; see below."
    )
    binds: tuple[BindSettings, ...] = Field((), description="mcp, process, python: directories the jail may see.")
    jail_profile: Identifier = Field(
        DEFAULT_PROFILE, description="mcp, process, python, wasm: jail profile; default, strict or build."
    )
    env: dict[VariableName, str] = Field(
        {},
        description="mcp, process, python: variables of its environment. No secret may enter a jail, so none that "
        "looks like one.",
    )
    idle_seconds: float = Field(
        300.0, gt=0, description="mcp, python, wasm: a warm process is stopped after this idle time."
    )
    scratch_max_bytes: int = Field(
        16_777_216,
        ge=4096,
        le=1_073_741_824,
        description="process: size of the scratch directory of one call, where an action declares files.",
    )
    python: PythonSettings | None = Field(None, description="python: what to run; see below.")
    wasm: WasmSettings | None = Field(None, description="wasm: what to run; see below.")
    base_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="http, webhook, anthropic: scheme, host, port, and how every path begins.",
    )
    openapi: Path | None = Field(None, description="http: file with an OpenAPI 3.0, 3.1 or 3.2 document, JSON or YAML.")
    operations: tuple[str, ...] = Field(
        (),
        description="http: which operations of the document are offered: operationIds, tag:NAME, or METHOD /path with "
        "* for a segment and ** for anything.",
    )
    private_network: bool = Field(
        False,
        description="http, mcp with url, sql, mail, webhook, anthropic: whether the host may be a private or loopback "
        "address.",
    )
    database: HandDatabaseSettings | None = Field(None, description="sql: the database; see below.")
    mail: MailSettings | None = Field(None, description="mail: the server, and whom it may write to; see below.")
    model: ModelSettings | None = Field(None, description="anthropic: what the provider may do itself; see below.")
    claim_seconds: float = Field(
        300.0, gt=0, le=86_400, description="remote: how long a step waits for the hand to claim it; then it fails."
    )
    queue_max: int = Field(
        10_000, ge=1, le=1_000_000, description="remote: steps that may wait to be claimed; one too many fails at once."
    )
    slo: SloSettings | None = Field(None, description="What is expected of it; see below.")
    secrets: dict[Identifier, HandSecretSettings] = Field({}, description="Secrets that it names; see below.")
    egress: tuple[EgressSettings, ...] = Field(
        (),
        max_length=64,
        description="mcp, process, python: what its jail may reach; nothing where it is empty; see below.",
    )
    egress_limits: EgressLimits = Field(
        EgressLimits(), description="mcp, process, python: how much of it in one step; see below."
    )
    resilience: ResilienceSettings = Field(
        ResilienceSettings(), description="All but remote: how calls are retried, limited and withheld; see below."
    )
    options: dict[str, Any] = Field({}, description="Settings of a third party's adapter, which checks them itself.")

    @property
    def runs_code(self) -> bool:
        """Whether it needs the jail: its adapter runs code here. Of a third party's adapter that is not known here."""
        return self.adapter in RUNS_CODE and self.url is None

    @property
    def password_origin(self) -> str | None:
        """``scheme://host:port`` of the one server that a password goes to."""
        server = self.database or self.mail
        return None if server is None else server.origin

    @model_validator(mode="after")
    def _holds_no_secret(self) -> "HandSettings":
        for name, value in self.env.items():
            if holds_a_secret(name, value):
                raise ValueError(f"env.{name} looks like a secret, and no secret enters a jail")
            if "\0" in value:
                raise ValueError(f"env.{name} has a NUL character")
        for name, text in _texts(self.options, "options"):
            if holds_a_secret(name.rpartition(".")[2], text):
                raise ValueError(f"{name} looks like a secret, and what is pinned is shown: name it under secrets")
        return self

    @model_validator(mode="after")
    def _adapter_needs(self) -> "HandSettings":
        if self.adapter == "remote" and any(action.cacheable for action in self.actions.values()):
            raise ValueError("adapter = 'remote' takes no cacheable actions: each step is the hand's to claim")
        if self.adapter == "mcp":
            mcp_servers.check(
                command=self.command,
                url=self.url,
                listing=self.listing,
                secrets=self.secrets,
                jailed={"binds": self.binds, "env": self.env, "egress": self.egress},
            )
        elif self.url is not None or self.listing is not None or "mcp" in self.model_fields_set:
            raise ValueError(f"adapter = {self.adapter!r} takes no url, listing or mcp")
        if self.adapter == "http":
            self._http_needs()
        elif self.openapi is not None or self.operations:
            raise ValueError(f"adapter = {self.adapter!r} takes neither openapi nor operations")
        elif any(action.pagination is not None for action in self.actions.values()):
            raise ValueError(f"adapter = {self.adapter!r} takes no pagination")
        if (self.adapter == "sql") != (self.database is not None):
            raise ValueError("adapter = 'sql' needs database, and no other adapter takes one")
        if (self.adapter == "mail") != (self.mail is not None):
            raise ValueError("adapter = 'mail' and the table mail go together")
        if self.adapter in {"remote", "process", "wasm"}:
            for name, action in self.actions.items():
                if action.args_schema is None:
                    raise ValueError(f"actions.{name} needs args_schema")
        return self

    @model_validator(mode="after")
    def _client_keeps(self) -> "HandSettings":
        if self.adapter == "client":
            client_hands.check(self.actions)
        return self

    @model_validator(mode="after")
    def _can_truncate(self) -> "HandSettings":
        for name, action in self.actions.items():
            if action.results.oversize is not Oversize.TRUNCATE:
                continue
            if self.adapter not in _TRUNCATES:
                raise ValueError(f"actions.{name}.results: adapter = {self.adapter!r} cannot truncate")
            if action.pagination is not None:
                raise ValueError(f"actions.{name}.results: pages are JSON, which is never truncated")
            if self.adapter == "process" and (action.stdout != "text" or action.output_files):
                raise ValueError(f"actions.{name}.results: only text on standard output is truncated, and no files")
        return self

    @model_validator(mode="after")
    def _secrets_have_a_way(self) -> "HandSettings":
        if self.runs_code and self.secrets and not self.egress:
            raise ValueError(
                f"adapter = '{self.adapter}' takes secrets for what egress names alone: no secret enters the jail that "
                "it runs in"
            )
        if self.adapter in {"anthropic", "client", "http", "mail", "remote", "sql", "wasm", "webhook"} and self.egress:
            raise ValueError(f"adapter = '{self.adapter}' speaks with no host from a jail here, and takes no egress")
        passwords = self.adapter in {"sql", "mail"}
        if any((one.place is SecretPlace.PASSWORD) != passwords for one in self.secrets.values()):
            raise ValueError("a secret of adapter = 'sql' or 'mail' has place = 'password', and no other hand's has")
        signatures = sum(one.place is SecretPlace.SIGNATURE for one in self.secrets.values())
        if signatures != (self.adapter == "webhook"):
            raise ValueError("adapter = 'webhook' has one secret with place = 'signature', and no other hand has one")
        return self

    def _http_needs(self) -> None:
        if not self.base_url:
            raise ValueError("adapter = 'http' needs base_url")
        if (self.openapi is not None) != bool(self.operations):
            raise ValueError("openapi and operations = [...] go together: nothing is offered that is not listed")
        for name, action in self.actions.items():
            said = [action.method is not None, action.path is not None, action.args_schema is not None]
            if not all(said) and (any(said) or self.openapi is None):
                raise ValueError(f"actions.{name} needs method, path and args_schema")

    @model_validator(mode="after")
    def _code_needs(self) -> "HandSettings":
        for kind, told in (("python", self.python), ("wasm", self.wasm)):
            if (self.adapter == kind) is (told is None):
                raise ValueError(f"adapter = '{kind}' and the table {kind} go together")
        if self.model is not None and self.adapter != "anthropic":
            raise ValueError("the table model goes with adapter = 'anthropic'")
        if self.adapter in {"python", "process", "wasm"} and not self.actions:
            raise ValueError(f"adapter = '{self.adapter}' needs actions")
        return self
