"""The streams that Anthropic recorded for the SDK's own tests; ``make tools`` fetches them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.services import require

FOLDER: Final = Path(__file__).parents[2] / ".tools/anthropic-fixtures"
NAMES: Final = (
    "basic_response",
    "compaction_response",
    "context_management_response",
    "fallback_credit_response",
    "fallback_response",
    "incomplete_partial_json_response",
    "input_transformations_delta_response",
    "input_transformations_empty_delta_response",
    "input_transformations_start_only_response",
    "message_delta_fields_response",
    "message_delta_omitted_usage_response",
    "refusal_response",
    "server_tool_use_response",
    "tool_use_invalid_json_response",
    "tool_use_response",
    "unknown_events_response",
)
"""What the pinned distribution holds; a test compares."""


def recorded(name: str) -> bytes:
    """The bytes of one stream."""
    require(FOLDER.is_dir(), "the recorded streams of the anthropic SDK", "Run make tools.")
    return (FOLDER / f"{name}.txt").read_bytes()


def events(stream: bytes) -> Sequence[bytes]:
    """A stream in pieces of one event each, the blank line with it; joined, they are the stream."""
    parts = stream.split(b"\n\n")
    return [*(part + b"\n\n" for part in parts[:-1]), *([parts[-1]] if parts[-1] else [])]
