"""``/openapi.json`` (OpenAPI 3.1.1) from the route table: what is served is what is described."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gateway.permissions import WHILE_FROZEN, Permission
from gateway.reasons import Reason
from gateway.web.anthropic_requests import is_anthropic
from gateway.web.bodies import JSON
from gateway.web.errors import ERRORS
from gateway.web.routing import Access, Body, Endpoint
from gateway.web.schemas import ProblemDocument

_REF: Final = "#/components/schemas/{model}"
_PATH_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
_SECURITY: Final = "apiKey"
_CERTIFICATE: Final = "certificate"

EVERYWHERE: Final = (
    Reason.REQUEST_MALFORMED,
    Reason.REQUEST_METHOD,
    Reason.REQUEST_NOT_FOUND,
    Reason.REQUEST_HEADERS_TOO_LARGE,
    Reason.OVERLOADED,
    Reason.DRAINING,
    Reason.LIMIT_ANONYMOUS,
    Reason.LIMIT_CONNECTIONS,
    Reason.INTERNAL,
)
"""What any route may answer."""
AUTHENTICATED: Final = (
    Reason.AUTH_MISSING,
    Reason.AUTH_INVALID,
    Reason.AUTH_EXPIRED,
    Reason.LOG_UNAVAILABLE,
    Reason.LIMIT_REQUESTS,
)
"""Who calls is asked of the database that has the log."""
BODY: Final = (
    Reason.REQUEST_MEDIA_TYPE,
    Reason.REQUEST_TIMEOUT,
    Reason.REQUEST_TOO_LARGE,
)


def openapi(table: Sequence[Endpoint], version: str, server_url: str) -> dict[str, Any]:
    """The OpenAPI document of ``table``."""
    modes: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemDocument, "serialization"): None}
    for endpoint in table:
        modes.update({(body.model, "validation"): None for body in endpoint.requests if body.model})
        answers = (*endpoint.answers.values(), *endpoint.refusals.values())
        modes.update({(body.model, "serialization"): None for body in answers if body.model})
    references, definitions = models_json_schema(list(modes), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Handrail",
            "version": version,
            "summary": "A policy-and-governance gateway for AI agents.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "security": [{_SECURITY: []}, {_CERTIFICATE: []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in table)],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                _SECURITY: {"type": "http", "scheme": "bearer", "description": "API key: hr_<key id>_<secret>"},
                _CERTIFICATE: {"type": "mutualTLS", "description": "A client certificate that is a principal's."},
            },
        },
    }


def problems_of(endpoint: Endpoint) -> list[Reason]:
    """Every reason that the route itself documents."""
    reasons = [*EVERYWHERE, *endpoint.problems]
    if endpoint.access is not Access.OPEN:
        reasons += AUTHENTICATED
    if isinstance(endpoint.access, Permission):
        reasons.append(Reason.AUTH_FORBIDDEN)
        if endpoint.access not in WHILE_FROZEN:
            reasons.append(Reason.FREEZE_ACTIVE)
    if endpoint.requests:
        reasons += BODY
    if any(body.media_type == JSON for body in endpoint.requests):
        reasons.append(Reason.SCHEMA_JSON)
    return list(dict.fromkeys(reasons))


def _operation(endpoint: Endpoint, references: dict[Any, Any]) -> dict[str, Any]:
    access = endpoint.access
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in _PATH_PARAMETER.findall(endpoint.path)
            ),
            *(
                {
                    "name": parameter.name,
                    "in": parameter.place,
                    "description": parameter.description,
                    "schema": dict(parameter.schema),
                }
                for parameter in endpoint.parameters
            ),
        ],
        "responses": {
            **{str(status): _answer(body, references) for status, body in endpoint.answers.items()},
            **_problems(endpoint, references),
            **{str(status): _answer(body, references) for status, body in endpoint.refusals.items()},
        },
    }
    for status, body in endpoint.besides.items():
        shown, known = _answer(body, references), operation["responses"].get(str(status), {"description": ""})
        operation["responses"][str(status)] = {
            "description": ". ".join(filter(None, (known["description"], shown["description"]))),
            "content": {**known.get("content", {}), **shown.get("content", {})},
        }
    if access is Access.OPEN:
        operation["security"] = []
    elif isinstance(access, Permission):
        operation["x-handrail-permission"] = str(access)
    if endpoint.requests:
        operation["requestBody"] = {
            "required": True,
            "content": {body.media_type: _media(body, references, "validation") for body in endpoint.requests},
        }
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[A-Za-z0-9]+", endpoint.path.removeprefix("/v1"))
    return "_".join([endpoint.method.lower(), *words])


def _media(body: Body, references: dict[Any, Any], mode: str) -> dict[str, Any]:
    if body.model is not None:
        return {"schema": references[(body.model, mode)]}
    schema = _unmodelled(body.media_type)
    if body.description:
        schema["description"] = body.description
    return {"schema": schema}


def _unmodelled(media_type: str) -> dict[str, Any]:
    """Of events OpenAPI 3.1 has no form: to some a stream is text, to others what is in it."""
    return {} if media_type in {JSON, "text/event-stream"} else {"type": "string"}


def _answer(body: Body, references: dict[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": body.description or "Done."}
    if body.media_type:
        others = {other: {"schema": _unmodelled(other)} for other in body.others}
        answer["content"] = {body.media_type: _media(body, references, "serialization"), **others}
    return answer


def _problems(endpoint: Endpoint, references: dict[Any, Any]) -> dict[str, Any]:
    by_status: dict[int, list[Reason]] = {}
    for reason in problems_of(endpoint):
        by_status.setdefault(ERRORS[reason][0], []).append(reason)
    schema = references[(ProblemDocument, "serialization")]
    content: dict[str, Any] = {"application/problem+json": {"schema": schema}}
    if is_anthropic(endpoint.path):
        content = {JSON: {"schema": {}}}  # errors of that API, in its own form
    return {
        str(status): {
            "description": ", ".join(f"`{reason}`" for reason in reasons),
            "content": content,
        }
        for status, reasons in sorted(by_status.items())
        if status not in endpoint.answers
    }
