"""Declarations of remote hands: what is pinned, and what is refused at the start."""

from typing import Any, cast

import pytest

from gateway.calls import HandCall
from gateway.ports import HandFailure
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandError
from hand_adapters.jail import Jail
from hand_adapters.remote import RemoteAdapter

ACTION = {"args_schema": {"type": "object", "properties": {"text": {"type": "string"}}}, "side_effects": "none"}
NO_JAIL = cast("Jail", None)


def declared(**changes: Any) -> HandSettings:
    return HandSettings(**{"adapter": "remote", "actions": {"note": ACTION}, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actions": {}}, "needs actions"),
        ({"base_url": "https://api.example"}, "not called"),
        ({"command": ("python",)}, "not called"),
        ({"secrets": {"token": {"targets": ["https://api.example"]}}}, "sent no secrets"),
        ({"actions": {"note": {**ACTION, "args_schema": {"$ref": "https://elsewhere/schema"}}}}, "schema"),
        ({"actions": {"note": {**ACTION, "args": {"/nowhere": "url"}}}}, "nowhere"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        RemoteAdapter.validate("crm", declared(**changes))


def test_an_action_without_a_schema_is_no_declaration() -> None:
    with pytest.raises(ValueError, match="needs args_schema"):
        declared(actions={"note": {"side_effects": "none"}})


async def test_that_a_hand_is_remote_and_how_long_it_is_waited_for_is_part_of_the_pin() -> None:
    manifests = [
        await RemoteAdapter("crm", declared(claim_seconds=seconds), NO_JAIL).manifest() for seconds in (60, 60, 61)
    ]
    assert manifests[0].remote
    assert manifests[0].document()["transport"] == "remote"
    assert manifests[0].digest == manifests[1].digest != manifests[2].digest
    assert type(manifests[0]).from_document(manifests[0].document()) == manifests[0]


async def test_nobody_calls_a_remote_hand() -> None:
    adapter = RemoteAdapter("crm", declared(), NO_JAIL)
    call = HandCall("default", "ada", "c", "p", "s", "crm", "note", {}, b"{}", "", "d", 1.0, 1, prove=lambda m, u: "")
    with pytest.raises(HandError) as caught:
        await adapter.run(call)
    assert caught.value.failure is HandFailure.NOT_EXECUTED
    await adapter.close()
