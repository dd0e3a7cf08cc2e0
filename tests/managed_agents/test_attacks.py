"""What an agent, another client of its workspace, or an unlucky moment could do to get past the gateway."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from structlog.testing import capture_logs

from gateway.errors import HandrailError
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.managed_agents import policies
from gateway.managed_agents.following import Troubles
from gateway.model import Principal, Role
from gateway.ports.managed_agents import UseState
from gateway.reasons import Reason
from tests.managed_agents.stand_in import ALLOW, ASK, KEY, Session, StandIn, custom, toolset
from tests.managed_agents.world import AGENT, World, opened
from tests.until import until


async def stopped(world: World, session: Session, cause: str) -> None:
    """The session is marked, the service was told to stop, and it is on record why."""

    async def marked() -> bool:
        return bool((await world.shown(session))["state"] == "bypassed")

    await until(marked)
    await until(lambda: [event for _, event in world.service.sent if event["type"] == "user.interrupt"])
    assert cause in {entry["facts"]["cause"] for entry in world.entries("AGSBYP")}
    assert world.count("agent_bypasses", cause) >= 1


async def test_a_tool_that_ran_without_asking_stops_everything(world: World) -> None:
    session = world.session()
    await world.follow(session)
    held = world.service.use(session, "agent.tool_use", name="write", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    ran = world.service.made("agent.tool_use", name="bash", input={}, evaluated_permission="allow")
    world.service.emit(session, ran)
    await stopped(world, session, "let_go")
    await world.approve(session, held)
    (answer,) = await world.answers(session, held)
    assert answer["result"] == "deny", "approved before it was known, and not let go any more"
    assert "agents.bypassed" in answer["deny_message"]
    later = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (answer,) = await world.answers(session, later)
    assert answer["is_error"]
    assert world.calls == []


async def test_policies_that_are_opened_after_the_adoption_stop_everything(world: World) -> None:
    session = world.session()
    await world.follow(session)
    session.agent["tools"] = [toolset(ASK, bash=ALLOW), custom("crm__read")]
    agent = {**session.agent}
    world.service.emit(session, world.service.made("session.updated", agent=agent))
    await stopped(world, session, "policy")
    use = world.service.use(session, "agent.tool_use", name="read", input={})
    world.service.idle(session)
    (answer,) = await world.answers(session, use)
    assert answer["result"] == "deny"


async def test_a_session_whose_policies_are_open_from_the_start_is_not_governed(world: World) -> None:
    world.service.agent("agent_open", toolset(ALLOW))
    session = world.service.session("agent_open", "sesn_open")
    await world.follow(session)
    await stopped(world, session, "policy")


async def test_a_session_that_was_mended_is_followed_again_and_one_that_was_not_is_found_again(world: World) -> None:
    world.service.agent("agent_open", toolset(ALLOW), custom("crm__read"))
    session = world.service.session("agent_open", "sesn_open")
    agents, op = world.gateway.managed_agents, world.people["op"]
    await world.follow(session)
    await stopped(world, session, "policy")
    await agents.release(op, "cloud", session.id)
    await world.follow(session)
    await until(lambda: len(world.entries("AGSBYP")) == 2)
    await agents.release(op, "cloud", session.id)
    session.agent["tools"] = [toolset(ASK), custom("crm__read")]
    await world.follow(session)
    use = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (answer,) = await world.answers(session, use)
    assert not answer["is_error"]
    assert (await world.shown(session))["state"] == "following"


async def test_a_word_for_a_permission_that_nobody_knows_counts_as_let_go(world: World) -> None:
    session = world.session()
    await world.follow(session)
    event = world.service.made("agent.tool_use", name="bash", input={}, evaluated_permission="ask")
    world.service.emit(session, {**event, "evaluated_permission": "sure_why_not"})
    await stopped(world, session, "let_go")


async def test_another_client_that_answers_what_is_held_stops_everything(world: World) -> None:
    session = world.session()
    await world.follow(session)
    held = world.service.use(session, "agent.tool_use", name="write", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    forged = world.service.made("user.tool_confirmation", tool_use_id=held, result="allow")
    session.waits_for.remove(held)
    world.service.emit(session, forged)
    await stopped(world, session, "answered_elsewhere")
    await world.approve(session, held)
    await world.state(session, held, "over")
    assert world.service.answers(session, held) == []


async def test_a_result_of_a_custom_tool_that_is_not_the_gateways_stops_everything(world: World) -> None:
    session = world.session()
    await world.follow(session)
    done = world.service.use(session, name="crm__read", input={})
    world.service.idle(session)
    (ours,) = await world.answers(session, done)
    held = world.service.use(session, name="crm__send", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    assert world.entries("AGSBYP") == []
    replayed = {name: value for name, value in ours.items() if name != "type"} | {"custom_tool_use_id": held}
    world.service.emit(session, world.service.made("user.custom_tool_result", **replayed))
    await stopped(world, session, "answered_elsewhere")
    assert [entry["facts"]["event"] for entry in world.entries("AGSBYP")] == [held]
    follower = await world.follower(session)
    await follower.following.turn(follower.parts, held, state=UseState.ANSWERED, verdict="deny")
    assert follower.following.uses[held].verdict == "bypassed", "whoever judged it meanwhile does not take that back"


async def test_another_client_that_lets_go_what_was_denied_stops_everything(world: World) -> None:
    session = world.session()
    await world.follow(session)
    denied = world.service.use(session, "agent.tool_use", name="edit", input={})
    world.service.idle(session)
    await world.answers(session, denied)
    world.service.emit(session, world.service.made("user.tool_confirmation", tool_use_id=denied, result="allow"))
    await stopped(world, session, "answered_elsewhere")


async def test_denials_of_another_client_and_of_the_service_are_nothing_to_stop_for(world: World) -> None:
    session = world.session()
    await world.follow(session)
    held = world.service.use(session, "agent.tool_use", name="write", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    session.waits_for.remove(held)
    world.service.emit(session, world.service.made("user.tool_confirmation", tool_use_id=held, result="deny"))
    refused = world.service.made("agent.tool_use", name="bash", input={}, evaluated_permission="deny")
    world.service.emit(session, refused)
    good = world.service.use(session, name="crm__read")
    world.service.idle(session)
    await world.answers(session, good)
    assert (await world.shown(session))["state"] == "following"


async def test_what_was_before_the_adoption_is_nobodys_bypass(world: World) -> None:
    session = world.session()
    world.service.emit(
        session, world.service.made("agent.tool_use", name="bash", input={}, evaluated_permission="allow")
    )
    left = world.service.use(session, name="crm__read", input={})
    world.service.idle(session)
    await world.follow(session)
    await world.answers(session, left)
    assert (await world.shown(session))["state"] == "following"


async def test_a_reference_in_an_input_reaches_no_result_and_spoils_no_turn(world: World) -> None:
    session = world.session()
    await world.follow(session)
    good = world.service.use(session, name="crm__read", input={"n": 1})
    thief = world.service.use(session, name="crm__read", input={"id": {"$step": good, "pointer": "/structured"}})
    world.service.idle(session)
    (answer,) = await world.answers(session, thief)
    assert answer["is_error"]
    assert "schema.reference" in answer["content"][0]["text"]
    (answer,) = await world.answers(session, good)
    assert not answer["is_error"]
    assert world.calls == [("/read", {"n": 1})]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"text": "x" * 5_000_000}, "request.too_large"),
        ({"number": 2**60}, "schema.json"),
        ({"text": "\ud800"}, "schema.json"),
    ],
    ids=["huge", "number", "surrogate"],
)
async def test_an_input_that_no_plan_can_hold_is_denied_alone(
    world: World, given: dict[str, object], code: str
) -> None:
    session = world.session()
    await world.follow(session)
    bad = world.service.use(session, name="crm__read", input=given)
    good = world.service.use(session, name="crm__read", input={"n": 1})
    world.service.idle(session)
    (answer,) = await world.answers(session, bad)
    assert code in answer["content"][0]["text"]
    (answer,) = await world.answers(session, good)
    assert not answer["is_error"]
    assert world.calls == [("/read", {"n": 1})]


async def test_a_long_result_is_cut_and_says_so(world: World) -> None:
    session = world.session()
    await world.follow(session)
    use = world.service.use(session, name="crm__big")
    world.service.idle(session)
    (answer,) = await world.answers(session, use)
    assert not answer["is_error"]
    assert sum(len(block["text"]) for block in answer["content"]) < 200_000


async def test_a_principal_that_was_revoked_lets_nothing_go(world: World) -> None:
    session = world.session()
    await world.follow(session)
    held = world.service.use(session, "agent.tool_use", name="write", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    await world.gateway.directory.revoke_principal(world.people["root"], "helper")
    later = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (answer,) = await world.answers(session, later)
    assert answer["is_error"]
    assert world.calls == []
    assert world.service.answers(session, held) == [] or world.service.answers(session, held)[0]["result"] == "deny"


async def test_a_principal_that_may_not_submit_plans_any_more_lets_nothing_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that was taken away stops the agents as a revocation does."""
    session = world.session()
    await world.follow(session)
    directory = world.gateway.directory
    known = directory.principal

    async def demoted(tenant: str, principal_id: str) -> Principal:
        return replace(await known(tenant, principal_id), roles=frozenset({Role.AUDITOR}))

    monkeypatch.setattr(directory, "principal", demoted)
    use = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (answer,) = await world.answers(session, use)
    assert answer["is_error"]
    assert "verify.subject" in answer["content"][0]["text"]
    assert world.calls == []


async def test_what_is_frozen_is_not_let_go(world: World) -> None:
    session = world.session()
    await world.follow(session)
    held = world.service.use(session, "agent.tool_use", name="write", input={})
    world.service.idle(session)
    await world.plan_of(session, held)
    await world.gateway.freezing.set(world.people["op"], FreezeOrder(Scope.ALL))
    (answer,) = await world.answers(session, held)
    assert answer["result"] == "deny"
    later = world.service.use(session, name="crm__read")
    world.service.idle(session)
    (answer,) = await world.answers(session, later)
    assert answer["is_error"]
    assert "freeze.active" in answer["content"][0]["text"]
    assert world.calls == []


@pytest.mark.limits
async def test_a_log_that_is_down_lets_nothing_go(world: World) -> None:
    session = world.session()
    await world.follow(session)
    first = world.service.use(session, name="crm__read", input={"n": 1})
    world.service.idle(session)
    await world.answers(session, first)
    engine = create_engine(world.gateway.settings.database_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        use = world.service.use(session, "agent.tool_use", name="bash", input={})
        world.service.idle(session)
        follower = await world.follower(session)
        await until(lambda: follower.problem is not None)
        assert world.service.answers(session, use) == []
        connection.exec_driver_sql("ROLLBACK")
    engine.dispose()
    (answer,) = await world.answers(session, use)
    assert answer["result"] == "allow"


async def test_no_credential_of_the_process_leaves_with_the_gateways(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "stolen-from-the-environment")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-evil: 1")
    session = world.session()
    await world.follow(session)
    for _, _, headers in world.service.requests:
        assert "authorization" not in headers
        assert "x-evil" not in headers
        assert headers["x-api-key"].startswith("sk-ant-stand-in")


async def test_a_service_that_is_away_is_said_and_an_unknown_session_is_not_adopted(world: World) -> None:
    session = world.session()
    world.service.fail("session", 503)
    with pytest.raises(HandrailError) as away:
        await world.gateway.managed_agents.follow(world.people["op"], "cloud", session.id)
    assert str(away.value.reason) == "agents.unavailable"
    with pytest.raises(HandrailError) as unknown:
        await world.gateway.managed_agents.follow(world.people["op"], "cloud", "sesn_nobody")
    assert str(unknown.value.reason) == "request.not_found"
    await world.follow(session)
    with pytest.raises(HandrailError) as twice:
        await world.gateway.managed_agents.follow(world.people["op"], "cloud", session.id)
    assert twice.value.facts["problem"] == "agents.followed"
    with pytest.raises(HandrailError) as forbidden:
        await world.gateway.managed_agents.follow(world.people["helper"], "cloud", session.id)
    assert str(forbidden.value.reason) == "auth.forbidden"


async def test_an_agent_that_changes_while_it_is_looked_at_is_left_alone(world: World) -> None:
    agent = world.service.agent("agent_open", toolset(ALLOW, bash=ALLOW))
    connector = world.gateway.managed_agents.connectors["cloud"]
    seen = await connector.api.agent("agent_open")
    agent["version"] = 2
    with pytest.raises(HandrailError) as changed:
        await connector.api.set_tools("agent_open", 1, policies.asking(seen, ()))
    assert changed.value.reason is Reason.AGENTS_REFUSED
    assert agent["tools"] == [toolset(ALLOW, bash=ALLOW)]


async def test_a_key_that_is_taken_away_stops_the_following_and_one_that_is_set_goes_on(world: World) -> None:
    session = world.session()
    follower = await world.follow(session)
    await world.gateway.secrets.remove(world.people["root"], "anthropic")
    world.service.break_streams(session)
    await until(lambda: follower.problem is not None)
    assert (await world.shown(session))["problem"]["code"] == "secret.missing"


async def test_a_key_that_is_missing_is_said_once_and_again_when_it_is_there(
    tmp_path: Path, service: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is looked for: a warning that comes every few seconds hides all others."""
    tries: list[Reason] = []
    good: list[str] = []
    tell, over = Troubles.tell, Troubles.over

    def counted(troubles: Troubles, what: str, about: str, error: HandrailError) -> None:
        tries.append(error.reason)
        tell(troubles, what, about, error)

    def went(troubles: Troubles, what: str, about: str) -> None:
        good.append(what)
        over(troubles, what, about)

    monkeypatch.setattr(Troubles, "tell", counted)
    monkeypatch.setattr(Troubles, "over", went)
    service.agent("agent_1", toolset(ASK))
    async with opened(tmp_path / "one", service, agents=[AGENT]) as world:
        await until(lambda: "agents' sessions wait" in good)
        with capture_logs() as logs:
            await world.gateway.secrets.remove(world.people["root"], "anthropic")
            tries.clear()
            await until(lambda: len(tries) > 4)
            await world.gateway.secrets.set(world.people["root"], "anthropic", KEY)
            await until(lambda: any(one["event"] == "no longer so" for one in logs))
        waits = [one for one in logs if one["event"] == "agents' sessions wait"]
        assert [(one["about"], one["reason"]) for one in waits] == [("cloud", "secret.missing")]
        assert set(tries) == {Reason.SECRET_MISSING}


async def test_a_tool_whose_hand_is_not_there_is_said_to_be_denied(world: World) -> None:
    customs = [custom(name) for name in ("crm__read", "crm__fly", "erp__pay")]
    world.service.agent("agent_2", toolset(ASK, bash=ASK, glob=ASK), *customs)
    shown = await world.gateway.managed_agents.agent(world.people["op"], "cloud", "agent_2")
    words = {one["tool"]: (one["hand"], one["lacks"]) for one in shown["policies"]}
    assert words == {"*": (None, None), "bash": ("claude", None), "glob": ("claude", "action")}
    tools = {one["tool"]: (one["hand"], one["lacks"]) for one in shown["custom_tools"]}
    assert tools == {"crm__read": ("crm", None), "crm__fly": ("crm", "action"), "erp__pay": ("erp", "hand")}
