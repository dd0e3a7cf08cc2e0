"""What is taken out of a request to a model before anything of it leaves: keys and tokens by their form, and personal
data.

A conversation is gone through with all that stands in its messages, and for secrets the rest of the request too; what
the provider signed, or only it can read (thoughts, results of its searches), is not, for it would refuse that;
neither are images and files. Of what is an identifier nothing can be taken out: a request with a secret in one is
refused.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.calls import HandResult
from gateway.errors import Malformed, Refused
from gateway.messages_api import showing
from gateway.messages_api.blocks import THOUGHTS
from gateway.personal_data.json_texts import Names
from gateway.personal_data.keys_and_tokens import SECRET_KIND, published, without
from gateway.personal_data.scanner import Scanner
from gateway.pointers import pointer
from gateway.reasons import Reason

_Visit = Callable[[Any], Any]
"""A text, or what a tool was called with -> what stands in its place."""
_Place = tuple[str | int, ...]

_IDENTIFIERS: Final = frozenset({"id", "tool_use_id", "name", "tool_name", "file_id"})
"""Members of a block by which others are meant: with another one in its place, a result would belong to no call."""
_DEFINED_BY: Final = frozenset({"name", "mcp_server_name"})
"""Members of a tool's definition, of a server's and of a choice by which a tool is called: a call by its name would be
a call of no tool."""
_DEFINING: Final = frozenset({"tools", "tool_choice", "mcp_servers"})
"""Members of a request that define tools, or choose one."""
_SEALED: Final = frozenset({*THOUGHTS, "web_search_tool_result"})
"""Blocks that the provider takes back only as it gave them."""
_AS_THEY_ARE: Final = frozenset({"type", "citations"})
_OF_BLOCKS: Final = frozenset({"content", "source"})
_DEFINING_BLOCKS: Final[Mapping[str, str]] = {"tool_addition": "tool", "mcp_tool_listing": "tools"}
"""Type of a block -> its member that defines tools."""
_STRUCTURE: Final = frozenset(
    {"requests", "params", "messages", "content", "source", "text", "input", "system", "tools", "metadata"}
)


def taken_out(args: Mapping[str, Any], scanner: Scanner, kinds: Collection[str]) -> Mapping[str, Any]:
    """A request, or a batch of them, without anything of these kinds; the very same where there is nothing. Members
    stay in their order.

    Args:
        args: the body of a request, or ``{requests: [{params}]}``.
        kinds: of personal data, ``*`` for all of them, and :data:`SECRET_KIND`.

    Raises:
        Malformed: a secret stands in an identifier, or it is a batch and a request at once; it says where.
        Refused: ``policy.obligation``: it is no request that can be looked through, or there is too much in it.
    """
    requests = args.get("requests")
    if requests is None:
        return _of_one(args, scanner, kinds, ())
    if "messages" in args:
        raise Malformed("both", pointer="/requests", expected="a request, or a batch of them, and not both at once")
    if not isinstance(requests, list) or not all(isinstance(one, Mapping) for one in requests):
        raise _unreadable()
    secret = SECRET_KIND in kinds
    new = {
        **(_members(args, _as_it_is("requests")) if secret else args),
        "requests": [
            {
                **(_members(one, _of_batch(number)) if secret else one),
                "params": _of_one(one.get("params"), scanner, kinds, ("requests", number, "params")),
            }
            for number, one in enumerate(requests)
        ],
    }
    return args if new == args else new


def first_change(before: Any, after: Any) -> str:
    """Where what :func:`taken_out` gave is another one, as a JSON pointer: no further than to a block, for beyond that
    members are called as their sender likes."""
    return pointer(_first_change(before, after))


def _first_change(before: Any, after: Any) -> _Place:
    if isinstance(before, list) and isinstance(after, list):
        pairs: Iterable[tuple[str | int, Any, Any]] = zip(range(len(before)), before, after, strict=False)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        pairs = ((name, value, after.get(name)) for name, value in before.items() if name in _STRUCTURE)
    else:
        return ()
    return next(((name, *_first_change(one, other)) for name, one, other in pairs if one != other), ())


def _of_one(body: Any, scanner: Scanner, kinds: Collection[str], place: _Place) -> Mapping[str, Any]:
    messages = body.get("messages") if isinstance(body, Mapping) else None
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) and "content" in one for one in messages):
        raise _unreadable()
    new: Mapping[str, Any] = body
    if SECRET_KIND in kinds:
        new = _less_secrets(body, place)
    personal = [kind for kind in kinds if kind != SECRET_KIND]
    if personal:
        parts: list[Any] = []
        _of_conversation(new, _kept_in(parts))
        found = scanner.scan(HandResult((), parts), look=(), take=personal).result.structured
        if found != parts:
            if not isinstance(found, list) or len(found) != len(parts):
                raise _unreadable()
            changed = iter(found)
            new = _of_conversation(new, lambda _: next(changed))
    return body if new == body else new


def _unreadable() -> Refused:
    return Refused(Reason.POLICY_OBLIGATION, "a request that cannot be looked through")


# --- where something may stand ----------------------------------------------------------------------------------------

_Showing = Callable[[str, Any], Any]
"""Name and value of a member -> what stands in the place of the value."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """Goes through all of a conversation but what the provider takes back only as it is.

    Attributes:
        visit: for what is no block, and no part of one.
        members: an object with what is shown of each of its members.
        identifier: for an identifier and its place.
    """

    visit: _Visit
    members: Callable[[Mapping[str, Any], _Showing], dict[str, Any]]
    identifier: Callable[[str, _Place], str]

    def messages(self, messages: Sequence[Mapping[str, Any]], place: _Place) -> list[dict[str, Any]]:
        """The messages of a request."""
        return [self._message(one, (*place, number, "content")) for number, one in enumerate(messages)]

    def _message(self, message: Mapping[str, Any], place: _Place) -> dict[str, Any]:
        return self.members(
            message, lambda name, member: self.blocks(member, place) if name == "content" else self.visit(member)
        )

    def blocks(self, value: Any, place: _Place) -> Any:
        """A content, a block, a source or a result."""
        if isinstance(value, list):
            return [self.blocks(one, (*place, number)) for number, one in enumerate(value)]
        if not isinstance(value, Mapping):
            return self.visit(value)
        kind = value.get("type")
        if isinstance(kind, str) and kind in _SEALED:
            return value

        def shown(name: str, member: Any) -> Any:
            if name in _IDENTIFIERS and isinstance(member, str):
                return self.identifier(member, (*place, name))
            if name in _AS_THEY_ARE or showing.is_opaque(value, name):
                return member
            if isinstance(kind, str) and _DEFINING_BLOCKS.get(kind) == name:
                return self.definitions(member, (*place, name))
            return self.blocks(member, (*place, name)) if name in _OF_BLOCKS else self.visit(member)

        return self.members(value, shown)

    def definitions(self, value: Any, place: _Place) -> Any:
        """Definitions of tools and of their servers, or the choice of one."""
        if isinstance(value, list):
            return [self.definitions(one, (*place, number)) for number, one in enumerate(value)]
        if not isinstance(value, Mapping):
            return self.visit(value)

        def shown(name: str, member: Any) -> Any:
            named = name in _DEFINED_BY and isinstance(member, str)
            return self.identifier(member, (*place, name)) if named else self.visit(member)

        return self.members(value, shown)


# --- secrets ---------------------------------------------------------------------------------------------------------


def _members(value: Mapping[str, Any], shown: _Showing) -> dict[str, Any]:
    """An object without secrets, in the names of its members too: none hides another."""
    names = Names()
    return {names.distinct(name, without(name)): shown(name, member) for name, member in value.items()}


def _clean(value: Any) -> Any:
    """Anything, without secrets."""
    if isinstance(value, str):
        return without(value)
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, Mapping):
        return _members(value, lambda _, member: _clean(member))
    return value


def _as_it_is(kept: str) -> _Showing:
    return lambda name, member: member if name == kept else _clean(member)


def _of_batch(number: int) -> _Showing:
    def shown(name: str, member: Any) -> Any:
        if name == "custom_id" and isinstance(member, str):
            return _identifier(member, ("requests", number, name))
        return member if name == "params" else _clean(member)

    return shown


def _less_secrets(body: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    walk = _Walk(_clean, _members, _identifier)

    def shown(name: str, member: Any) -> Any:
        if name == "messages":
            return walk.messages(member, (*place, name))
        if name in _DEFINING:
            return walk.definitions(member, (*place, name))
        return walk.blocks(member, (*place, name)) if name == "system" else _clean(member)

    return _members(body, shown)


def _identifier(value: str, place: _Place) -> str:
    if published(value):  # no less than a whole one: a name may well begin as tokens do
        raise Malformed(
            "a secret in an identifier",
            pointer=pointer(place),
            problem="secret",
            expected="an identifier without what has the form of a key or token: nothing can stand in its place",
        )
    return value


# --- personal data ---------------------------------------------------------------------------------------------------


def _kept_in(parts: list[Any]) -> _Visit:
    def visit(part: Any) -> Any:
        parts.append(part)
        return part

    return visit


def _of_conversation(body: Mapping[str, Any], visit: _Visit) -> dict[str, Any]:
    """The body with what ``visit`` gives for each part of it that says something, in order."""
    walk = _Walk(visit, _each, lambda value, _: value)
    shown: Mapping[str, _Visit] = {
        "messages": lambda messages: walk.messages(messages, ()),
        "system": lambda system: walk.blocks(system, ()),
        "metadata": visit,
    }
    return {name: shown[name](member) if name in shown else member for name, member in body.items()}


def _each(value: Mapping[str, Any], shown: _Showing) -> dict[str, Any]:
    return {name: shown(name, member) for name, member in value.items()}
