"""Declarations of hands that their client runs: what is pinned, what is refused at the start; nobody is called."""

import tomllib
from typing import Any, cast

import pytest

from gateway.calls import HandCall
from gateway.cli import client_hand
from gateway.ports import HandFailure
from gateway.settings import HandSettings, SettingsError
from hand_adapters.client import ClientAdapter
from hand_adapters.client_presets import PRESETS
from hand_adapters.contract import HandError
from hand_adapters.jail import Jail
from hand_adapters.schemas import Checker

ACTION = {"side_effects": "none"}
NO_JAIL = cast("Jail", None)


def declared(**changes: Any) -> HandSettings:
    return HandSettings(**{"adapter": "client", "actions": {"Bash": ACTION}, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actions": {}}, "needs actions"),
        ({"base_url": "https://api.example"}, "neither base_url nor command"),
        ({"command": ("python",)}, "neither base_url nor command"),
        ({"secrets": {"token": {"targets": ["https://api.example"]}}}, "no secrets"),
        ({"actions": {"Bash": {**ACTION, "args_schema": {"$ref": "https://elsewhere/schema"}}}}, "schema"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        ClientAdapter.validate("shell", declared(**changes))


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"cacheable": True}, "cacheable"),
        ({"result_schema": {"type": "object"}}, "result_schema"),
        ({"deadline_seconds": 5}, "deadline_seconds"),
    ],
)
def test_what_only_a_called_hand_can_keep_is_no_setting(action: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        declared(actions={"Bash": {**ACTION, **action}})
    with pytest.raises(ValueError, match="egress"):
        declared(egress=[{"host": "example.org", "paths": ["/**"]}])


async def test_who_runs_it_is_part_of_the_pin_and_an_action_without_a_schema_takes_any_object() -> None:
    manifest = await ClientAdapter("shell", declared(), NO_JAIL).manifest()
    assert manifest.client
    assert manifest.document()["adapter"] == "client"
    again = type(manifest).from_document(manifest.document())
    assert again == manifest
    assert again.client
    checker = Checker(manifest.actions["Bash"].args_schema)
    assert checker.problems({"command": "ls", "deep": [{"er": 1}]}) == ()
    assert checker.problems([])


async def test_nobody_calls_it() -> None:
    adapter = ClientAdapter("shell", declared(), NO_JAIL)
    call = HandCall("default", "ada", "c", "p", "s", "shell", "Bash", {}, b"{}", "", "d", 1.0, 1, prove=lambda m, u: "")
    with pytest.raises(HandError) as caught:
        await adapter.run(call)
    assert caught.value.failure is HandFailure.NOT_EXECUTED
    await adapter.close()


@pytest.mark.parametrize("client", PRESETS)
async def test_a_preset_is_a_declaration(client: str) -> None:
    written = tomllib.loads("\n".join(client_hand.lines(client, PRESETS[client])))
    settings = HandSettings.model_validate(written["hands"][client])
    assert settings == HandSettings.model_validate(client_hand.declaration(PRESETS[client]))
    ClientAdapter.validate(client, settings)
    manifest = await ClientAdapter(client, settings, NO_JAIL).manifest()
    for name, tool in PRESETS[client].items():
        action = manifest.actions[name]
        assert (action.side_effects, action.roles) == (tool.side_effects, dict(tool.roles))
        other = dict.fromkeys([pointer.removeprefix("/") for pointer in tool.roles], "a")
        assert Checker(action.args_schema).problems({**other, "a_new_argument": True}) == ()
