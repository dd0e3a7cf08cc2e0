"""Agents that run at Anthropic, and their sessions."""

from handrail.exchange import Operation, get, post
from handrail.views import Json


def agent_sessions() -> Operation[Json]:
    """``{sessions}``: sessions at Anthropic that are, or were, followed, newest first."""
    return (yield get("managed-agents", "sessions")).document


def agent_session(connector: str, session_id: str) -> Operation[Json]:
    """A session and its tool calls."""
    return (yield get("managed-agents", connector, "sessions", session_id)).document


def follow_session(connector: str, session_id: str) -> Operation[Json]:
    """Have the tool calls of a session decided by the gateway from now on."""
    return (yield post({"session_id": session_id}, "managed-agents", connector, "sessions")).document


def release_session(connector: str, session_id: str) -> Operation[Json]:
    """Let a session go: the gateway answers its tool calls no more."""
    return (yield post(None, "managed-agents", connector, "sessions", session_id, "release")).document


def managed_agent(connector: str, agent_id: str) -> Operation[Json]:
    """Which permission policies an agent has, and which it needs."""
    return (yield get("managed-agents", connector, "agents", agent_id)).document


def adopt_agent(connector: str, agent_id: str) -> Operation[Json]:
    """Give an agent the permission policies that it needs; as it is then."""
    return (yield post(None, "managed-agents", connector, "agents", agent_id, "adopt")).document
