"""The hands, the operator's word on each of their actions, and the jail that they run in."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from gateway.manifest import ArgumentRole, SideEffects, Trust
from gateway.model import DEFAULT_TENANT
from gateway.settings.base import Identifier, Pointer, Section, Tenant
from gateway.settings.code_hands import CodeActionSettings, PythonSettings, WasmSettings
from gateway.settings.secrets import HandSecretSettings

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
_SECRET_WORDS: Final = frozenset(
    {"secret", "secrets", "token", "password", "passwd", "passphrase", "pass", "pat", "credential", "credentials",
     "key", "apikey", "auth", "bearer", "cookie", "dsn"}
)  # fmt: skip
_SECRET_VALUE: Final = re.compile(
    r"-----BEGIN |eyJ[\w-]{8,}\.|(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|npm_|AKIA)[\w-]{8,}|://[^/\s:@]+:[^/\s@]+@"
)


def holds_a_secret(name: str, value: str) -> bool:
    """Whether a variable looks like one that holds a secret: a word of its name says so, or its value has the form."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return not _SECRET_WORDS.isdisjoint(words) or _SECRET_VALUE.search(value) is not None


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


RUNS_CODE: Final = frozenset({"mcp", "process", "python", "wasm"})
"""Built-in adapters whose hands run in a jail here."""


class ActionSettings(CodeActionSettings):
    """What the operator says of one action. What is not said counts as the worst."""

    side_effects: SideEffects = Field(SideEffects.EXTERNAL, description="none, reversible, irreversible or external.")
    idempotent: bool = Field(False, description="Whether running it twice is the same as once.")
    cacheable: bool = Field(False, description="Whether an answer may be reused (part of the pin; none is reused yet).")
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
    # What a tool does not say itself
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] | None = Field(None, description="http: method.")
    path: str | None = Field(None, pattern=r"^/", description="http: path with {name} for arguments.")
    description: str | None = Field(None, description="All but mcp: what the action does.")
    args_schema: dict[str, Any] | None = Field(None, description="All but mcp: JSON Schema 2020-12 of the args.")
    result_schema: dict[str, Any] | None = Field(None, description="All but mcp: JSON Schema 2020-12 of the result.")


class BindSettings(Section):
    """A directory that a jail sees."""

    source: Path = Field(description="Directory on the host.")
    target: str | None = Field(None, pattern=r"^/", description="Where the jail sees it. Default: the same path.")
    writable: bool = Field(False, description="Whether the hand may write there.")


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
        description="Which adapter speaks to it: mcp, http, remote, process, python, wasm, or a third party's."
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
    binds: tuple[BindSettings, ...] = Field((), description="mcp, process, python: directories the jail may see.")
    jail_profile: Identifier = Field("default", description="mcp, process, python, wasm: jail profile.")
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
    base_url: str | None = Field(None, pattern=r"^https?://", description="http: scheme, host and port.")
    private_network: bool = Field(False, description="http: whether the host may be a private or loopback address.")
    claim_seconds: float = Field(
        300.0, gt=0, le=86_400, description="remote: how long a step waits for the hand to claim it; then it fails."
    )
    queue_max: int = Field(
        10_000, ge=1, le=1_000_000, description="remote: steps that may wait to be claimed; one too many fails at once."
    )
    secrets: dict[Identifier, HandSecretSettings] = Field({}, description="Secrets that it names; see below.")
    options: dict[str, Any] = Field({}, description="Settings of a third party's adapter, which checks them itself.")

    @property
    def runs_code(self) -> bool:
        """Whether it needs the jail: its adapter runs code here. Of a third party's adapter that is not known here."""
        return self.adapter in RUNS_CODE

    @model_validator(mode="after")
    def _holds_no_secret(self) -> "HandSettings":
        for name, value in self.env.items():
            if holds_a_secret(name, value):
                raise ValueError(f"env.{name} looks like a secret, and no secret enters a jail")
            if "\0" in value:
                raise ValueError(f"env.{name} has a NUL character")
        return self

    @model_validator(mode="after")
    def _adapter_needs(self) -> "HandSettings":
        if self.adapter == "mcp" and not self.command:
            raise ValueError("adapter = 'mcp' needs command = [...]")
        if self.runs_code and self.secrets:
            raise ValueError(f"adapter = '{self.adapter}' takes no secrets: no secret enters the jail that it runs in")
        if self.adapter == "http":
            if not self.base_url:
                raise ValueError("adapter = 'http' needs base_url")
            for name, action in self.actions.items():
                if action.method is None or action.path is None or action.args_schema is None:
                    raise ValueError(f"actions.{name} needs method, path and args_schema")
        if self.adapter in {"remote", "process", "wasm"}:
            for name, action in self.actions.items():
                if action.args_schema is None:
                    raise ValueError(f"actions.{name} needs args_schema")
        return self

    @model_validator(mode="after")
    def _code_needs(self) -> "HandSettings":
        for kind, told in (("python", self.python), ("wasm", self.wasm)):
            if (self.adapter == kind) is (told is None):
                raise ValueError(f"adapter = '{kind}' and the table {kind} go together")
        if self.adapter in {"python", "process", "wasm"} and not self.actions:
            raise ValueError(f"adapter = '{self.adapter}' needs actions")
        return self
