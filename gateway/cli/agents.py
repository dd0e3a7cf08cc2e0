"""``handrail agents``: agents that run at Anthropic (Claude Managed Agents), and their sessions."""

from typing import Annotated, Any

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.output import Output
from gateway.rendering import moment

app = noun("agents")

Connector = Annotated[str, typer.Option("--connector", help="Which [managed_agents] table.")]
AgentArgument = Annotated[str, typer.Argument(metavar="AGENT_ID", help="As Anthropic names it, such as agent_01...")]
_ADOPT = "The entry AGSBYP says what. Set the policies: handrail agents adopt {} --connector {} --write"
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION_ID", help="As Anthropic names it.")]


@command(
    app,
    example="agents adopt AGENT_ID --connector claude",
    good="nothing of the agent goes past the gateway",
    negative="something does",
)
def adopt(
    session: Session,
    agent: AgentArgument,
    connector: Connector,
    write: Annotated[bool, typer.Option("--write", help="Set the policies at Anthropic, instead of showing them.")] = (
        False
    ),
) -> Exit:
    """Show which permission policies an agent needs so that the gateway is asked about every tool call; set them with
    --write (sessions that run already keep the policies that they began with)."""
    client = session.client
    before = client.managed_agent(connector, agent)
    after = client.adopt_agent(connector, agent) if write else before
    session.out.show(after, lambda: _show_agent(session.out, before, after, write=write))
    return Exit.GOOD if after.get("governed") else Exit.NEGATIVE


@command(app, "list", example="agents list", good="they were listed")
def list_(session: Session) -> None:
    """List sessions that are, or were, followed; newest first."""
    page = session.client.agent_sessions()
    session.out.show(page, lambda: _show_sessions(session.out, page.get("sessions", [])))


@command(app, example="agents show SESSION_ID --connector claude", good="it was shown")
def show(session: Session, session_id: SessionArgument, connector: Connector) -> None:
    """Show a session and its tool calls."""
    found = session.client.agent_session(connector, session_id)
    session.out.show(found, lambda: _show_session(session.out, found))


@command(app, example="agents follow SESSION_ID --connector claude", good="it is followed")
def follow(session: Session, session_id: SessionArgument, connector: Connector) -> None:
    """Have the tool calls of a session decided by the gateway from now on."""
    found = session.client.follow_session(connector, session_id)
    session.out.show(found, lambda: session.out.line(f"{session_id} is followed in the context {found['context_id']}"))


@command(app, example="agents release SESSION_ID --connector claude", good="it is let go")
def release(session: Session, session_id: SessionArgument, connector: Connector) -> None:
    """Let a session go: the gateway answers its tool calls no more."""
    found = session.client.release_session(connector, session_id)
    session.out.show(found, lambda: session.out.line(f"{session_id} is let go"))


def _show_agent(out: Output, before: dict[str, Any], after: dict[str, Any], *, write: bool) -> None:
    then = {(word["toolset"], word["tool"]): word["policy"] for word in before.get("policies", [])}
    rows = [
        [word["toolset"], word["tool"], _change(then, word, write=write), _here(word, word.get("hand"))]
        for word in after.get("policies", [])
        if word["tool"] != "*"
    ]
    rest = [
        [word["toolset"], "every other", _change(then, word, write=write), ""]
        for word in after.get("policies", [])
        if word["tool"] == "*"
    ]
    custom = [
        ["custom", one["tool"], "has none", _here(one, f"{one.get('hand')}.{one.get('action')}")]
        for one in after.get("custom_tools", [])
    ]
    out.table(["of", "tool", "policy", "here"], [*rest, *rows, *custom], "The agent has no tools.")
    for other in after.get("hands_work_to", []):
        out.note(f"It hands work to {other}: adopt that one too.")
    for one in after.get("unknown", []):
        out.note(f"Nobody here knows what '{one}' lets it do.")
    if after.get("governed"):
        out.line("Nothing of it goes past the gateway.")
    elif not write:
        out.note("Set them: the same with --write.")


def _here(one: dict[str, Any], where: str | None) -> str:
    """Where calls of a tool go, or why they are denied."""
    if not one.get("hand"):
        return "denied"
    if one.get("lacks") == "hand":
        return f"denied: no hand {one['hand']} is pinned"
    return f"denied: {one['hand']} has no action {one.get('action')}" if one.get("lacks") else str(where)


def _change(then: dict[tuple[str, str], str], word: dict[str, Any], *, write: bool) -> str:
    was = then.get((word["toolset"], word["tool"]), "")
    now = word["policy"] if write else word["needed"]
    return now if was == now else f"{was} -> {now}"


def _show_sessions(out: Output, sessions: list[dict[str, Any]]) -> None:
    rows = (
        [
            one.get("session_id"),
            one.get("connector"),
            one.get("agent_id"),
            one.get("on_behalf_of"),
            one.get("state"),
            moment(one.get("adopted_at")),
        ]
        for one in sessions
    )
    out.table(["session", "connector", "agent", "for", "state", "since"], rows, "No session is followed.")


def _show_session(out: Output, one: dict[str, Any]) -> None:
    problem = one.get("problem")
    pairs = [
        ("session", one.get("session_id")),
        ("agent", one.get("agent_id")),
        ("for", one.get("on_behalf_of")),
        ("context", one.get("context_id")),
        ("state", one.get("state")),
        ("since", moment(one.get("adopted_at"))),
    ]
    if problem:
        pairs.append(("not followed now", f"{problem.get('code')}: {problem.get('text')}"))
    out.facts(pairs)
    if one.get("state") == "bypassed":
        adopt = _ADOPT.format(one.get("agent_id"), one.get("connector"))
        out.note(f"Something went past the gateway, so every call is denied. {adopt}")
    uses = one.get("tool_uses", [])
    rows = (
        [
            use.get("event_id"),
            use.get("state"),
            use.get("verdict") or "",
            "yes" if use.get("reported") else "",
            use.get("plan_id") or "",
        ]
        for use in uses
    )
    out.table(["tool use", "state", "answer", "reported", "plan"], rows, "No tool was called.")
    for event in one.get("unreadable", []):
        out.note(f"The session waits for {event}, which nobody here can answer.")
