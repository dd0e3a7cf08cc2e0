"""Which operations of a document a hand offers: those that the operator listed, and no other."""

import re
from collections.abc import Sequence
from typing import Final

from hand_adapters.http.openapi.document import METHODS, Operation
from hand_adapters.http.openapi.reading import DocumentError

OPERATIONS_MAX: Final = 256
"""Operations of one hand."""
TAG: Final = "tag:"
_METHODS: Final = frozenset(method.upper() for method in METHODS) | {"*"}


def select(operations: Sequence[Operation], patterns: Sequence[str]) -> list[Operation]:
    """The operations that any of the patterns names, in the document's order.

    A pattern is an operationId (or the name made of one), ``tag:NAME``, or ``METHOD /path``, where ``*`` is any method,
    ``*`` in a path anything within one segment, and ``**`` anything.

    Raises:
        DocumentError: a pattern that names nothing, or too many operations.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {operation.name for operation in operations if matches(operation, pattern)}
        if not matched:
            raise DocumentError(
                "", f"no operation is {pattern!r}", "'handrail hands openapi FILE' lists those there are."
            )
        chosen |= matched
    if len(chosen) > OPERATIONS_MAX:
        raise DocumentError(
            "", f"{len(chosen)} operations are chosen, and a hand has at most {OPERATIONS_MAX}", "Choose fewer."
        )
    return [operation for operation in operations if operation.name in chosen]


def matches(operation: Operation, pattern: str) -> bool:
    """Whether a pattern names an operation."""
    if pattern.startswith(TAG):
        return pattern.removeprefix(TAG) in operation.tags
    method, space, path = pattern.partition(" ")
    if space and method.upper() in _METHODS and path.startswith("/"):
        return method.upper() in {"*", operation.method} and _glob(path).fullmatch(operation.path) is not None
    return pattern in {operation.operation_id, operation.name}


def _glob(path: str) -> re.Pattern[str]:
    pieces = re.split(r"(\*\*|\*)", path)
    written = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(written.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)
