"""A request to the Messages API, read strictly: what stands in it that the gateway has to know. Pure.

Whatever the gateway does not know of stays in it as it is, and is named to the policy (``analysis.fields``). What has a
form that is known here has to have it: a block that nobody knows is refused, for nobody could say what it makes the
provider do.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from gateway.canonical import canonical, parse
from gateway.errors import Malformed, Refused
from gateway.messages_api.blocks import ASKED
from gateway.model import PURPOSE_MAX_CHARACTERS, Principal
from gateway.pointers import pointer

CONTEXT_HEADER: Final = "x-handrail-context"
PURPOSE_HEADER: Final = "x-handrail-purpose"
SESSION_HEADERS: Final = ("x-claude-code-session-id",)
_CONTEXT_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_BETA: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VERSION: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
BETAS_MAX: Final = 64
CALLS_MAX: Final = 10_000

_ROLES: Final = frozenset({"user", "assistant", "system"})
_PASSED: Final = frozenset({"accept", "user-agent", "x-app"})
_PASSED_PREFIX: Final = "x-stainless-"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a client says came of a call that it made: the content as blocks."""

    call_id: str
    content: tuple[Mapping[str, Any], ...] = field(repr=False)
    is_error: bool


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """One request.

    Attributes:
        raw: the body, in the caller's own spelling.
        args: of ``model.messages``: the body, and ``betas`` where the client named some, or asked for the beta API.
        headers: those that go on to the provider.
        results: of the last message, where it answers calls.
        session: what the client calls the conversation in ``metadata``, as it said it.
    """

    raw: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    args: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    purpose: str | None
    stream: bool
    results: tuple[ToolResult, ...]
    session: str | None = None


def read(raw: bytes, headers: Mapping[str, str], betas: Iterable[str], *, beta: bool) -> MessagesRequest:
    """The request in ``raw``.

    Args:
        headers: names in lower case, each once.
        betas: values of every ``anthropic-beta`` header.
        beta: ``?beta=true`` was asked for.

    Raises:
        Refused: ``schema.json``, or ``request.malformed`` that says where.
    """
    body = parse(raw)
    if not isinstance(body, dict):
        raise _malformed("an object")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise _malformed("the name of a model", "model")
    if "betas" in body:
        raise _malformed("nothing: betas are named in the header anthropic-beta", "betas")
    _check_blocks(body)
    for name in ("tools", "mcp_servers"):
        listed = body.get(name)
        if listed is not None and not (isinstance(listed, list) and all(isinstance(one, dict) for one in listed)):
            raise _malformed("an array of objects", name)
    for number, server in enumerate(body.get("mcp_servers") or ()):
        if server.get("authorization_token"):
            # It would stand in the record, and in what people are shown who approve.
            raise _malformed("no credential: none may pass through here", "mcp_servers", number, "authorization_token")
    stream = body.get("stream", False)
    if not isinstance(stream, bool):
        raise _malformed("true or false", "stream")
    named = _betas(betas)
    return MessagesRequest(
        raw=raw,
        body=body,
        args={**body, "betas": named} if named or beta else body,
        headers=_passed(headers),
        purpose=_purpose(headers),
        stream=stream,
        results=results_of(body),
        session=_session(body.get("metadata")),
    )


def rewritten(request: MessagesRequest, body: Mapping[str, Any]) -> MessagesRequest:
    """The request with another body."""
    betas = {"betas": request.args["betas"]} if "betas" in request.args else {}
    return replace(request, raw=orjson.dumps(body), body=body, args={**body, **betas}, results=results_of(body))


def bare(
    headers: Mapping[str, str], betas: Iterable[str], args: Mapping[str, Any], *, beta: bool, raw: bytes = b""
) -> MessagesRequest:
    """A request that is none for a message.

    Raises:
        Refused: ``request.malformed``: a header that cannot be what it is to be.
    """
    named = _betas(betas)
    if "betas" in args:
        raise _malformed("nothing: betas are named in the header anthropic-beta", "betas")
    return MessagesRequest(
        raw=raw,
        body=args,
        args={**args, "betas": named} if named or beta else args,
        headers=_passed(headers),
        purpose=_purpose(headers),
        stream=False,
        results=(),
    )


def context_id(request: MessagesRequest, headers: Mapping[str, str], caller: Principal) -> str | None:
    """The context that the client names, or that follows from how it names its session; ``None`` where it says nothing.

    What a client calls its session is hashed with the caller, so that nobody else can take the name first. A context
    that is somebody else's is refused by the pipeline, whoever names it.

    Raises:
        Refused: ``request.malformed``: what is named is no context.
    """
    named = headers.get(CONTEXT_HEADER)
    if named is not None:
        if _CONTEXT_ID.fullmatch(named) is None:
            raise Malformed(
                "not a context", parameter=CONTEXT_HEADER, expected="letters, digits, . _ : - (at most 128)"
            )
        return named
    session = next((headers[name] for name in SESSION_HEADERS if name in headers), request.session)
    if not session:
        return None
    owner = canonical([caller.tenant, caller.pseudonym, session])
    return f"anthropic-{hashlib.sha256(owner).hexdigest()[:32]}"


def past_calls(body: Mapping[str, Any]) -> list[str]:
    """Ids of the calls that the conversation says were made, newest first."""
    found: list[str] = []
    for message in reversed(body["messages"]):
        content = message["content"]
        for block in content if isinstance(content, list) else ():
            if block["type"] == "tool_use" and isinstance(block.get("id"), str) and len(found) < CALLS_MAX:
                found.append(block["id"])
    return found


def _purpose(headers: Mapping[str, str]) -> str | None:
    purpose = headers.get(PURPOSE_HEADER)
    if purpose is not None and len(purpose) > PURPOSE_MAX_CHARACTERS:
        raise Malformed("a purpose", parameter=PURPOSE_HEADER, expected=f"at most {PURPOSE_MAX_CHARACTERS} characters")
    return purpose


def _betas(lines: Iterable[str]) -> list[str]:
    named = [name for line in lines for name in (part.strip() for part in line.split(",")) if name]
    if len(named) > BETAS_MAX or any(_BETA.fullmatch(name) is None for name in named):
        raise Malformed("betas", parameter="anthropic-beta", expected=f"at most {BETAS_MAX} names of 128 characters")
    return named


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    """The client's headers that go on: what they say of the client, and the version of the API. No other one does, so
    that none can carry a credential, or speak to a proxy in between."""
    passed = {name: value for name, value in headers.items() if name in _PASSED or name.startswith(_PASSED_PREFIX)}
    version = headers.get("anthropic-version")
    if version is not None:
        if _VERSION.fullmatch(version) is None:
            raise Malformed("version", parameter="anthropic-version", expected="a date, such as 2023-06-01")
        passed["anthropic-version"] = version
    return passed


def _check_blocks(body: Mapping[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _malformed("an array of messages", "messages")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _malformed("a message of a known role", "messages", number)
        _check(message.get("content"), "messages", number, "content")
    if "system" in body:
        _check(body["system"], "system")


def _check(content: Any, *place: str | int) -> None:
    """Text, or blocks of known types, and those within them."""
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _malformed("text or an array of blocks", *place)
    for number, block in enumerate(content):
        if not isinstance(block, dict) or block.get("type") not in ASKED:
            raise _malformed("a block of a type that is known here", *place, number, "type")
        if block["type"] == "tool_result" and "content" in block:
            _check_result(block["content"], *place, number, "content")


def _check_result(content: Any, *place: str | int) -> None:
    if content is not None and not isinstance(content, str):
        known = _RESULT_BLOCKS
        for number, block in enumerate(content if isinstance(content, list) else [None]):
            if not isinstance(block, dict) or block.get("type") not in known:
                raise _malformed("a block of a type that is known here", *place, number, "type")


_RESULT_BLOCKS: Final = frozenset({"text", "image", "document", "search_result", "tool_reference"})


def results_of(body: Mapping[str, Any]) -> tuple[ToolResult, ...]:
    """What the client says came of the calls that the last message answers."""
    return tuple(_results(body["messages"][-1]))


def _session(metadata: Any) -> str | None:
    named = metadata.get("user_id") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) else None


def _results(message: Mapping[str, Any]) -> Iterator[ToolResult]:
    if message["role"] != "user" or not isinstance(message["content"], list):
        return
    for block in message["content"]:
        if block["type"] == "tool_result" and isinstance(block.get("tool_use_id"), str):
            content = block.get("content") or ()
            blocks = ({"type": "text", "text": content},) if isinstance(content, str) else tuple(content)
            yield ToolResult(block["tool_use_id"], blocks, block.get("is_error") is True)


def _malformed(expected: str, *place: str | int) -> Refused:
    return Malformed("a request to the Messages API", pointer=pointer(place), problem="unknown", expected=expected)
