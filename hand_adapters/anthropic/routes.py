"""What a model's hand offers beside ``model.messages``: the routes of the Messages API that clients need with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from yarl import URL

from gateway.manifest import MESSAGES, SideEffects

BETAS: Final = "betas"
"""The member of the args that is no member of the body, as in the SDK: it goes out as ``anthropic-beta``."""
ID: Final = "id"
_PAGE: Final = {
    "after_id": {"type": "string", "maxLength": 256},
    "before_id": {"type": "string", "maxLength": 256},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
}
_BETA: Final = {"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 128}}


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        path: below the base URL; ``{id}`` is the argument of that name.
        body: whether the args, but for ``betas``, are its body; else what of them is in no path is its query.
        args: members of the args.
    """

    method: str
    path: str
    description: str
    body: bool = False
    args: Mapping[str, Any] | None = None
    required: tuple[str, ...] = ()
    side_effects: SideEffects = SideEffects.NONE

    def schema(self) -> dict[str, Any]:
        """Of the args."""
        members = {**(self.args or {}), BETAS: _BETA}
        required = [*self.required, *([ID] if "{id}" in self.path else [])]
        if ID in required:
            members[ID] = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,255}$"}
        return {"type": "object", "properties": members, "required": required, "additionalProperties": self.body}

    def url(self, base_url: str, args: Mapping[str, Any]) -> URL:
        """Where a call goes."""
        path = self.path.replace("{id}", quote(str(args.get(ID, "")), safe=""))
        url = URL(f"{base_url.rstrip('/')}{path}", encoded=True)
        query = {} if self.body else {name: args[name] for name in _PAGE if name in args}
        if BETAS in args:
            query["beta"] = "true"
        return url.with_query(query) if query else url


_OPEN: Final = {"type": "object", "additionalProperties": True}
_BATCHES: Final = "/v1/messages/batches"
ROUTES: Final[Mapping[str, Route]] = {
    MESSAGES: Route("POST", "/v1/messages", "Ask the model.", body=True),
    "model.count_tokens": Route(
        "POST",
        "/v1/messages/count_tokens",
        "Count the tokens of a request.",
        body=True,
        args={"model": {"type": "string"}, "messages": {"type": "array", "items": _OPEN}},
        required=("model", "messages"),
    ),
    "models.list": Route("GET", "/v1/models", "List the models.", args=_PAGE),
    "models.get": Route("GET", "/v1/models/{id}", "Look at a model."),
    "batches.create": Route(
        "POST",
        _BATCHES,
        "Ask the model many times, and come for the answers later.",
        body=True,
        args={"requests": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": _OPEN}},
        required=("requests",),
    ),
    "batches.list": Route("GET", _BATCHES, "List batches.", args=_PAGE),
    "batches.get": Route("GET", f"{_BATCHES}/{{id}}", "Look at a batch."),
    "batches.cancel": Route(
        "POST", f"{_BATCHES}/{{id}}/cancel", "Cancel a batch.", side_effects=SideEffects.REVERSIBLE
    ),
    "batches.delete": Route("DELETE", f"{_BATCHES}/{{id}}", "Delete a batch.", side_effects=SideEffects.IRREVERSIBLE),
    "batches.results": Route("GET", f"{_BATCHES}/{{id}}/results", "Fetch a batch's answers."),
}
"""Action -> route."""
