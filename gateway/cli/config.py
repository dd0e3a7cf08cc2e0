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

from gateway.cli.command import command, noun
from gateway.cli.output import Output
from gateway.errors import HandrailError
from gateway.settings import (
    AwsKmsSettings,
    HandSettings,
    IdentitySettings,
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

_WIDTH: Final = 116
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
) -> None:
    """Read a configuration as the gateway would and print what it comes to, or name each wrong key."""
    settings = load(file)
    _check_listener(settings)
    check_declared(settings)
    document = settings.model_dump(mode="json")
    if settings.database.url is not None:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - only to hide a password

        document["database"]["url"] = make_url(settings.database.url).render_as_string(hide_password=True)
    out.show(document, lambda: out.block(document))


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
    from hand_adapters.registry import adapter_class  # noqa: PLC0415 - 'config example' needs no adapters
    from hand_adapters.schemas import Checker, SchemaError  # noqa: PLC0415

    for hand_id, hand in settings.hands.items():
        try:
            kind = adapter_class(hand.adapter)
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
    """Read the authorities of each issuer's certificate, as the gateway does when it starts. No issuer is asked.

    Raises:
        SettingsError: naming the issuer.
    """
    from hand_adapters.fetcher import HttpFetcher  # noqa: PLC0415 - 'config example' fetches nothing

    for name, issuer in settings.identity.items():
        HttpFetcher(f"identity.{name}", private_network=issuer.private_network, ca_file=issuer.ca_file)


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
        elif name not in {"hands", "identity", "webhooks"}:
            lines += _setting(name, field)
    for name, model in tables:
        lines += ["", *_comment(str(model.__doc__)), f"[{name}]"]
        for key, field in model.model_fields.items():
            if key not in {"remote", "pkcs11", "transit", "aws_kms", "tls"}:
                lines += _setting(key, field)
    lines += ["", *_comment(str(TlsSettings.__doc__)), "# There is none by default. All it may say:", "#"]
    lines += _commented_tables("server.tls", TlsSettings)
    lines += ["", *_comment(str(RemoteSettings.__doc__)), "# None is configured by default. All it may say:", "#"]
    lines += _commented_tables("policy.remote", RemoteSettings)
    services: dict[str, type[BaseModel]] = {
        "pkcs11": Pkcs11Settings,
        "transit": TransitSettings,
        "aws_kms": AwsKmsSettings,
    }
    for key, service in services.items():
        lines += ["", *_comment(str(service.__doc__)), "# None is configured by default. All it may say:", "#"]
        lines += _commented_tables(f"keys.{key}", service)
    lines += ["", *_comment(str(IdentitySettings.__doc__)), "# None is believed by default. All it may say:", "#"]
    lines += _commented_tables("identity.NAME", IdentitySettings)
    lines += ["", *_comment(str(WebhookSettings.__doc__)), "# None is declared by default. All a webhook may say:", "#"]
    lines += _commented_tables("webhooks.NAME", WebhookSettings)
    lines += ["", *_comment(str(HandSettings.__doc__)), "# None is declared by default. All a hand may say:", "#"]
    lines += _commented_tables("hands.NAME", HandSettings)
    return "\n".join(line.rstrip() for line in lines) + "\n"


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
            shape = ", ".join(f"{key} = {_toml(_default(item))}" for key, item in found.model_fields.items())
            yield from _comment(f"{field.description} (list of tables)")
            yield f"# {name} = [{{ {shape} }}]"
    for inner_path, inner_model in inner:
        yield "#"
        yield from _comment(str(inner_model.__doc__))
        yield from _commented_tables(inner_path, inner_model)


def _setting(name: str, field: FieldInfo) -> list[str]:
    """A comment with meaning, type and bounds, and the line that sets the default."""
    bounds = [
        f"{sign} {getattr(item, key)}" for item in field.metadata for key, sign in _BOUNDS.items() if hasattr(item, key)
    ]
    kind = ", ".join([_kind(field.annotation), *bounds])
    default = _default(field)
    line = f"{name} = {_toml(default)}"
    if default is None:
        line = f"# {name} ="
    return [*_comment(f"{field.description} ({kind})"), line]


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in " ".join(text.split()).split(" "):
        if len(line) + len(word) + 1 > _WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _toml(value: Any) -> str:
    """A TOML value. JSON's strings, numbers, booleans and arrays are TOML's too."""
    if value is None:
        return '""'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Enum | Path):
        return json.dumps(str(value))
    return json.dumps(value, ensure_ascii=False)


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
