"""JSON-RPC messages on their way between stdio and streamable HTTP: what a line is, which headers go with it (MCP,
transports, 2026-07-28), and an answer as a line. No I/O.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.types import INVALID_REQUEST, PARSE_ERROR, PROTOCOL_VERSION_META_KEY

RequestId = str | int
CANCELLED: Final = "notifications/cancelled"
_BREAKS: Final = {"\r": " ", "\n": " ", "\u2028": "\\u2028", "\u2029": "\\u2029", "\u0085": "\\u0085"}
"""What some readers take for the end of a line -> the same JSON without it. The first two stand between tokens alone,
the others in strings alone."""
_IN_ONE_LINE: Final = str.maketrans(_BREAKS)


class NoMessage(Exception):
    """What arrived is no message of JSON-RPC.

    Attributes:
        code: of JSON-RPC.
        text: for whoever sent it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def read(text: bytes | str) -> dict[str, Any]:
    """One message.

    Raises:
        NoMessage: not UTF-8, not JSON, or no single object.
    """
    try:
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NoMessage(PARSE_ERROR, "Not one message of JSON in UTF-8 on a line of its own") from None
    if not isinstance(message, dict):
        raise NoMessage(INVALID_REQUEST, "Not a JSON-RPC object; batches are not taken")
    return message


def line(text: str) -> bytes:
    """JSON text, byte for byte, as one line that no reader breaks."""
    return text.translate(_IN_ONE_LINE).encode()


def request_id(message: Mapping[str, Any]) -> RequestId | None:
    """The id of a request, or of an answer; ``None`` where there is none that can be answered."""
    found = message.get("id")
    return found if isinstance(found, str) or (isinstance(found, int) and not isinstance(found, bool)) else None


def is_request(message: Mapping[str, Any]) -> bool:
    """Whether an answer is expected."""
    return "method" in message and "id" in message


def error(id_: RequestId | None, code: int, text: str) -> bytes:
    """The line that answers a request with an error of this side's own."""
    answer = {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text}}
    return json.dumps(answer).encode()


def stateless_version(message: Mapping[str, Any]) -> str | None:
    """The protocol version that a message of the era without handshake names; ``None`` for the other era."""
    named = _member(_member(message.get("params"), "_meta"), PROTOCOL_VERSION_META_KEY)
    return named if isinstance(named, str) else None


def stateless_headers(
    message: Mapping[str, Any], version: str, schemas: Mapping[str, Mapping[tuple[str, ...], str]]
) -> dict[str, str]:
    """What the era without handshake repeats of a message in headers.

    Args:
        schemas: tool -> which of its arguments go into which header; see :func:`parameters`.
    """
    method, params = message.get("method"), message.get("params")
    headers = {MCP_PROTOCOL_VERSION_HEADER: encode_header_value(version)}
    if not isinstance(method, str):
        return headers
    headers[MCP_METHOD_HEADER] = encode_header_value(method)
    name = _member(params, NAME_BEARING_METHODS.get(method, ""))
    if isinstance(name, str):
        headers[MCP_NAME_HEADER] = encode_header_value(name)
        arguments = _member(params, "arguments")
        if method == "tools/call" and isinstance(arguments, dict):
            headers |= mcp_param_headers(schemas.get(name, {}), arguments)
    return headers


def parameters(answer: Mapping[str, Any]) -> dict[str, Mapping[tuple[str, ...], str]]:
    """Of an answer to ``tools/list``: tool -> path of an argument -> the header that it goes into. Empty for any other
    answer."""
    tools = _member(answer.get("result"), "tools")
    found: dict[str, Mapping[tuple[str, ...], str]] = {}
    for tool in tools if isinstance(tools, list) else []:
        name, schema = _member(tool, "name"), _member(tool, "inputSchema")
        if isinstance(name, str) and isinstance(schema, dict) and find_invalid_x_mcp_header(schema) is None:
            found[name] = x_mcp_header_map(schema)
    return found


def cancelled(message: Mapping[str, Any]) -> RequestId | None:
    """The request that a message calls off."""
    if message.get("method") != CANCELLED:
        return None
    return request_id({"id": _member(message.get("params"), "requestId")})


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _no_number(_: str) -> None:
    raise ValueError("NaN and infinities are no JSON")
