"""From an operation to what a hand offers: schemas of its args and its answer, and the template of its requests."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hand_adapters.http.openapi.bodies import Body, body
from hand_adapters.http.openapi.dialect import Direction, Translation
from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.parameters import Parameter, Place, Slot, credential_slots, parameters
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.requests import BODY, OperationTemplate
from hand_adapters.schemas import Checker, SchemaError, normalise

TEXT_MAX: Final = 4096
"""Characters of a description; the rest is cut off."""
_SUCCESS: Final = re.compile(r"2(\d\d|XX)")


@dataclass(frozen=True, slots=True)
class Offer:
    """An operation as an action.

    Attributes:
        args_schema: of ``{path, query, header, body}``, each there only where the operation has it.
        result_schema: of the structure of a success, where the document describes one.
        written: how its arguments are put into a request; part of what is pinned.
        notes: a sentence for each thing of it that is left out.
    """

    operation: Operation
    template: OperationTemplate
    args_schema: Mapping[str, Any]
    result_schema: Mapping[str, Any] | None
    title: str | None
    description: str
    written: Mapping[str, Any]
    notes: tuple[str, ...]


def offer(document: Document, operation: Operation, base_url: str, secrets: Collection[Slot]) -> Offer:
    """Make an operation an action.

    Args:
        secrets: what the hand's secrets fill: no argument goes there.

    Raises:
        DocumentError: it cannot be offered.
    """
    usable, notes = parameters(document, operation, secrets)
    taken = body(document, operation)
    withheld = sorted(name for place, name in {*secrets, *credential_slots(document)} if place == Place.QUERY)
    template = OperationTemplate(base_url, operation, usable, taken, withheld)
    args = _args_schema(document, operation, usable, taken)
    result: Mapping[str, Any] | None = None
    try:
        result = _result_schema(document, operation)
        if result is not None:
            Checker(normalise(result, close=False))
    except (DocumentError, SchemaError) as exc:
        result = None
        notes.append(f"{operation.name}: its answers are not checked, for their schema cannot be used ({exc.detail}).")
    return Offer(
        operation=operation,
        template=template,
        args_schema=args,
        result_schema=result,
        title=_text(operation.node.get("summary")) or None,
        description=_description(operation, taken),
        written={
            "parameters": [parameter.document() for parameter in usable],
            **({"body": taken.document()} if taken is not None else {}),
        },
        notes=tuple(notes),
    )


def _args_schema(
    document: Document, operation: Operation, usable: list[Parameter], taken: Body | None
) -> dict[str, Any]:
    translation = Translation(document, Direction.REQUEST)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for place in Place:
        here = [parameter for parameter in usable if parameter.place is place]
        if not here:
            continue
        needed = sorted(parameter.name for parameter in here if parameter.required)
        properties[str(place)] = {
            "type": "object",
            "properties": {parameter.name: _parameter_schema(translation, parameter) for parameter in here},
            "required": needed,
            "additionalProperties": False,
        }
        required += [str(place)] if needed else []
    if taken is not None:
        properties[BODY] = translation.part(taken.schema, taken.at)
        required += [BODY] if taken.required else []
    root = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return translation.whole(root, operation.at)


def _parameter_schema(translation: Translation, parameter: Parameter) -> Any:
    schema = translation.part(parameter.schema, parameter.at)
    if isinstance(schema, dict) and parameter.description and "description" not in schema:
        return {**schema, "description": parameter.description[:TEXT_MAX]}
    return schema


def _result_schema(document: Document, operation: Operation) -> dict[str, Any] | None:
    """The schema of the structure that a success has, as the adapter makes it: the JSON of its body, or null."""
    responses, at = document.mapping(operation.node.get("responses", {}), f"{operation.at}/responses")
    translation = Translation(document, Direction.ANSWER)
    found: list[Any] = []
    for status, entry in responses.items():
        if not _SUCCESS.fullmatch(status):
            continue
        node, here = document.mapping(entry, f"{at}/{status}")
        content, inner = document.mapping(node.get("content", {}), f"{here}/content")
        others = not content
        for name, media in content.items():
            if _is_json(name):
                described, place = document.mapping(media, f"{inner}/{name.replace('/', '~1')}")
                found.append(translation.part(described.get("schema", True), f"{place}/schema"))
            else:
                others = True
        if others:
            found.append({"type": "null"})
    kinds = [kind for index, kind in enumerate(found) if kind not in found[:index]]
    if operation.method == "HEAD" or True in kinds or {} in kinds or all(kind == {"type": "null"} for kind in kinds):
        return None
    whole = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return translation.whole(whole if isinstance(whole, dict) else {"not": {}}, at)


def _is_json(media: str) -> bool:
    name = media.partition(";")[0].strip().lower()
    return name == "application/json" or name.endswith("+json")


def _description(operation: Operation, taken: Body | None) -> str:
    said = [_text(operation.node.get("summary")), _text(operation.node.get("description"))]
    files = f"In the body, base64: {', '.join(sorted(taken.files))}." if taken is not None and taken.files else ""
    return "\n\n".join(filter(None, ["\n\n".join(filter(None, said))[:TEXT_MAX], files]))


def _text(value: Any) -> str:
    return value.strip()[:TEXT_MAX] if isinstance(value, str) else ""
