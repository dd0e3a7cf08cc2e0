"""Write docs/configuration.md from gateway.settings, so that the reference cannot drift from the code."""

import json
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.settings import (
    ActionResultSettings,
    ActionSettings,
    AwsKmsSettings,
    BindSettings,
    BrainSettings,
    ConnectionSettings,
    EgressLimits,
    EgressSettings,
    EnvironmentSettings,
    HandDatabaseSettings,
    HandSecretSettings,
    HandSettings,
    IdentitySettings,
    LoginSettings,
    MailSettings,
    ManagedAgentsSettings,
    McpClientSettings,
    ModelSettings,
    OutputFileSettings,
    PaginationSettings,
    Pkcs11Settings,
    PresidioSettings,
    PriceSettings,
    ProcessingSettings,
    PythonSettings,
    RecogniserSettings,
    RemoteSettings,
    ResilienceSettings,
    ResultSettings,
    SecretStoreSettings,
    Section,
    Settings,
    SloSettings,
    TlsSettings,
    TransitSettings,
    WasmSettings,
    WebhookSettings,
    WitnessSettings,
)

TARGET = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from gateway/settings; do not edit. -->

Handrail reads one TOML file and the environment into one frozen settings object, checks it at start and refuses keys
it does not know. The file is the one given with `--config`, else the one `HANDRAIL_CONFIG` names, else
`./handrail.toml` where it exists; with none of them every setting has its default. `handrail config example` prints a
commented file to start from, and `handrail config check` checks yours.

A variable wins over the file: its name is `HANDRAIL_`, the table, two underscores and the key, in capitals, so
`HANDRAIL_SERVER__PORT=8081` sets `port` in `[server]`. Units are in the names. What is a path may be relative to the
working directory.

Eight variables are no settings: `HANDRAIL_CONFIG` (above), `HANDRAIL_MASTER_KEY` (the master key itself, 64 hex
digits, instead of a file), `HANDRAIL_MASTER_KEY_PREVIOUS` (the one before: see
[key stores](key-stores.md#a-new-master-key)), and `HANDRAIL_URL`, `HANDRAIL_API_KEY`, `HANDRAIL_CA_FILE`,
`HANDRAIL_CLIENT_CERT` and `HANDRAIL_CLIENT_KEY` (for the commands that talk to a gateway). Any other `HANDRAIL_`
variable that is not a setting stops the start: a mistyped safety setting must not pass unseen.
"""

TLS = """\
## [server.tls]

TLS of the listener: see [TLS](tls.md).
"""

REMOTE = """\
## [policy.remote]

A Git repository that signed bundles are pulled from: see [policies](policies.md#from-a-git-remote). Needs `source =
"signed"`. Pulling activates nothing: two people do.
"""

WITNESSES = """\
## [log.witnesses.NAME]

A witness that cosigns the log's checkpoints: see [evidence](evidence.md#witnesses).
"""

PKCS11 = """\
## [keys.pkcs11]

A PKCS#11 token in which private keys are made and stay: see [key stores](key-stores.md#pkcs11). Needs the extra
`pkcs11`.
"""

TRANSIT = """\
## [keys.transit]

A Transit engine in which private keys are made and stay, or whose key wraps the data root: see
[key stores](key-stores.md#transit). Needs no extra.
"""

AWS_KMS = """\
## [keys.aws_kms]

AWS KMS, for the same two uses: see [key stores](key-stores.md#aws-kms). Needs the extra `aws`; credentials are found as
the AWS tools find them.
"""

IDENTITY = """\
## [identity.NAME]

An issuer of access tokens that callers may send: see [identity](identity.md).
"""

LOGIN = """\
## [identity.NAME.login]

How people log in to the pages at that issuer: see [identity](identity.md#people-log-in-to-the-pages).
"""

BRAINS = """\
## [brains.ID]

A model that runs may be put to: see [runs](runs.md#brains). `ID` is a lower-case name.
"""

PRICES = """\
## [brains.ID.prices]

What a brain's answers cost: see [runs](runs.md#what-it-costs).
"""

MANAGED_AGENTS = """\
## [managed_agents.NAME]

A workspace at Anthropic whose agents are governed here: see [Claude Managed Agents](managed-agents.md).
"""

ENVIRONMENT = """\
## [managed_agents.NAME.environment]

A self-hosted environment whose work this gateway takes: see
[self-hosted environments](managed-agents.md#self-hosted-environments).
"""

WEBHOOKS = """\
## [webhooks.NAME]

A receiver that is told of approval requests: see [approvals](approvals.md#webhooks).
"""

HANDS = """\
## [hands.ID]

A hand is a tool server or an API. `ID` is a lower-case name that plans use. A hand is used only after somebody has
pinned its manifest (`handrail hands pin`): see [concepts](concepts.md).
"""

ACTIONS = """\
## [hands.ID.actions.NAME]

What the operator says of one action. For `adapter = "mcp"` the server names its actions and their schemas; for
all others the request, statement, command line, function or export is declared here, or an OpenAPI document has it: see
[hands](hands.md). What is not said counts as the worst: side effects `external`, not idempotent, not cacheable,
untrusted.
"""

PAGINATION = """\
## [hands.ID.actions.NAME.pagination]

How the answers of an `http` hand go on: see [hands](http.md#answers-in-pages).
"""

BINDS = """\
## [[hands.ID.binds]]

Directories that the jail of a hand may see, beside the programs it needs. Everything else of the host is absent.
"""

EGRESS = """\
## [[hands.ID.egress]]

Where the jail of a hand may send requests, and which: see [what a jail may reach](egress.md). What is not named is
refused. It is part of the manifest, so a change of it has to be pinned.
"""

RESILIENCE = """\
## [hands.ID.resilience]

How calls of the hand are tried again, limited, and withheld while it fails: see [resilience](resilience.md). It is not
pinned.
"""

EGRESS_LIMITS = """\
## [hands.ID.egress_limits]

How much of that one step may use. It is not pinned.
"""

RECOGNISERS = """\
## [results.recognisers.NAME]

A kind of personal data beside the built-in ones: see [results](results.md#your-own-kinds).
"""

PRESIDIO = """\
## [results.presidio]

Microsoft Presidio beside the gateway's own recognisers: see [results](results.md#presidio).
"""

ACTION_RESULTS = """\
## [hands.ID.actions.NAME.results]

What becomes of the results of the action: see [results](results.md). It is part of the manifest where it is not the
default, so a change of it has to be pinned.
"""

SECRET_STORES = """\
## [secrets.stores.NAME]

A store of secrets outside of the database: see [secrets](secrets.md#stores). What is of another kind is left out.
"""

DATABASE = """\
## [hands.ID.database]

The database of a hand with `adapter = "sql"`: see [databases](sql.md). All of it is pinned.
"""

MAIL = """\
## [hands.ID.mail]

The server of a hand with `adapter = "mail"`, and whom it may write to: see [mail](mail.md). All of it but `ca_file` and
`connections_max` is pinned.
"""

MODEL = """\
## [hands.ID.model]

What the provider of a model may do itself, for a hand of `adapter = "anthropic"`: see
[hands](hands.md#models-adapter--anthropic). All of it is pinned.
"""

CONNECTIONS = """\
## [connections.ID]

A service at which people let the gateway act for them: see [connections](connections.md). Lower-case letters, digits,
`-` and `_` make an id.
"""

HAND_SECRETS = """\
## [hands.ID.secrets.NAME]

A secret that the gateway puts into the hand's requests: see [secrets](secrets.md). It is part of the manifest, so a
change of it has to be pinned. For `adapter = "http"`, `"sql"`, `"mail"`, `"webhook"` and `"anthropic"`, for what the
jail of a hand may reach, and for third parties' adapters that ask for it.
"""

MCP = """\
## [hands.ID.mcp]

What an MCP server may send to the client that waits for a call: see
[what a server says while a call runs](mcp-servers.md#what-a-server-says-while-a-call-runs).
"""

SLO = """\
## [hands.ID.slo]

What is expected of the hand, part of its pin: see [objectives of hands](slo.md).
"""

PYTHON = """\
## [hands.ID.python]

What a hand of `adapter = "python"` runs: see [hands](code-hands.md#python-functions-adapter--python).
"""

WASM = """\
## [hands.ID.wasm]

What a hand of `adapter = "wasm"` runs: see [hands](code-hands.md#webassembly-modules-adapter--wasm). Needs the extra
`wasm`.
"""

OUTPUT_FILES = """\
## [hands.ID.actions.NAME.output_files.FILE]

A file that a program of `adapter = "process"` leaves in its scratch directory.
"""

PROCESSING = """\
## [hands.ID.processing]

What the operator says of the hand for the record of processing activities (`handrail controls processing-record`): see
[controls](controls.md#record-of-processing-activities). No rule reads it, and none of it is pinned.
"""


NAMED = {"brains", "connections", "hands", "identity", "managed_agents", "webhooks"}
"""Tables of tables, each of which has a section of its own."""


def document() -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        "## Top level\n",
        _table(Settings, "", skip=_sections(Settings) | NAMED),
    ]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if section is ResultSettings:
            parts += [RECOGNISERS, _table(RecogniserSettings, None), PRESIDIO, _table(PresidioSettings, None)]
        elif isinstance(section, type) and issubclass(section, Section):
            variables = f"HANDRAIL_{name.upper()}__"
            inner = {"remote", "witnesses", "pkcs11", "transit", "aws_kms", "tls", "stores"}
            parts += [f"## [{name}]\n", f"{_doc(section)}\n", _table(section, variables, skip=inner)]
            if "tls" in section.model_fields:
                parts += [TLS, _table(TlsSettings, f"{variables}TLS__")]
            if "remote" in section.model_fields:
                parts += [REMOTE, _table(RemoteSettings, f"{variables}REMOTE__")]
            if "pkcs11" in section.model_fields:
                parts += [PKCS11, _table(Pkcs11Settings, f"{variables}PKCS11__")]
                parts += [TRANSIT, _table(TransitSettings, f"{variables}TRANSIT__")]
                parts += [AWS_KMS, _table(AwsKmsSettings, f"{variables}AWS_KMS__")]
            if "stores" in section.model_fields:
                parts += [SECRET_STORES, _table(SecretStoreSettings, None)]
            if "witnesses" in section.model_fields:
                parts += [WITNESSES, _table(WitnessSettings, None)]
    parts += [IDENTITY, _table(IdentitySettings, None), LOGIN, _table(LoginSettings, None)]
    parts += [CONNECTIONS, _table(ConnectionSettings, None)]
    parts += [WEBHOOKS, _table(WebhookSettings, None)]
    parts += [BRAINS, _table(BrainSettings, None, skip={"prices"}), PRICES, _table(PriceSettings, None)]
    parts += [MANAGED_AGENTS, _table(ManagedAgentsSettings, None, skip={"environment"})]
    parts += [ENVIRONMENT, _table(EnvironmentSettings, None)]
    tables = {"actions", "binds", "database", "egress", "mail", "mcp", "model", "python", "secrets", "slo", "wasm"}
    parts += [HANDS, _table(HandSettings, None, skip=_sections(HandSettings) | tables)]
    parts += [ACTIONS, _table(ActionSettings, None, skip={"output_files", "pagination", "results"})]
    parts += [ACTION_RESULTS, _table(ActionResultSettings, None)]
    parts += [PAGINATION, _table(PaginationSettings, None)]
    parts += [OUTPUT_FILES, _table(OutputFileSettings, None)]
    parts += [PYTHON, _table(PythonSettings, None), WASM, _table(WasmSettings, None)]
    parts += [BINDS, _table(BindSettings, None)]
    parts += [EGRESS, _table(EgressSettings, None)]
    parts += [EGRESS_LIMITS, _table(EgressLimits, None)]
    parts += [RESILIENCE, _table(ResilienceSettings, None)]
    parts += [DATABASE, _table(HandDatabaseSettings, None)]
    parts += [MAIL, _table(MailSettings, None)]
    parts += [MODEL, _table(ModelSettings, None)]
    parts += [HAND_SECRETS, _table(HandSecretSettings, None)]
    parts += [MCP, _table(McpClientSettings, None)]
    parts += [SLO, _table(SloSettings, None)]
    parts += [PROCESSING, _table(ProcessingSettings, None)]
    return "\n".join(parts)


def _sections(model: type[BaseModel]) -> set[str]:
    return {
        name
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def _doc(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _table(model: type[BaseModel], prefix: str | None, skip: set[str] | None = None) -> str:
    """Rows of a model; ``prefix`` is that of its variables, ``None`` where a variable is no way to set it."""
    variable = "" if prefix is None else " variable |"
    rows = [f"| key | type | default |{variable} meaning |", f"|---|---|---|{'---|' if variable else ''}---|"]
    for name, field in model.model_fields.items():
        if name in (skip or ()):
            continue
        shown = "" if prefix is None else f" `{prefix or 'HANDRAIL_'}{name.upper()}` |"
        rows.append(f"| `{name}` | {_type(field)} | {_default(field)} |{shown} {_cell(field.description or '')} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "empty"
    value = field.default
    if value is None:
        return "none"
    if value in ((), {}):
        return "empty"
    if isinstance(value, Enum):
        value = str(value.value)
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value)}`"


def _type(field: FieldInfo) -> str:
    name = _cell(_name(field.annotation))
    limits = _limits(field.metadata)
    return f"{name}, {limits}" if limits else name


def _name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_name(item) for item in arguments if item is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return f"table of {_name(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    return {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path", Any: "any"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def _limits(metadata: list[Any]) -> str:
    words = []
    for item in metadata:
        if isinstance(item, annotated_types.Ge):
            words.append(f"at least {item.ge}")
        elif isinstance(item, annotated_types.Gt):
            words.append(f"over {item.gt}")
        elif isinstance(item, annotated_types.Le):
            words.append(f"at most {item.le}")
        elif isinstance(item, annotated_types.MaxLen):
            words.append(f"at most {item.max_length} long")
    return ", ".join(words)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
