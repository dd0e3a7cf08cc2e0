"""What is taken out of a request to a model before anything of it leaves: keys and tokens by their form, and personal
data.

Texts, results of tools and what tools were called with are gone through, and for secrets the rest of the request too;
what the provider signed, or only it can read (thoughts, results of its searches), is not, for it would refuse that;
neither are images and files.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from gateway.calls import HandResult
from gateway.errors import Refused
from gateway.messages_api.blocks import CALLS
from gateway.personal_data.scanner import Scanner
from gateway.reasons import Reason
from gateway.secret_forms import PREFIXES

_Visit = Callable[[Any], Any]
"""A text, or what a tool was called with -> what stands in its place."""

SECRET_KIND: Final = "secret"  # noqa: S105
"""How keys and tokens are named beside the kinds of personal data."""
SECRET: Final = "[redacted: secret]"  # noqa: S105 - what stands where one was
_BEFORE: Final = r"(?:(?<=\\[nrtbf])|(?<![A-Za-z0-9]))"
"""Where one may begin: also behind an escape of JSON that stands in a text."""
# The work is linear in the text: no pattern begins again within what another beginning of it went over.
_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    rf"|{_BEFORE}eyJ(?:(?!-eyJ)[\w-]){{8,}}\.eyJ[\w-]{{8,}}\.[\w-]{{8,}}"
    rf"|{_BEFORE}(?:{PREFIXES})[\w-]{{16,}}"
    rf"|{_BEFORE}(?:AKIA|ASIA)[A-Z0-9]{{16}}\b"
    rf"|{_BEFORE}AIza[\w-]{{35}}\b"
    r"|(?<=://)[^/\s:@\"']{1,256}:[^/\s@\"']{1,256}(?=@)",
    re.DOTALL,
)

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text", "data"),  # a block, or the source of a document
    **dict.fromkeys(CALLS, ("input",)),
    "tool_result": ("content",),
    "mcp_tool_result": ("content",),
    "search_result": ("title", "source", "content"),
    "document": ("title", "context", "source"),
    "content": ("content",),
    "code_execution_tool_result": ("content",),
    "bash_code_execution_tool_result": ("content",),
    "text_editor_code_execution_tool_result": ("content",),
    "code_execution_result": ("stdout", "stderr"),
    "bash_code_execution_result": ("stdout", "stderr"),
    "text_editor_code_execution_view_result": ("content",),
    "web_fetch_tool_result": ("content",),
    "web_fetch_result": ("url", "content"),
}
"""Type of a block, a source or a result -> its members that hold text, or something that does."""
_BLOCKS: Final = frozenset({"messages", "system"})
"""Members of a request that are gone through by their blocks."""
_DATA: Final = "input"
"""The member that is gone through to its depths, whatever stands in it."""


def taken_out(args: Mapping[str, Any], scanner: Scanner, kinds: Collection[str]) -> Mapping[str, Any]:
    """A request, or a batch of them, without anything of these kinds; the very same where there is nothing. Members
    stay in their order.

    Args:
        args: the body of a request, or ``{requests: [{params}]}``.
        kinds: of personal data, ``*`` for all of them, and :data:`SECRET_KIND`.

    Raises:
        Refused: ``policy.obligation``: it is no request that can be looked through, or there is too much in it.
    """
    requests = args.get("requests")
    if requests is None:
        return _of_one(args, scanner, kinds)
    if not isinstance(requests, list) or not all(isinstance(one, Mapping) for one in requests):
        raise _unreadable()
    new = [{**one, "params": _of_one(one.get("params"), scanner, kinds)} for one in requests]
    return args if new == requests else {**args, "requests": new}


def _of_one(body: Any, scanner: Scanner, kinds: Collection[str]) -> Mapping[str, Any]:
    messages = body.get("messages") if isinstance(body, Mapping) else None
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) and "content" in one for one in messages):
        raise _unreadable()
    new: Mapping[str, Any] = body
    if SECRET_KIND in kinds:
        gone = _through(body, _clean)
        new = {
            name if name in _BLOCKS else _SECRETS.sub(SECRET, name): gone[name] if name in _BLOCKS else _clean(value)
            for name, value in body.items()
        }
    personal = [kind for kind in kinds if kind != SECRET_KIND]
    if personal:
        parts: list[Any] = []
        _through(new, _kept_in(parts))
        found = scanner.scan(HandResult((), parts), look=(), take=personal).result.structured
        if found != parts:
            if not isinstance(found, list) or len(found) != len(parts):
                raise _unreadable()
            changed = iter(found)
            new = _through(new, lambda _: next(changed))
    return body if new == body else new


def _unreadable() -> Refused:
    return Refused(Reason.POLICY_OBLIGATION, "a request that cannot be looked through")


def _clean(value: Any) -> Any:
    """The same without secrets."""
    if isinstance(value, str):
        return _SECRETS.sub(SECRET, value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {_SECRETS.sub(SECRET, name): _clean(one) for name, one in value.items()}
    return value


def _kept_in(parts: list[Any]) -> _Visit:
    def visit(part: Any) -> Any:
        parts.append(part)
        return part

    return visit


def _through(body: Mapping[str, Any], visit: _Visit) -> dict[str, Any]:
    """The body with what ``visit`` gives for each part of it that holds text, in order."""
    new = {**body, "messages": [{**one, "content": _content(one["content"], visit)} for one in body["messages"]]}
    if "system" in body:
        new["system"] = _content(body["system"], visit)
    if "metadata" in body:
        new["metadata"] = visit(body["metadata"])
    return new


def _content(value: Any, visit: _Visit) -> Any:
    """The same of a content, a block, a source or a result."""
    if isinstance(value, str):
        return visit(value)
    if isinstance(value, list):
        return [_content(one, visit) for one in value]
    if not isinstance(value, dict):
        return value
    new = dict(value)
    for name in _PLACES.get(str(value.get("type")), ()):
        if value.get(name) is not None:
            new[name] = visit(value[name]) if name == _DATA else _content(value[name], visit)
    return new
