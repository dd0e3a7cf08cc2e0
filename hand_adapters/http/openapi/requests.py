"""From approved args, ``{path, query, header, body}``, to the one exact request that an operation describes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

from yarl import URL

from gateway.calls import HandCall
from hand_adapters.http.openapi.bodies import Body
from hand_adapters.http.openapi.document import Operation
from hand_adapters.http.openapi.encoding import body_bytes
from hand_adapters.http.openapi.parameters import Parameter, Place
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.styles import in_header, in_path, in_query
from hand_adapters.http.template import OVERRIDES, Request, plain
from hand_adapters.misfit import misfit, placed

BODY: Final = "body"
"""The member of the args that is the body; the others are named after the places of parameters."""
_PLACEHOLDER: Final = re.compile(r"\{([^{}/]+)\}")
_LITERAL: Final = "/:@!$&'()*+,;=-._~"


class OperationTemplate:
    """An operation's request, parsed once. ``servers`` of the document count for nothing: the base URL is given."""

    __slots__ = ("_base", "_body", "_names", "_parameters", "_parts", "_reserved", "method")

    def __init__(
        self,
        base_url: str,
        operation: Operation,
        parameters: Sequence[Parameter],
        body: Body | None,
        withheld: Iterable[str] = (),
    ) -> None:
        """Parse a path.

        Args:
            withheld: names in a query that are no agent's: of secrets, and of what carries a credential.

        Raises:
            DocumentError: a path that holds more than segments, or names that are not its parameters'; two headers
                whose names differ by case alone.
        """
        pieces = _PLACEHOLDER.split(operation.path)
        literals, self._names = pieces[0::2], tuple(pieces[1::2])
        if any(character in literal for literal in literals for character in "{}?#\\%"):
            raise DocumentError(operation.at, "its path holds more than segments and {names}", "Mend the document.")
        if {".", ".."} & set(operation.path.split("/")):
            raise DocumentError(operation.at, "its path climbs", "Mend the document.")
        declared = {parameter.name for parameter in parameters if parameter.place is Place.PATH}
        if declared != set(self._names):
            odd = min(declared ^ set(self._names))
            raise DocumentError(
                operation.at, f"{odd} is in its path, or among its parameters, alone", "Mend the document."
            )
        headers = [parameter.name.lower() for parameter in parameters if parameter.place is Place.HEADER]
        if len(headers) != len(set(headers)):
            raise DocumentError(operation.at, "two of its headers differ by case alone", "Mend the document.")
        queried = (parameter.name for parameter in parameters if parameter.place is Place.QUERY)
        self._reserved = frozenset(map(plain, (*queried, *withheld, *OVERRIDES)))
        self.method = operation.method
        self._base = base_url.rstrip("/")
        self._parts = tuple(quote(literal, safe=_LITERAL) for literal in literals)
        self._parameters = tuple(parameters)
        self._body = body

    def request(self, call: HandCall) -> Request:
        """The request of a call.

        Raises:
            HandError: ``schema.args``, not executed: a value that does not fit its place.
        """
        given = {(str(place), name): value for place in Place for name, value in (call.args.get(place) or {}).items()}
        filled: dict[str, str] = {}
        query: list[str] = []
        headers: dict[str, str] = {}
        taken: set[str] = set()
        for parameter in self._parameters:
            key = (str(parameter.place), parameter.name)
            if key not in given:
                continue
            value = given.pop(key)
            with placed(*key):
                if parameter.place is Place.PATH:
                    filled[parameter.name] = in_path(parameter, value)
                elif parameter.place is Place.HEADER:
                    headers[parameter.name] = in_header(parameter, value)
                else:
                    pairs = in_query(parameter, value)
                    names = {name for name, _ in pairs}
                    others = {plain(unquote(name)) for name in names} - {plain(parameter.name)}
                    if names & taken or others & self._reserved:
                        raise misfit("two parameters come to one name")
                    taken |= names
                    query += (f"{name}={text}" for name, text in pairs)
        if given or set(self._names) - filled.keys():
            raise misfit("an argument that is no parameter, or a path that lacks one")
        path = self._parts[0] + "".join(
            filled[name] + part for name, part in zip(self._names, self._parts[1:], strict=True)
        )
        url = URL(f"{self._base}{path}{'?' if query else ''}{'&'.join(query)}", encoded=True)
        return Request(url, *self._written(call.args, headers))

    def _written(self, args: Mapping[str, Any], headers: dict[str, str]) -> tuple[bytes | None, dict[str, str]]:
        if self._body is None or BODY not in args:
            return None, headers
        with placed(BODY):
            body, media = body_bytes(self._body, args[BODY])
        return body, {**headers, "Content-Type": media}
