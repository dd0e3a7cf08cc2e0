"""What a document makes likely of an operation, for a person to review: nothing here decides anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from gateway.manifest import SideEffects
from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.offers import Offer, offer
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.security import Scheme, requirements
from hand_adapters.suggest import Suggestion, roles

_EFFECTS: Final = {
    "GET": SideEffects.NONE,
    "HEAD": SideEffects.NONE,
    "PUT": SideEffects.REVERSIBLE,
    "DELETE": SideEffects.IRREVERSIBLE,
}
"""By method; all of these are idempotent (RFC 9110 section 9.2.2), and no other one is."""
ROLES_MAX: Final = 16
"""Suggested roles of one operation."""


@dataclass(frozen=True, slots=True)
class Likely:
    """One operation as it would be offered, with what the document makes likely of it."""

    offer: Offer
    suggestion: Suggestion
    security: Sequence[Sequence[Scheme]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        operation = self.offer.operation
        return {
            **self.suggestion.document(),
            "method": operation.method,
            "path": operation.path,
            "operation_id": operation.operation_id,
            "tags": list(operation.tags),
            "title": self.offer.title,
            "security": [[scheme.name for scheme in way] for way in self.security],
            "notes": list(self.offer.notes),
        }


def suggest(document: Document, operations: Sequence[Operation]) -> tuple[list[Likely], list[tuple[Operation, str]]]:
    """Suggestions for operations that can be offered, and why the others cannot."""
    found: list[Likely] = []
    left_out: list[tuple[Operation, str]] = []
    for operation in operations:
        try:
            ways = requirements(document, operation)
            slots = [scheme.slot for way in ways for scheme in way if scheme.slot is not None]
            made = offer(document, operation, "", slots)
        except DocumentError as exc:
            left_out.append((operation, exc.detail))
            continue
        method = operation.method
        likely = dict(islice(roles(made.args_schema, places=1), ROLES_MAX))
        effects = _EFFECTS.get(method, SideEffects.EXTERNAL)
        found.append(Likely(made, Suggestion(operation.name, effects, method in _EFFECTS, method, likely), ways))
    return found, left_out
