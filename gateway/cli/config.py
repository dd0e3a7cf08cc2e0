"""``handrail config``: a commented example made from the settings themselves, and a check of one's own."""

import json
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.cli import toml_text
from gateway.cli.command import command, noun
from gateway.cli.output import Output
from gateway.errors import HandrailError
from gateway.settings import (
    AwsKmsSettings,
    BrainSettings,
    ConnectionSettings,
    HandSettings,
    IdentitySettings,
    ManagedAgentsSettings,
    Pkcs11Settings,
    RemoteSettings,
    Settings,
    SettingsError,
    TlsSettings,
    TransitSettings,
    WebhookSettings,
    load,
)

app = noun("config")

_DECLARED: Final = ("hands", "brains", "identity", "connections", "managed_agents", "webhooks")
"""Tables of what has an id."""
_WORDS: Final = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", dict: "table"}
_BOUNDS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "max_length": "length <="}


@command(app, example="config example > handrail.toml", good="it was printed")
def example(out: Output) -> None:
    """Print a commented handrail.toml: every setting with its meaning, type and default."""
    text = example_text()
    out.show({"toml": text}, lambda: out.raw(text))


@command(app, example="config check handrail.toml", good="it can be used")
def check(
    out: Output,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: HANDRAIL_CONFIG, ./handrail.toml.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every setting with what it comes to, as --json has it.")] = False,
) -> None:
    """Read a configuration as the gateway would and print what it is about, or name each wrong key."""
    settings = load(file)
    _check_listener(settings)
    check_declared(settings)
    document = settings.model_dump(mode="json")
    database = None
    if settings.database.url is not None:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - only to hide a password

        database = make_url(settings.database.url).render_as_string(hide_password=True)
        document["database"]["url"] = database
    out.show(document, lambda: out.block(document) if all_ else _show_summary(out, settings, database))


def _show_summary(out: Output, settings: Settings, database: str | None) -> None:
    """Where the gateway is, and what is declared, by its id."""
    signed = settings.policy.source == "signed"
    out.line("The configuration can be used.")
    out.facts(
        [
            ("home", str(settings.home)),
            ("address", settings.public_url),
            ("log", settings.log.origin),
            ("database", database or f"SQLite, in {settings.home / 'handrail.db'}"),
            ("policies", "signed" if signed else settings.policy.bundle or "the shipped ones"),
            *((name, sorted(getattr(settings, name))) for name in _DECLARED),
        ]
    )
    out.note("Every setting: --all, or --json.")


def check_declared(settings: Settings) -> None:
    """Look at hands, issuers, webhooks and the Git remote, as the gateway does when it starts.

    Raises:
        HandrailError: naming what is wrong.
    """
    _check_hands(settings)
    _check_issuers(settings)
    _check_webhooks(settings)
    if settings.policy.remote is not None:
        from gateway.policy.remote import Remote  # noqa: PLC0415 - 'config example' needs none

        Remote.open(settings.policy.remote)


def _check_listener(settings: Settings) -> None:
    """Look at the listener's certificate, as the gateway does when it starts.

    Raises:
        SettingsError: naming what is wrong.
    """
    from gateway.tls import ServerTls  # noqa: PLC0415 - 'config example' listens nowhere
    from gateway.web.proxies import listener_problem  # noqa: PLC0415

    problem = listener_problem(settings.server)
    if problem is not None:
        raise SettingsError(problem)
    if settings.server.tls is not None:
        try:
            ServerTls(settings.server.tls)
        except HandrailError as exc:
            raise SettingsError(f"server.tls: {exc.detail}") from None


def _check_hands(settings: Settings) -> None:
    """What the registry of hands refuses at the start of a gateway, and schemas that no plan could be checked by.

    Raises:
        SettingsError: naming the hand.
    """
    from hand_adapters.kinds import kind_of  # noqa: PLC0415 - 'config example' needs no adapters
    from hand_adapters.schemas import Checker, SchemaError  # noqa: PLC0415

    for hand_id, hand in settings.hands.items():
        try:
            kind = kind_of(hand)
        except SettingsError as exc:
            raise SettingsError(f"hands.{hand_id}.adapter: {exc.detail}") from None
        if not hand.enabled:
            continue
        kind.validate(hand_id, hand)
        for name, action in hand.actions.items():
            for key, schema in (("args_schema", action.args_schema), ("result_schema", action.result_schema)):
                try:
                    if schema is not None:
                        Checker(schema)
                except SchemaError as exc:
                    raise SettingsError(f"hands.{hand_id}.actions.{name}.{key}: {exc.detail}") from None


def _check_issuers(settings: Settings) -> None:
    """Read the authorities of each issuer's and connection's certificate, as the gateway does when it starts. Nobody is
    asked.

    Raises:
        SettingsError: naming the issuer.
    """
    from hand_adapters.fetcher import HttpFetcher  # noqa: PLC0415 - 'config example' fetches nothing

    for name, issuer in settings.identity.items():
        HttpFetcher(f"identity.{name}", private_network=issuer.private_network, ca_file=issuer.ca_file)
    for name, one in settings.connections.items():
        HttpFetcher(f"connections.{name}", private_network=one.private_network, ca_file=one.ca_file)


def _check_webhooks(settings: Settings) -> None:
    """Read the secrets and judge the addresses, as the gateway does when it starts.

    Raises:
        SettingsError: naming the webhook.
    """
    from gateway.webhooks.delivery import Webhook  # noqa: PLC0415 - 'config example' sends nothing
    from hand_adapters.courier import courier  # noqa: PLC0415

    for name, webhook in settings.webhooks.items():
        Webhook.open(name, webhook, courier)


def example_text() -> str:
    """The commented file. As it stands it parses and says exactly the defaults."""
    lines = [
        "# Handrail's configuration, with every default. Made by 'handrail config example'.",
        "# Any of it may be set in the environment instead: HANDRAIL_SERVER__PORT=8081 sets [server] port.",
        "",
    ]
    tables: list[tuple[str, type[BaseModel]]] = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            tables.append((name, field.annotation))
        elif _model_in(field.annotation) is None:
            lines += _setting(name, field)
    for name, model in tables:
        lines += ["", *toml_text.comment(str(model.__doc__)), f"[{name}]"]
        for key, field in model.model_fields.items():
            if key not in {"remote", "pkcs11", "transit", "aws_kms", "tls"}:
                lines += _setting(key, field)
    lines += _optional("server.tls", TlsSettings, "There is none by default. All it may say:")
    configured: dict[str, type[BaseModel]] = {
        "policy.remote": RemoteSettings,
        "keys.pkcs11": Pkcs11Settings,
        "keys.transit": TransitSettings,
        "keys.aws_kms": AwsKmsSettings,
    }
    for path, optional in configured.items():
        lines += _optional(path, optional, "None is configured by default. All it may say:")
    lines += _optional("identity.NAME", IdentitySettings, "None is believed by default. All it may say:")
    lines += _optional("connections.NAME", ConnectionSettings, "None is declared by default. All it may say:")
    lines += _optional("brains.NAME", BrainSettings, "None is declared by default. All a brain may say:")
    lines += _optional("managed_agents.NAME", ManagedAgentsSettings, "None is declared by default. All it may say:")
    lines += _optional("webhooks.NAME", WebhookSettings, "None is declared by default. All a webhook may say:")
    lines += _optional("hands.NAME", HandSettings, "None is declared by default. All a hand may say:")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _optional(path: str, model: type[BaseModel], said: str) -> Iterator[str]:
    """A table that is not there unless somebody writes it."""
    yield ""
    yield from toml_text.comment(str(model.__doc__))
    yield f"# {said}"
    yield "#"
    yield from _commented_tables(path, model)


def _commented_tables(path: str, model: type[BaseModel]) -> Iterator[str]:
    """A table of which there is no default: all of it behind comment signs."""
    inner: list[tuple[str, type[BaseModel]]] = []
    yield f"# [{path}]"
    for name, field in model.model_fields.items():
        found = _model_in(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner.append((f"{path}.{name}", field.annotation))
        elif found is None:
            for line in _setting(name, field):
                yield line if line.startswith("# ") else f"# {line}"
        elif typing.get_origin(field.annotation) is dict:
            inner.append((f"{path}.{name}.NAME", found))
        elif typing.get_origin(field.annotation) in {types.UnionType, typing.Union}:
            inner.append((f"{path}.{name}", found))
        else:
            shape = ", ".join(f"{key} = {toml_text.value(_default(item))}" for key, item in found.model_fields.items())
            yield from toml_text.comment(f"{field.description} (list of tables)")
            yield f"# {name} = [{{ {shape} }}]"
    for inner_path, inner_model in inner:
        yield "#"
        yield from toml_text.comment(str(inner_model.__doc__))
        yield from _commented_tables(inner_path, inner_model)


def _setting(name: str, field: FieldInfo) -> list[str]:
    """A comment with meaning, type and bounds, and the line that sets the default."""
    bounds = [
        f"{sign} {bound}"
        for item in field.metadata
        for key, sign in _BOUNDS.items()
        if (bound := getattr(item, key, None)) is not None
    ]
    kind = ", ".join([_kind(field.annotation), *bounds])
    default = _default(field)
    line = f"{name} = {toml_text.value(default)}"
    if default is None:
        line = f"# {name} ="
    return [*toml_text.comment(f"{field.description} ({kind})"), line]


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _kind(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind(args[0])
    if origin is typing.Literal:
        return " or ".join(json.dumps(item) for item in args)
    if origin in {types.UnionType, typing.Union}:
        return " or ".join(_kind(item) for item in args if item is not type(None)) + ", optional"
    if origin is tuple:
        return f"list of {_kind(args[0])}"
    if origin is dict:
        return f"table of {_kind(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(json.dumps(str(item.value)) for item in annotation)
    return _WORDS.get(annotation, "value")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings model inside a list or table annotation."""
    for item in typing.get_args(annotation):
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None
