"""The ``mcp`` adapter: a stdio MCP server in the jail, one warm process per principal."""

import asyncio
from typing import ClassVar, Final

from mcp import Client

from gateway.manifest import Manifest
from gateway.model import HandCall, HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandError
from hand_adapters.jail import PROFILES, Bind, Jail, JailedProcess, JailSpec
from hand_adapters.mcp import listing
from hand_adapters.mcp.session import Session

PROCESSES_MAX: Final = 32
"""Warm processes of one hand; beyond it the one idle for longest makes room."""
ENVIRONMENT: Final = {
    "HOME": "/tmp",  # noqa: S108 (inside the jail, private to it)
    "LANG": "C.UTF-8",
    # glibc would reserve 64 MiB of address space for each thread. Without a cgroup that is what is limited, and three
    # threads would take all of it.
    "MALLOC_ARENA_MAX": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TZ": "UTC",
}
"""The environment of a server, beside what its declaration says: the same for everybody, so it tells nothing."""

_Key = tuple[str, str, str]


class McpAdapter:
    """One MCP server program. Its processes never see the step credential, a principal or each other."""

    needs_jail: ClassVar[bool] = True

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._jail = jail
        self._sessions: dict[_Key, Session] = {}
        self._spare: Session | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration. Raises ``SettingsError``: no command, unknown profile, or a bind that is no path."""
        where = f"hands.{hand_id}"
        if not settings.command or not all(settings.command):
            raise SettingsError(f"{where}.command: name a program")
        if settings.jail_profile not in PROFILES:
            raise SettingsError(f"{where}.jail_profile: one of {', '.join(sorted(PROFILES))}")
        for bind in settings.binds:
            if not bind.source.exists():
                raise SettingsError(f"{where}.binds: {bind.source} does not exist")

    async def manifest(self) -> Manifest:
        """Start a fresh server, ask it for every tool, and keep it for the first principal that calls.

        Raises:
            HandError: ``hand.unavailable``, ``hand.crashed``, ``hand.timeout`` or ``hand.protocol``.
        """
        session = self._session(self._settings.jail_profile)
        try:
            manifest = await asyncio.shield(session.opened)
        except BaseException:
            self._retire(session)
            raise
        if self._spare is not None:
            self._retire(self._spare)
        self._spare = session
        return manifest

    async def run(self, call: HandCall) -> HandResult:
        """Run one call on the caller's own process.

        Raises:
            HandDrifted: the server's tools are not the pinned ones.
            HandError: ``gateway.overloaded``, ``hand.unavailable`` (not executed); ``hand.failed`` (a JSON-RPC
                error); ``hand.timeout``, ``hand.crashed``, ``hand.protocol``, ``hand.result_too_large`` (unknown, and
                the process is gone).
        """
        key = (call.tenant, call.principal_id, call.jail_profile or self._settings.jail_profile)
        session = self._sessions.get(key)
        if session is None or session.ended:
            session = self._sessions[key] = self._take(key)
        return await session.call(call)

    async def close(self) -> None:
        """Kill every process of this hand and wait until they are gone."""
        for session in (*self._sessions.values(), *((self._spare,) if self._spare else ())):
            self._retire(session)
        self._sessions.clear()
        self._spare = None
        while self._closing:
            await asyncio.wait(self._closing)

    def _take(self, key: _Key) -> Session:
        """A process for a principal that has none: the spare one, which nobody has used, or a new one."""
        for other in [other for other, session in self._sessions.items() if session.ended]:
            self._retire(self._sessions.pop(other))
        if len(self._sessions) >= PROCESSES_MAX:
            idle = [other for other, session in self._sessions.items() if not session.busy]
            if not idle:
                raise HandError(Reason.OVERLOADED, HandFailure.NOT_EXECUTED, "every process of this hand is busy")
            self._retire(self._sessions.pop(min(idle, key=lambda other: self._sessions[other].idle_since)))
        spare, default = self._spare, key[2] == self._settings.jail_profile
        if default and spare is not None and not spare.ended:
            self._spare = None
            return spare
        return self._session(key[2])

    def _session(self, profile: str) -> Session:
        async def start() -> JailedProcess:
            return await self._jail.start(self._spec(profile))

        return Session(start, self._describe, self._settings.idle_seconds)

    def _retire(self, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _describe(self, client: Client) -> Manifest:
        offered = await listing.tools(client)
        manifest, self.notes = listing.manifest(self.id, self._settings, offered, client.session.instructions)
        return manifest

    def _spec(self, profile: str) -> JailSpec:
        """What the jail runs. ``{python}`` is the gateway's own interpreter, which the jail brings along."""
        program, *rest = self._settings.command or ()
        binds = tuple(
            Bind(bind.source.absolute(), bind.target or str(bind.source.absolute()), bind.writable)
            for bind in self._settings.binds
        )
        argv = ("python" if program == "{python}" else program, *rest)
        return JailSpec(argv=argv, profile=profile, binds=binds, env=ENVIRONMENT | self._settings.env)
