"""The events that clients act on, as the SDK has them: what is none of them may pass, what is one must look like it."""

from typing import Any, get_args

import pytest
from anthropic.types import RawMessageStreamEvent
from anthropic.types.beta import BetaRawMessageStreamEvent

from gateway.errors import Refused
from gateway.messages_api.events import KNOWN, OTHER, read_event


def types(union: Any) -> set[str]:
    members = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0] for member in members}


def test_the_sdks_know_no_other_events() -> None:
    assert types(RawMessageStreamEvent) | types(BetaRawMessageStreamEvent) == KNOWN - {"ping", "error"}


def test_an_unknown_event_is_nothing_to_a_client() -> None:
    for name in ("message", "future_event"):
        event = read_event(b'event: %s\ndata: {"type":"future_event","x":1}\n\n' % name.encode())
        assert event.name == OTHER


@pytest.mark.parametrize("later", ["content_block_replaced", "content_blocks", "message_amended"])
def test_a_later_event_of_a_message_is_refused(later: str) -> None:
    for name, kind in ((later, "future_event"), ("message", later)):
        with pytest.raises(Refused):
            read_event(f'event: {name}\ndata: {{"type":"{kind}"}}\n\n'.encode())


@pytest.mark.parametrize("known", sorted(KNOWN))
def test_a_known_event_in_disguise_is_refused(known: str) -> None:
    for name, kind in ((known, "future_event"), ("future_event", known), (known, "")):
        with pytest.raises(Refused):
            read_event(f'event: {name}\ndata: {{"type":"{kind}"}}\n\n'.encode())
