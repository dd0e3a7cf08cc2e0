"""The pure parts: events in any order, policies of any shape, names of any kind."""

import random
from typing import Any

import pytest

from gateway.managed_agents import events, policies
from gateway.managed_agents.conversation import Conversation
from gateway.managed_agents.events import Kind, ToolUse, Unread
from gateway.managed_agents.mapping import NOBODYS, Mapped, Tools, Way
from tests.managed_agents.stand_in import ALLOW, ASK, custom, mcp_toolset, toolset

TOOLS = Tools("claude", {"github": "git"}, {"lookup": "crm.find"}, {"bash": "shell.run"})
AT = "2026-11-01T00:00:00Z"


def use(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"u{number}",
        "type": "agent.custom_tool_use",
        "name": "a__b",
        "input": {},
        "processed_at": AT,
        **more,
    }


def idle(number: int, *ids: str) -> dict[str, Any]:
    reason = {"type": "requires_action", "event_ids": list(ids)} if ids else {"type": "end_turn"}
    return {"id": f"i{number}", "type": "session.status_idle", "stop_reason": reason, "processed_at": AT}


def test_the_same_events_in_any_order_and_number_are_the_same_session() -> None:
    said = [use(1), use(2), idle(1, "u1", "u2"), use(3), idle(2, "u2", "u3")]
    said.append({"id": "a1", "type": "user.custom_tool_result", "custom_tool_use_id": "u1", "processed_at": AT})
    draw = random.Random(70)
    for _ in range(200):
        heard = [*said, *draw.choices(said, k=4)]
        draw.shuffle(heard)
        conversation = Conversation()
        assert conversation.hear_all(events.read(one) for one in heard) == len(said)
        assert {one.id for one in conversation.waiting(())} == {"u2", "u3"}
        assert conversation.bypasses({"u1"}, (), "") == []
        assert [one.event_id for one in conversation.bypasses((), (), "")] == ["u1"]


@pytest.mark.parametrize(
    "broken",
    [
        use(1, input=[]),
        use(1, id="a" * 65),
        use(1, id=""),
        use(1, name=""),
        use(1, processed_at="yesterday"),
        use(1, processed_at=None),
        {**use(1), "type": "agent.mcp_tool_use"},
        {**idle(1), "stop_reason": {"type": "requires_action", "event_ids": "u1"}},
        {**idle(1), "stop_reason": None},
        {"type": "user.tool_confirmation", "id": "x", "tool_use_id": "u1", "result": None},
        {"type": "session.updated", "id": "x", "agent": "all of them"},
        {"type": "agent.tool_result", "id": "x", "tool_use_id": "u1", "content": ["text"]},
        {},
    ],
)
def test_an_event_that_is_not_as_it_should_be_is_not_acted_on(broken: dict[str, Any]) -> None:
    read = events.read(broken)
    assert isinstance(read, Unread)
    assert read.broken
    conversation = Conversation()
    conversation.hear(read)
    conversation.hear(events.read(use(1)))
    conversation.hear(events.read(idle(9, "u1")))
    assert [one.id for one in conversation.waiting(())] == ["u1"], "the sound one still is"


def test_moments_sort_as_they_are_however_they_are_written() -> None:
    texts = ["2026-11-01T00:00:00Z", "2026-11-01T00:00:00.5Z", "2026-11-01T02:00:00.7+02:00", "2026-11-01T00:00:01Z"]
    read = [events.read(use(1, processed_at=text)) for text in texts]
    moments = [one.at for one in read if isinstance(one, ToolUse)]
    assert len(moments) == 4
    assert moments == sorted(moments)


@pytest.mark.parametrize(
    ("kind", "name", "server", "where"),
    [
        (Kind.TOOLSET, "read", None, Mapped(Way.RELEASED, "claude", "read")),
        (Kind.TOOLSET, "bash", None, Mapped(Way.RUN, "shell", "run")),
        (Kind.TOOLSET, "../bash\n", None, NOBODYS),
        (Kind.MCP, "merge", "github", Mapped(Way.RELEASED, "git", "merge")),
        (Kind.MCP, "merge", "slack", NOBODYS),
        (Kind.CUSTOM, "crm__find", None, Mapped(Way.RUN, "crm", "find")),
        (Kind.CUSTOM, "lookup", None, Mapped(Way.RUN, "crm", "find")),
        (Kind.CUSTOM, "crm__find__all", None, Mapped(Way.RUN, "crm", "find__all")),
        (Kind.CUSTOM, "CRM__find", None, NOBODYS),
        (Kind.CUSTOM, "__find", None, NOBODYS),
        (Kind.CUSTOM, "crm__", None, NOBODYS),
        (Kind.CUSTOM, "bash", None, NOBODYS),
    ],
)
def test_a_tool_is_the_hand_that_the_operator_said(kind: Kind, name: str, server: str | None, where: Mapped) -> None:
    assert TOOLS.of(ToolUse("u", kind, name, {}, AT, None, server)) == where


def test_what_an_agent_needs_is_said_of_each_tool_and_asked_for_once() -> None:
    agent = {
        "tools": [
            toolset(ALLOW, bash=ALLOW, read=ASK, web_fetch={"type": "auto"}),
            mcp_toolset("github", ASK),
            custom("crm__find"),
            custom("rocket"),
        ]
    }
    tools = Tools("claude", {"github": "git"})
    needed = policies.needs(agent, tools)
    assert [(word.tool, word.policy) for word in needed.open] == [
        ("*", "always_allow"),
        ("bash", "always_allow"),
        ("web_fetch", "auto"),
    ]
    assert not needed.closed
    assert needed.custom["rocket"] == NOBODYS
    asking = policies.asking(agent, ())
    closed = policies.needs({"tools": asking}, tools)
    assert closed.closed
    assert policies.asking({"tools": asking}, ()) == asking
    assert [one["type"] for one in asking] == [one["type"] for one in agent["tools"]]
    assert asking[2:] == agent["tools"][2:]


@pytest.mark.parametrize(
    "agent",
    [
        {"tools": [{"type": "agent_toolset_20260401"}]},
        {"tools": [{"type": "agent_toolset_20270101", "default_config": {}, "configs": []}]},
        {"tools": [{"type": "quantum_toolset"}]},
        {"tools": [], "multiagent": {"type": "multiagent_20261001"}},
        {"tools": [], "multiagent": {"type": "coordinator", "agents": [{"type": "inline"}]}},
        {"tools": [], "multiagent": {"type": "coordinator", "agents": [{"type": "agent", "tools": [toolset(ALLOW)]}]}},
    ],
)
def test_an_agent_of_which_it_cannot_be_said_is_not_closed(agent: dict[str, Any]) -> None:
    assert not policies.needs(agent, TOOLS).closed


def test_agents_that_work_is_handed_to_are_named() -> None:
    crew = {"type": "coordinator", "agents": [{"type": "agent", "id": "agent_2"}, {"type": "advisor"}]}
    assert policies.needs({"tools": [], "multiagent": crew}, TOOLS).others == ("agent_2",)


def test_a_disabled_tool_needs_no_policy() -> None:
    off = {"enabled": False, "permission_policy": ALLOW}
    agent = {"tools": [{"type": "agent_toolset_20260401", "default_config": off, "configs": []}]}
    assert policies.needs(agent, TOOLS).closed
