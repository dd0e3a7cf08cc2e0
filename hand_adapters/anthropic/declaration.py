"""What a model's hand offers: ``model.messages``, whose args are the body of ``POST /v1/messages``, and what clients of
the Messages API need beside it (``routes``)."""

from typing import Any, Final

from gateway.errors import Refused
from gateway.manifest import MESSAGES, Manifest, SideEffects
from gateway.reach import SecretPlace
from gateway.settings import ActionSettings, HandSettings, ModelSettings, SettingsError, origin_of
from hand_adapters import annotate, peer_url
from hand_adapters.anthropic.routes import ROUTES
from hand_adapters.schemas import SchemaError

PATH: Final = "/v1/messages"

_ANY: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}

_ARGS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "max_tokens": {"type": "integer", "minimum": 0},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "role": {"type": "string"},
                    "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _ANY}]},
                },
                "required": ["role", "content"],
                "additionalProperties": True,
            },
        },
        "system": {"anyOf": [{"type": "string"}, {"type": "array", "items": _ANY}]},
        "tools": {"type": "array", "items": _ANY},
        "mcp_servers": {"type": "array", "items": _ANY},
        "stream": {"type": "boolean"},
    },
    "required": ["model", "max_tokens", "messages"],
    # The API grows by members that nobody here has heard of yet; what the provider would do by itself is looked for in
    # ``request.facts``.
    "additionalProperties": True,
}
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": {"type": "string"},
        "content": {
            "type": "array",
            "items": {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]},
        },
        "stop_reason": {"type": ["string", "null"]},
        "usage": {
            "type": "object",
            "properties": {
                "input_tokens": {"type": "integer", "minimum": 0},
                "output_tokens": {"type": "integer", "minimum": 0},
            },
            "required": ["input_tokens", "output_tokens"],
        },
    },
    "required": ["id", "type", "role", "model", "content", "stop_reason", "usage"],
}
_DEFAULTS: Final[dict[str, Any]] = {
    # An answer changes nothing, at the provider or anywhere else: what it asks for is a call of its own, of another
    # hand. What the provider would do by itself is refused unless the operator lists it.
    "side_effects": SideEffects.NONE,
    "idempotent": True,
    "deadline_seconds": 600.0,
    "result_max_bytes": 4_194_304,
    "description": "Ask the model: the args are the body of a request to the Messages API.",
}
"""The word on the action where the operator says nothing."""


def model_of(settings: HandSettings) -> ModelSettings:
    """What the provider may do itself."""
    return settings.model or ModelSettings()


def manifest_of(hand_id: str, settings: HandSettings) -> Manifest:
    """The hand's manifest: endpoint and permissions of the provider are part of it, and so of the pin.

    Raises:
        SettingsError: an address that may not be asked, actions beside the one, a secret that goes elsewhere.
    """
    where = f"hands.{hand_id}"
    url = peer_url.checked(f"{where}.base_url", settings.base_url, private_network=settings.private_network)
    if others := sorted(settings.actions.keys() - ROUTES.keys()):
        raise SettingsError(f"{where}.actions.{others[0]}: a model has the actions {', '.join(ROUTES)}")
    words = {name: _word(where, name, settings.actions.get(name)) for name in ROUTES}
    model = model_of(settings)
    said = {
        "base_url": settings.base_url,
        "server_tools": sorted(set(model.server_tools)),
        "mcp_servers": sorted(set(model.mcp_servers)),
        "url_sources": model.url_sources,
        "kept": sorted(set(model.kept)),
    }
    try:
        actions = [
            annotate.action(
                name,
                word,
                args_schema=_ARGS if name == MESSAGES else ROUTES[name].schema(),
                result_schema=_RESULT if name == MESSAGES else None,
                description=word.description or "",
                annotations={**said, "method": ROUTES[name].method, "path": ROUTES[name].path},
            )
            for name, word in words.items()
        ]
        manifest = annotate.manifest(hand_id, settings, actions)
    except SchemaError as exc:
        raise SettingsError(f"{where}.actions: {exc.detail}") from None
    except Refused:
        raise SettingsError(f"{where}: what is declared has no canonical JSON form") from None
    for use in manifest.secrets:
        if use.targets != (origin_of(str(url)),):
            raise SettingsError(f"{where}.secrets.{use.name}.targets: base_url alone is told")
        if use.place is SecretPlace.QUERY or (use.parameter or "").lower() in {"content-type", "content-length"}:
            raise SettingsError(f"{where}.secrets.{use.name}.place: the endpoint is told secrets in headers alone")
    return manifest


def _word(where: str, name: str, declared: ActionSettings | None) -> ActionSettings:
    """The operator's word on an action; what is not said is as :data:`_DEFAULTS` has it."""
    defaults = dict(_DEFAULTS)
    if name != MESSAGES:
        kind = ROUTES[name].side_effects
        idempotent = kind is SideEffects.NONE and name != "batches.create"
        defaults |= {"description": ROUTES[name].description, "side_effects": kind, "idempotent": idempotent}
    if declared is None:
        return ActionSettings(**defaults)
    said = declared.model_fields_set
    for member in ("args_schema", "result_schema", "method", "path"):
        if member in said:
            raise SettingsError(f'{where}.actions."{name}".{member}: the Messages API says that')
    return declared.model_copy(update={member: value for member, value in defaults.items() if member not in said})
