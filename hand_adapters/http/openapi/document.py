"""An OpenAPI document: its version, its local references, and its operations under stable names."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from gateway.files import TooLarge, read_bounded
from gateway.pointers import escape, unescape
from hand_adapters.http.openapi.reading import DOCUMENT_MAX_BYTES, DocumentError, read

METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
"""Fixed fields of a path item (OpenAPI 3.1.1 section 4.8.9) that a hand may use; ``options`` and ``trace`` describe
the server and do nothing. ``query`` and ``additionalOperations`` of 3.2 are methods that no declaration can name."""
NAME_MAX: Final = 64
HOPS_MAX: Final = 16
"""References that lead to each other before something is said."""
_VERSION: Final = re.compile(r"3\.([012])\.\d+(-.+)?")
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_DIALECTS: Final = frozenset(
    {
        "https://spec.openapis.org/oas/3.1/dialect/base",
        "https://spec.openapis.org/oas/3.1/dialect/2024-11-10",
        "https://spec.openapis.org/oas/3.2/dialect/2025-09-17",
        "https://json-schema.org/draft/2020-12/schema",
    }
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        name: what the action is called: ``[A-Za-z0-9_-]``, 1 to 64 of them, and no two of a document alike.
        method: in capitals.
        at: JSON pointer to it.
        shared: the parameters of its path item, and where they stand.
    """

    name: str
    method: str
    path: str
    at: str
    node: Mapping[str, Any]
    shared: tuple[Any, str]
    operation_id: str | None
    tags: tuple[str, ...]

    @property
    def title(self) -> str:
        """``GET /pets/{id}``."""
        return f"{self.method} {self.path}"


class Document:
    """A document as read; nothing in it was believed yet but that it is one."""

    def __init__(self, root: Any) -> None:
        """Take ``root``, a result of :func:`read`.

        Raises:
            DocumentError: not OpenAPI 3.0, 3.1 or 3.2, another schema dialect, or paths that are none.
        """
        if not isinstance(root, Mapping):
            raise DocumentError("", "is no object", "Name the file that holds the OpenAPI document.")
        version = root.get("openapi")
        said = _VERSION.fullmatch(version) if isinstance(version, str) else None
        if said is None:
            kind = "a Swagger 2.0 document" if "swagger" in root else f"of version {version!r}"
            raise DocumentError("/openapi", f"is {kind}", "Convert it to OpenAPI 3.0, 3.1 or 3.2.")
        dialect = root.get("jsonSchemaDialect")
        if dialect is not None and dialect not in _DIALECTS:
            raise DocumentError(
                "/jsonSchemaDialect", "is no dialect that is known here", "Use that of OpenAPI 3.1 or 3.2."
            )
        self.root: Mapping[str, Any] = root
        self.nullable: bool = said[1] == "0"
        """Whether its schemas are of the 3.0 dialect, which has ``nullable`` and boolean exclusive bounds."""

    @classmethod
    def load(cls, file: Path) -> "Document":
        """Read a local file.

        Raises:
            DocumentError: it cannot be read, or not used.
        """
        try:
            raw = read_bounded(file, DOCUMENT_MAX_BYTES, regular=False)
        except TooLarge as exc:
            raise DocumentError("", str(exc.strerror), "Cut it down to what you use.") from None
        except OSError as exc:
            hint = (
                "Name a file of this machine; a document at a URL is saved first, and reviewed."
                if _is_url(file)
                else ""
            )
            raise DocumentError("", exc.strerror or type(exc).__name__, hint) from None
        return cls(read(raw))

    @cached_property
    def operations(self) -> Sequence[Operation]:
        """Every operation, in the document's order.

        Raises:
            DocumentError: a path or path item that is none.
        """
        found = [(operation, _plain_name(operation)) for operation in self._operations()]
        wanted = Counter(plain for _, plain in found)
        named = [
            replace(
                operation, name=plain if wanted[plain] == 1 and len(plain) <= NAME_MAX else _hashed(operation, plain)
            )
            for operation, plain in found
        ]
        twice = [name for name, count in Counter(operation.name for operation in named).items() if count > 1]
        if twice:
            raise DocumentError(
                "/paths", f"two operations come to the name {twice[0]}", "Give one another operationId."
            )
        return named

    def mapping(self, node: Any, at: str) -> tuple[Mapping[str, Any], str]:
        """The object at ``node``, its references followed, and where it stands.

        Raises:
            DocumentError: no object, or a reference that leads out, nowhere or in a circle.
        """
        for _ in range(HOPS_MAX):
            if not isinstance(node, Mapping):
                raise DocumentError(at, "is no object", "Mend the document.")
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return node, at
            node, at = self.target(reference, at)
        raise DocumentError(at, "references go in a circle", "Mend the document.")

    def target(self, reference: Any, at: str) -> tuple[Any, str]:
        """What a local reference names, and its pointer.

        Raises:
            DocumentError: it leads out of the document, or nowhere.
        """
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise DocumentError(at, "a reference leads out of the document", "Bundle it into one file.")
        node: Any = self.root
        pointer = unquote(reference[1:])
        for token in pointer.split("/")[1:]:
            name = unescape(token)
            if isinstance(node, Mapping) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isascii() and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                raise DocumentError(at, f"the reference {reference!r} leads nowhere", "Mend the document.")
        return node, pointer

    def component(self, kind: str) -> Mapping[str, Any]:
        """The components of a kind; none where the document has none."""
        components = self.root.get("components")
        found = components.get(kind) if isinstance(components, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def _operations(self) -> Iterator[Operation]:
        paths = self.root.get("paths", {})
        if not isinstance(paths, Mapping):
            raise DocumentError("/paths", "is no object", "Mend the document.")
        for path, item in paths.items():
            if path.startswith("x-"):
                continue
            if not path.startswith("/"):
                raise DocumentError(f"/paths/{escape(path)}", "does not begin with a slash", "Mend the document.")
            node, at = self.mapping(item, f"/paths/{escape(path)}")
            for method in METHODS:
                if method in node:
                    yield self._operation(method, path, node, at)

    def _operation(self, method: str, path: str, item: Mapping[str, Any], at: str) -> Operation:
        here, node = f"{at}/{method}", item[method]
        if not isinstance(node, Mapping):
            raise DocumentError(here, "is no object", "Mend the document.")
        said, tags = node.get("operationId"), node.get("tags", ())
        return Operation(
            name="",
            method=method.upper(),
            path=path,
            at=here,
            node=node,
            shared=(item.get("parameters", []), f"{at}/parameters"),
            operation_id=said if isinstance(said, str) and said else None,
            tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        )


def _plain_name(operation: Operation) -> str:
    text = operation.operation_id or f"{operation.method.lower()}{operation.path}"
    return _FOREIGN.sub("_", text).strip("_") or operation.method.lower()


def _hashed(operation: Operation, plain: str) -> str:
    """Of operations that want one name, each ends in a hash of its method and path: none depends on their order."""
    tail = hashlib.sha256(operation.title.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: NAME_MAX - 9]}_{tail}"


def _is_url(file: Path) -> bool:
    return str(file).startswith(("http:", "https:"))
