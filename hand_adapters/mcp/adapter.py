"""The ``mcp`` adapter: a stdio MCP server in the jail, one warm process per principal."""

import asyncio
from typing import ClassVar

from mcp import Client

from gateway.calls import HandCall, HandResult
from gateway.manifest import Manifest
from gateway.mcp_methods import QUESTIONS
from gateway.settings import HandSettings, SettingsError
from hand_adapters import jailed
from hand_adapters.egress import EgressGate, gate
from hand_adapters.jail import Jail, JailSpec
from hand_adapters.mcp import carried, listing, rounds
from hand_adapters.mcp.pipes import PipeChannel
from hand_adapters.mcp.rounds import Outcome, Round
from hand_adapters.mcp.session import Session
from hand_adapters.mcp.talk import Declared, Talk, joined, parted
from hand_adapters.mcp.tasks import Inquiry
from hand_adapters.warm import WarmProcesses


class McpAdapter:
    """One MCP server program. Its processes never see the step credential, a principal or each other."""

    needs_jail: ClassVar[bool] = True

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._declared = Declared.of(settings)
        self._jail = jail
        self._sessions = WarmProcesses(self._session, settings.jail_profile)

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration. Raises ``SettingsError``: no command, unknown profile, or a bind that is no path."""
        where = f"hands.{hand_id}"
        if not settings.command or not all(settings.command):
            raise SettingsError(f"{where}.command: name a program")
        jailed.check(hand_id, settings)

    async def manifest(self) -> Manifest:
        """Start a fresh server, ask it for every tool, and keep it for the first principal that calls.

        Raises:
            HandError: ``hand.unavailable``, ``hand.crashed``, ``hand.timeout`` or ``hand.protocol``.
        """
        session = self._sessions.new(self._settings.jail_profile)
        try:
            manifest = await asyncio.shield(session.opened)
        except BaseException:
            self._sessions.retire(session)
            raise
        self._sessions.keep(session)
        return manifest

    async def run(self, call: HandCall) -> HandResult:
        """Run one call on the caller's own process.

        Raises:
            HandDrifted: the server's tools are not the pinned ones.
            HandError: ``gateway.overloaded``, ``hand.unavailable`` (not executed); ``hand.failed`` (a JSON-RPC
                error); ``hand.timeout``, ``hand.crashed``, ``hand.protocol``, ``hand.result_too_large`` (unknown, and
                the process is gone).
        """
        if call.action in QUESTIONS:
            return carried.run(call)
        profile = call.jail_profile or self._settings.jail_profile
        key = (call.tenant, call.principal_id, joined(profile, self._declared.answers(call)))

        began = self._sessions.closed

        async def once(call: HandCall, again: Round | Inquiry | None) -> Outcome:
            going_on = began if isinstance(again, Inquiry) else None
            return await self._sessions.of(key, going_on).call(call, again)

        return await rounds.run(call, self._declared, once)

    async def close(self) -> None:
        """Kill every process of this hand and wait until they are gone."""
        await self._sessions.close()

    def _session(self, purpose: str) -> Session:
        profile, answers = parted(purpose)
        way_out = gate(self.id, self._settings)

        async def start() -> PipeChannel:
            return PipeChannel(await self._jail.start(self._spec(profile, way_out)))

        return Session(
            start,
            self._describe,
            self._settings.idle_seconds,
            way_out,
            declared=self._settings.actions,
            talk=Talk(self._declared, answers),
        )

    async def _describe(self, client: Client) -> listing.Described:
        offered = await listing.offer(client, self._settings.actions)
        manifest, self.notes = listing.manifest(self.id, self._settings, offered)
        return listing.Described(manifest, listing.as_tasks(offered))

    def _spec(self, profile: str, way_out: EgressGate | None) -> JailSpec:
        """What the jail runs. ``{python}`` is the gateway's own interpreter, which the jail brings along."""
        program, *rest = self._settings.command or ()
        argv = ("python" if program == "{python}" else program, *rest)
        binds, env = jailed.binds(self._settings), jailed.environment(self._settings)
        return JailSpec(argv=argv, profile=profile, binds=binds, env=env, gate=way_out)
