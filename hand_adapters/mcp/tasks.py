"""Tasks of a server: a call that it takes now, and whose result is fetched later (2025-11-25, tasks; from 2026-07-28 on
the extension ``io.modelcontextprotocol/tasks``, SEP-2663).

Up to 2025-11-25 the client asks for a task, which some tools require, and fetches ``tasks/result``. Later the server
decides, and what ``tasks/get`` answers has its questions and the result in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal

from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim, UnexpectedClaimedResult
from mcp_types import CallToolResult, ErrorData, Result, ServerCapabilities
from mcp_types import Request as McpRequest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

VERSION: Final = "2025-11-25"
"""The one revision in which the client asks for a task."""
KEPT_SECONDS: Final = 60.0
"""How long beyond the deadline of its call a task should be there."""


class Method(StrEnum):
    """What is asked about a task."""

    GET = "tasks/get"
    RESULT = "tasks/result"
    UPDATE = "tasks/update"
    CANCEL = "tasks/cancel"


class Task(BaseModel):
    """How a task stands, in the words of either revision.

    Attributes:
        requests: what the server asks, where it waits for answers; up to 2025-11-25 it asks while the result is waited
            for.
        result, error: what came of it; up to 2025-11-25 the result is fetched.
    """

    id: str = Field(alias="taskId", min_length=1, max_length=1024)
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    poll_milliseconds: float | None = Field(None, validation_alias=AliasChoices("pollIntervalMs", "pollInterval"), ge=0)
    requests: dict[str, dict[str, Any]] = Field(default_factory=dict, alias="inputRequests")
    result: dict[str, Any] | None = None
    error: ErrorData | None = None

    @property
    def over(self) -> bool:
        """Whether it changes no more."""
        return self.status in {"completed", "failed", "cancelled"}


class Created(BaseModel):
    """An answer to ``tools/call`` that is a task."""

    task: Task

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, answer: Any) -> Any:
        """From 2026-07-28 on the task's members are the answer's own."""
        return {"task": answer} if isinstance(answer, dict) and answer.get("resultType") == "task" else answer


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One request about a task."""

    method: Method
    task_id: str
    params: Mapping[str, Any] = field(default_factory=dict)


class _Claimed(Result):
    result_type: Literal["task"] = "task"


async def _unclaimed(result: _Claimed, _: ClaimContext) -> CallToolResult:
    raise UnexpectedClaimedResult(result)


class Extension(ClientExtension):
    """What a server is told that the gateway knows, in the revisions that have extensions. Results are not claimed from
    the SDK: a task is followed here."""

    identifier = "io.modelcontextprotocol/tasks"

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """See the SDK's ``ClientExtension``."""
        return [ResultClaim(result_type="task", model=_Claimed, resolve=_unclaimed)]


class _Request(McpRequest[dict[str, Any], str]):
    name_param: ClassVar[str | None] = "taskId"


class _Said(BaseModel):
    model_config = ConfigDict(extra="allow")


async def ask(client: Client, inquiry: Inquiry) -> dict[str, Any]:
    """What a server answers to an inquiry.

    Raises:
        mcp.MCPError: an error, or the connection ended.
        pydantic.ValidationError: no object.
    """
    request = _Request(method=inquiry.method.value, params={"taskId": inquiry.task_id, **inquiry.params})
    return (await client.session.send_request(request, _Said)).model_extra or {}


def asked_about(inquiry: Inquiry, said: Mapping[str, Any]) -> Task:
    """The task that a server speaks of. Raises ``pydantic.ValidationError``: none, or another one."""
    named = said.get("taskId")
    return Task.model_validate({**said, "taskId": named if named == inquiry.task_id else None})


def asked_for(version: str | None, has: ServerCapabilities | None, deadline_seconds: float) -> dict[str, Any]:
    """The member of a call's params that asks for a task; none where the server does not take it."""
    takes = has.tasks.requests if has is not None and has.tasks is not None else None
    if version != VERSION or takes is None or takes.tools is None or takes.tools.call is None:
        return {}
    return {"task": {"ttl": int((deadline_seconds + KEPT_SECONDS) * 1000)}}
