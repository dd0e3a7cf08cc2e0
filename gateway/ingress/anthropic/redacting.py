"""What is taken out of a request before anything of it leaves: keys and tokens by their form, and personal data.

It is taken out before the request becomes a plan, so that what is decided, recorded and sent are one. Texts, results of
tools and what tools were called with are gone through, and for secrets the rest of the request too; what the provider
signed, or only it can read (thoughts, results of its searches), is not, for it would refuse that; neither are images
and files.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.calls import HandResult
from gateway.errors import Refused
from gateway.ingress.anthropic.request import MessagesRequest, results_of
from gateway.personal_data import Scanner
from gateway.reasons import Reason

_Visit = Callable[[Any], Any]
"""A text, or what a tool was called with -> what stands in its place."""

SECRET: Final = "[redacted: secret]"  # noqa: S105 - what stands where one was
# The work is linear in the text: no pattern begins again within what another beginning of it went over.
_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ(?:(?!-eyJ)[\w-]){8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-ant-|sk-proj-|sk_live_|rk_live_|npm_|pypi-|hf_|hr_)[\w-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bAIza[\w-]{35}\b"
    r"|(?<=://)[^/\s:@\"']{1,256}:[^/\s@\"']{1,256}(?=@)",
    re.DOTALL,
)

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text", "data"),  # a block, or the source of a document
    "tool_use": ("input",),
    "server_tool_use": ("input",),
    "mcp_tool_use": ("input",),
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
_DATA: Final = "input"
"""The member that is gone through to its depths, whatever stands in it."""


def redact(request: MessagesRequest, scanner: Scanner, *, secrets: bool, kinds: tuple[str, ...]) -> MessagesRequest:
    """The request without them; the very same where there are none. The order of members stays what it was.

    Raises:
        Refused: ``policy.obligation``: there is too much in it to look through.
    """
    body: Mapping[str, Any] = request.body
    if secrets:
        rest = {name: value for name, value in body.items() if name not in {"messages", "system"}}
        body = {**_through(body, _clean), **_clean(rest)}
    if kinds:
        parts: list[Any] = []
        _through(body, _kept_in(parts))
        scan = scanner.scan(HandResult((), parts), look=(), take=kinds)
        found = scan.result.structured
        if found != parts:
            if not isinstance(found, list) or len(found) != len(parts):
                raise Refused(Reason.POLICY_OBLIGATION, "a request that cannot be looked through")
            changed = iter(found)
            body = _through(body, lambda _: next(changed))
    if body == request.body:
        return request
    betas = {"betas": request.args["betas"]} if "betas" in request.args else {}
    args = {**body, **betas}
    return replace(request, raw=orjson.dumps(body), body=body, args=args, results=results_of(body))


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
