"""What a document makes likely of an operation, for a person to review: nothing here decides anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from gateway.manifest import ArgumentRole, SideEffects
from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.offers import Offer, offer
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.security import Scheme, requirements
from hand_adapters.suggest import roles

_EFFECTS: Final = {
    "GET": SideEffects.NONE,
    "HEAD": SideEffects.NONE,
    "PUT": SideEffects.REVERSIBLE,
    "DELETE": SideEffects.IRREVERSIBLE,
}
ROLES_MAX: Final = 16
"""Suggested roles of one operation."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One operation as it would be offered."""

    offer: Offer
    side_effects: SideEffects
    roles: Mapping[str, ArgumentRole]
    security: Sequence[Sequence[Scheme]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        operation = self.offer.operation
        return {
            "name": operation.name,
            "method": operation.method,
            "path": operation.path,
            "operation_id": operation.operation_id,
            "tags": list(operation.tags),
            "title": self.offer.title,
            "suggested_side_effects": str(self.side_effects),
            "suggested_roles": {pointer: str(role) for pointer, role in self.roles.items()},
            "security": [[scheme.name for scheme in way] for way in self.security],
            "notes": list(self.offer.notes),
        }


def suggest(
    document: Document, operations: Sequence[Operation]
) -> tuple[list[Suggestion], list[tuple[Operation, str]]]:
    """Suggestions for operations that can be offered, and why the others cannot."""
    found: list[Suggestion] = []
    left_out: list[tuple[Operation, str]] = []
    for operation in operations:
        try:
            ways = requirements(document, operation)
            slots = [scheme.slot for way in ways for scheme in way if scheme.slot is not None]
            made = offer(document, operation, "", slots)
        except DocumentError as exc:
            left_out.append((operation, exc.detail))
            continue
        effects = _EFFECTS.get(operation.method, SideEffects.EXTERNAL)
        likely = dict(islice(roles(made.args_schema, places=1), ROLES_MAX))
        found.append(Suggestion(made, effects, likely, ways))
    return found, left_out
