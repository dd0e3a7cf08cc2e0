"""Why a method of MCP gave nothing, and the JSON-RPC error that says so."""

from collections.abc import Sequence
from typing import Any, Final

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS

from gateway.errors import HandrailError
from gateway.ingress import telling
from gateway.mcp_methods import RESOURCE_NOT_FOUND
from gateway.reasons import Reason

_log = structlog.get_logger(__name__)

REFUSED: Final = -32010
"""JSON-RPC code of what was not done: denied, held, or failed (of the implementation's own, -32000 to -32019)."""


class Failed(Exception):
    """A plan gave nothing.

    Attributes:
        code: of the reason.
        lines: what the caller is told.
        by_the_params: whether the server said that it knows no such resource, or not with these params.
    """

    def __init__(self, code: str, lines: Sequence[str], json_rpc_code: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.lines = tuple(lines)
        self.by_the_params = json_rpc_code in {types.INVALID_PARAMS, RESOURCE_NOT_FOUND}


def refusal(error: HandrailError) -> Failed:
    """Of a plan that was refused as a whole."""
    _log.info("call refused", code=str(error.reason), detail=error.detail)
    return Failed(str(error.reason), telling.refusal(error))


def error_of(failed: Failed) -> MCPError:
    """What the client is told."""
    wrong_params = failed.by_the_params or failed.code == Reason.SCHEMA_ARGS
    return MCPError(types.INVALID_PARAMS if wrong_params else REFUSED, "\n".join(failed.lines))


def no_resource(ctx: ServerRequestContext[Any], uri: str) -> MCPError:
    """The resource is not there, or not for this caller (MCP, resources, error handling; SEP-2164)."""
    before = ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
    return MCPError(RESOURCE_NOT_FOUND if before else types.INVALID_PARAMS, "Resource not found", {"uri": uri})
