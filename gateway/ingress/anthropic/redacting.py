"""What is taken out of a request before anything of it leaves: keys and tokens by their form, and personal data.

It is taken out before the request becomes a plan, so that what is decided, recorded and sent are one. Texts, results of
tools and what tools were called with are gone through; what the provider signed, or only it can read (thoughts, and
what its own tools returned), is not, for it would refuse that; neither are images.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.calls import HandResult
from gateway.errors import Refused
from gateway.ingress.anthropic.request import MessagesRequest
from gateway.personal_data import Scanner
from gateway.reasons import Reason

SECRET: Final = "[redacted: secret]"  # noqa: S105 - what stands where one was
_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-ant-|sk-proj-|sk_live_|rk_live_|npm_|pypi-|hf_|hr_)[\w-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bAIza[\w-]{35}\b"
    r"|(?<=://)[^/\s:@\"']{1,256}:[^/\s@\"']{1,256}(?=@)",
    re.DOTALL,
)

_TAKEN_AS_IS: Final = frozenset({"thinking", "redacted_thinking", "compaction", "image", "container_upload"})


def redact(request: MessagesRequest, scanner: Scanner, *, secrets: bool, kinds: tuple[str, ...]) -> MessagesRequest:
    """The request without them; the very same where there are none. The order of members stays what it was.

    Raises:
        Refused: ``policy.obligation``: there is too much in it to look through.
    """
    body = dict(request.body)
    if secrets:
        for name in ("system", "messages"):
            if name in body:
                body[name] = _without_secrets(body[name])
    if kinds:
        places = [name for name in ("system", "messages") if name in body]
        parts = [part for name in places for part in _parts(body[name])]
        scan = scanner.scan(HandResult((), parts), look=(), take=kinds)
        if scan.result.structured != parts:
            if not isinstance(scan.result.structured, list) or len(scan.result.structured) != len(parts):
                raise Refused(Reason.POLICY_OBLIGATION, "a request that cannot be looked through")
            changed = iter(scan.result.structured)
            for name in places:
                body[name] = _put_back(body[name], changed)
    if body == request.body:
        return request
    betas = {"betas": request.args["betas"]} if "betas" in request.args else {}
    return replace(request, raw=orjson.dumps(body), body=body, args={**body, **betas})


def _without_secrets(value: Any) -> Any:
    return _put_back(value, (_clean(part) for part in _parts(value)))


def _clean(value: Any) -> Any:
    """A text, or what a tool was called with, without secrets."""
    if isinstance(value, str):
        return _SECRETS.sub(SECRET, value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {name: _clean(one) for name, one in value.items()}
    return value


def _parts(value: Any) -> Iterator[Any]:
    """What of a content, of blocks or of messages is gone through, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _parts(one)
    elif isinstance(value, dict):
        for name in _names(value):
            if name == "input":
                yield value[name]
            else:
                yield from _parts(value[name])


def _put_back(value: Any, changed: Iterator[Any]) -> Any:
    """The same with other parts, as many, in the same order."""
    if isinstance(value, str):
        return next(changed)
    if isinstance(value, list):
        return [_put_back(one, changed) for one in value]
    if isinstance(value, dict):
        new = dict(value)
        for name in _names(value):
            new[name] = next(changed) if name == "input" else _put_back(value[name], changed)
        return new
    return value


def _names(value: dict[str, Any]) -> list[str]:
    """Members of a message, a block or a source that hold text."""
    kind = value.get("type")
    if kind in _TAKEN_AS_IS or "encrypted_content" in value:
        return []
    if "role" in value:
        return [name for name in ("content",) if name in value]
    if kind == "text" and isinstance(value.get("data"), str):
        return ["data"]  # the source of a document
    names = {
        "text": ("text",),
        "tool_use": ("input",),
        "tool_result": ("content",),
        "search_result": ("title", "content"),
        "document": ("title", "context", "source"),
        "content": ("content",),
    }
    return [name for name in names.get(str(kind), ()) if value.get(name) is not None]
