"""The workspaces at Anthropic of one gateway, as people ask for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import Absent
from gateway.managed_agents.connector import Connector
from gateway.managed_agents.mapping import Mapped, Way
from gateway.managed_agents.policies import Needs
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.ports.managed_agents import Records, SessionRecord
from gateway.times import format_time


@dataclass(slots=True)
class ManagedAgents:
    """Lists, follows and releases sessions, and looks at agents."""

    connectors: Mapping[str, Connector]
    records: Records

    def start(self) -> None:
        """Begin to follow."""
        for connector in self.connectors.values():
            connector.start()

    def leave(self) -> None:
        """Take nothing new: this gateway is about to stop."""
        for connector in self.connectors.values():
            connector.leave()

    async def close(self) -> None:
        """Stop, and leave the sessions to other gateways."""
        for connector in self.connectors.values():
            await connector.close()

    async def list(self, viewer: Principal) -> dict[str, Any]:
        """``{sessions}``: those of the viewer's tenant, newest first. Raises ``auth.forbidden``."""
        require(viewer, Permission.AGENTS_READ)
        found = await self.records.sessions(viewer.tenant)
        return {"sessions": [self._brief(one) for one in found if one.connector in self.connectors]}

    async def show(self, viewer: Principal, name: str, session_id: str) -> dict[str, Any]:
        """A session and its tool uses. Raises ``auth.forbidden``, ``request.not_found``, ``log.unavailable``."""
        require(viewer, Permission.AGENTS_READ)
        connector = self._connector(viewer, name)
        record = await self.records.session(name, session_id)
        if record is None:
            raise Absent("session", session_id)
        uses = await self.records.uses(name, session_id)
        problem = connector.problem(session_id)
        return {
            **self._brief(record),
            "problem": None if problem is None else {"code": str(problem.reason), "text": problem.text},
            "unreadable": connector.unseen(session_id),
            "tool_uses": [
                {
                    "event_id": use.event_id,
                    "plan_id": use.plan_id or None,
                    "state": str(use.state),
                    "verdict": use.verdict or None,
                    "reported": use.reported,
                }
                for use in sorted(uses, key=lambda use: (use.signed_at, use.event_id))
            ],
        }

    async def follow(self, actor: Principal, name: str, session_id: str) -> dict[str, Any]:
        """Follow a session. Raises as :meth:`Connector.follow`, and ``auth.forbidden``."""
        require(actor, Permission.AGENTS_MANAGE)
        return self._brief(await self._connector(actor, name).follow(actor, session_id))

    async def release(self, actor: Principal, name: str, session_id: str) -> dict[str, Any]:
        """Let a session go. Raises as :meth:`Connector.release`, and ``auth.forbidden``."""
        require(actor, Permission.AGENTS_MANAGE)
        return self._brief(await self._connector(actor, name).release(actor, session_id))

    async def agent(self, viewer: Principal, name: str, agent_id: str) -> dict[str, Any]:
        """What an agent needs. Raises as :meth:`Connector.needs`, and ``auth.forbidden``."""
        require(viewer, Permission.AGENTS_MANAGE)
        connector = self._connector(viewer, name)
        agent, needed = await connector.needs(agent_id)
        return _agent_view(connector, agent_id, agent, needed)

    async def adopt(self, actor: Principal, name: str, agent_id: str) -> dict[str, Any]:
        """Give an agent the policies that it needs. Raises as ``Connector.set_policies``, and ``auth.forbidden``."""
        require(actor, Permission.AGENTS_MANAGE)
        connector = self._connector(actor, name)
        agent, needed = await connector.set_policies(actor, agent_id)
        return _agent_view(connector, agent_id, agent, needed)

    def _connector(self, viewer: Principal, name: str) -> Connector:
        connector = self.connectors.get(name)
        if connector is None or connector.settings.tenant != viewer.tenant:
            raise Absent("connector", name)
        return connector

    def _brief(self, one: SessionRecord) -> dict[str, Any]:
        return {
            "connector": one.connector,
            "session_id": one.session_id,
            "agent_id": one.agent_id,
            "context_id": one.context_id,
            "state": str(one.state),
            "adopted_at": format_time(one.adopted_at),
            "on_behalf_of": self.connectors[one.connector].settings.on_behalf_of,
        }


def _agent_view(connector: Connector, agent_id: str, agent: Mapping[str, Any], needed: Needs) -> dict[str, Any]:
    version = agent.get("version")
    return {
        "connector": connector.name,
        "agent_id": agent_id,
        "name": str(agent.get("name", ""))[:256],
        "version": version if isinstance(version, int) else 0,
        "governed": needed.closed,
        "policies": [
            {
                "toolset": word.toolset,
                "tool": word.tool,
                "policy": word.policy,
                "needed": "always_ask" if word.open else word.policy,
                **_served(connector, word.to),
            }
            for word in needed.words
        ],
        "custom_tools": [{"tool": tool, **_served(connector, mapped)} for tool, mapped in needed.custom.items()],
        "hands_work_to": list(needed.others),
        "unknown": list(needed.unknown),
    }


def _served(connector: Connector, to: Mapped | None) -> dict[str, Any]:
    """Where calls of a tool go, and what is not there of it: without hand and action they are denied."""
    if to is None or to.way is Way.DENIED:
        return {"hand": None, "action": None, "lacks": None}
    manifest = connector.parts.pipeline.hands.manifest(connector.settings.tenant, to.hand)
    offered = manifest is not None and to.action in manifest.actions and not manifest.keeps_apart(to.action)
    lacks = "hand" if manifest is None else None if offered else "action"
    return {"hand": to.hand, "action": to.action, "lacks": lacks}
