"""The batches of the stand-in: each is made, ends when the test says so, and its results are read then."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from anthropic.types import ErrorResponse, Message
from anthropic.types.messages import (
    MessageBatch,
    MessageBatchCanceledResult,
    MessageBatchErroredResult,
    MessageBatchIndividualResponse,
    MessageBatchRequestCounts,
    MessageBatchResult,
    MessageBatchSucceededResult,
)

from tests.anthropic_api.answers import Answer, Scripted

MADE: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
"""When everything here was made."""


@dataclass
class Batch:
    """One batch, and what is asked in it."""

    shown: MessageBatch
    requests: Sequence[Mapping[str, Any]]
    results: list[MessageBatchIndividualResponse] = field(default_factory=list)

    @classmethod
    def made(cls, batch_id: str, requests: Sequence[Mapping[str, Any]]) -> "Batch":
        """A batch that is in progress."""
        counts = MessageBatchRequestCounts(processing=len(requests), succeeded=0, errored=0, canceled=0, expired=0)
        shown = MessageBatch(
            id=batch_id,
            type="message_batch",
            processing_status="in_progress",
            request_counts=counts,
            created_at=MADE,
            expires_at=MADE + timedelta(days=1),
            ended_at=None,
            archived_at=None,
            cancel_initiated_at=None,
            results_url=None,
        )
        return cls(shown, requests)

    def cancel(self) -> None:
        """Ask for its end."""
        self.shown.processing_status = "canceling"
        self.shown.cancel_initiated_at = MADE + timedelta(minutes=1)

    async def end(self, url: str, decide: Callable[[Mapping[str, Any]], Awaitable[Scripted]]) -> None:
        """Let it end: what was not canceled is answered.

        Args:
            url: where its results are.
            decide: gives the answer to the ``params`` of one request.
        """
        canceled = self.shown.processing_status == "canceling"
        for one in self.requests:
            result: MessageBatchResult = (
                MessageBatchCanceledResult(type="canceled") if canceled else _result(await decide(one["params"]))
            )
            self.results.append(MessageBatchIndividualResponse(custom_id=one["custom_id"], result=result))
        kinds = [one.result.type for one in self.results]
        self.shown.request_counts = MessageBatchRequestCounts(
            processing=0,
            **{kind: kinds.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")},
        )
        self.shown.processing_status = "ended"
        self.shown.ended_at = MADE + timedelta(minutes=2)
        self.shown.results_url = url

    def lines(self) -> bytes:
        """Its results, a line of JSON each."""
        return b"".join(one.to_json(indent=None).encode() + b"\n" for one in self.results)


def _result(answer: Scripted) -> MessageBatchResult:
    if isinstance(answer, Message):
        return MessageBatchSucceededResult(type="succeeded", message=answer)
    return MessageBatchErroredResult(type="errored", error=_error(answer))


def _error(answer: Answer) -> ErrorResponse:
    return ErrorResponse.model_validate(
        json.loads(b"".join(piece for piece in answer.pieces if isinstance(piece, bytes)))
    )
