"""The ``mcp`` adapter for servers that are reached over streamable HTTP: one session per principal, none shared."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

import aiohttp
from mcp import Client
from mcp_types import Prompt, ResourceTemplate, Tool
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from gateway.calls import HandCall, HandResult
from gateway.canonical import parse
from gateway.errors import Refused
from gateway.files import read_bounded
from gateway.manifest import Manifest
from gateway.mcp_methods import QUESTIONS
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError, origin_of
from hand_adapters import peer_url, reach
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import Dialer, session
from hand_adapters.jail import Jail
from hand_adapters.mcp import carried, listing, rounds
from hand_adapters.mcp.endings import SessionOver
from hand_adapters.mcp.rounds import Outcome, Round
from hand_adapters.mcp.session import Session, drift
from hand_adapters.mcp.streamable import HttpChannel
from hand_adapters.mcp.talk import Declared, Talk, joined, parted
from hand_adapters.mcp.tasks import Inquiry
from hand_adapters.warm import WarmProcesses

SESSIONS_MAX: Final = 256
"""Sessions with one server; beyond it the one idle for longest makes room."""


class Listing(BaseModel):
    """What a server offers, in a file."""

    model_config = ConfigDict(extra="forbid")

    tools: list[Tool]
    instructions: str = ""
    prompts: list[Prompt] | None = None
    templates: list[ResourceTemplate] | None = Field(None, alias="resourceTemplates")
    completions: bool = False


class McpHttpAdapter:
    """One MCP server elsewhere. It runs no code here.

    What it offers is asked of it, without any secret; where the hand has secrets, a file says it, and each session
    compares. Secrets go with every message of a step, the step credential with its ``tools/call`` alone.
    """

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._declared = Declared.of(settings)
        self._endpoint = URL(settings.url or "")
        self._http: aiohttp.ClientSession | None = None
        self._sessions = WarmProcesses(self._session, "", SESSIONS_MAX)
        self._listed: Manifest | None = None
        if settings.listing is not None:
            self._listed, self.notes = _listed(hand_id, settings)

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration, and the file that says what is offered. Asks nobody.

        Raises:
            SettingsError: a URL with credentials or an address that would be refused; plain HTTP outside a private
                network; a secret that goes elsewhere; a file that is no listing.
        """
        url = peer_url.checked(f"hands.{hand_id}.url", settings.url, private_network=settings.private_network)
        for use in reach.secret_uses(hand_id, settings):
            if origin_of(str(url)) not in use.targets:
                raise SettingsError(f"hands.{hand_id}.secrets.{use.name}.targets: url is not among them")
        if settings.listing is not None:
            _listed(hand_id, settings)

    @property
    def hosts(self) -> Collection[str]:
        """See ``contract.Aimed``: that of ``url``."""
        return peer_url.hosts(self._settings.url)

    async def manifest(self) -> Manifest:
        """What the file says, or what the server says in a session of its own, which nobody uses afterwards.

        Raises:
            HandError: ``hand.unavailable``, ``hand.timeout``, ``hand.failed`` (it wants to know who asks) or
                ``hand.protocol``.
        """
        if self._listed is not None:
            return self._listed
        opening = self._sessions.new("")
        try:
            return await asyncio.shield(opening.opened)
        finally:
            self._sessions.retire(opening)

    async def run(self, call: HandCall) -> HandResult:
        """Run one call in the session of the caller and of whom it asks for.

        A session that the server forgot before the call was sent is begun anew, once, and the call is sent in it.

        Raises:
            HandDrifted: the server's tools are not the pinned ones, or the file is not.
            HandError: ``hand.drifted``, of a server whose offer is in a file; ``gateway.overloaded``,
                ``hand.unavailable``, ``secret.*``, ``connection.*`` (not executed); ``hand.failed`` (a JSON-RPC error,
                or a status that says no); ``hand.timeout``, ``hand.lost_reply``, ``hand.protocol``,
                ``hand.result_too_large`` (unknown where the call may have left).
        """
        if self._listed is not None and self._listed.digest != call.manifest_digest:
            raise HandDrifted(self._listed)
        if call.action in QUESTIONS:
            return carried.run(call)
        return await rounds.run(call, self._declared, partial(self._once, self._sessions.closed))

    async def close(self) -> None:
        """End every session and connection of this hand."""
        await self._sessions.close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _once(self, began: int, call: HandCall, again: Round | Inquiry | None) -> Outcome:
        loop = asyncio.get_running_loop()
        ends = loop.time() + call.deadline_seconds
        key = (call.tenant, call.principal_id, joined(call.subject, self._declared.answers(call)))
        going_on = began if isinstance(again, Inquiry) else None
        try:
            return await self._sessions.of(key, going_on).call(call, again)
        except SessionOver as over:
            left = ends - loop.time()
            if left <= 0 or over.sent:
                raise
            return await self._sessions.of(key, going_on).call(replace(call, deadline_seconds=left), again)

    def _session(self, purpose: str) -> Session:
        _, answers = parted(purpose)

        async def start() -> HttpChannel:
            if self._http is None:
                self._http = session(Dialer(private_network=self._settings.private_network))
            return HttpChannel(self._http, self._endpoint, parts=not self._settings.secrets)

        return Session(
            start,
            self._describe,
            self._settings.idle_seconds,
            drift=self._drift,
            asks_each_time=True,
            talk=Talk(self._declared, answers),
        )

    async def _describe(self, client: Client) -> listing.Described:
        offered = await listing.offer(client, self._settings.actions)
        manifest, notes = listing.manifest(self.id, self._settings, offered)
        if self._listed is None:
            self.notes = notes
        return listing.Described(manifest, listing.as_tasks(offered))

    def _drift(self, offered: Manifest, call: HandCall) -> HandError | None:
        """Of a server whose offer is in a file, only the action itself has to be as the file says: others may be hidden
        from this person, and nobody here is shown the server's own words. What it offers is not kept either: it was
        sent secrets, and may repeat them."""
        if self._listed is None:
            return drift(offered, call)
        if offered.actions.get(call.action) == self._listed.actions[call.action]:
            return None
        return HandError(Reason.HAND_DRIFTED, HandFailure.NOT_EXECUTED, "the server offers the action otherwise")


def _listed(hand_id: str, settings: HandSettings) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest of a file, and sentences about what was left out of it.

    Raises:
        SettingsError: it is no listing, or nothing of it can be offered.
    """
    where = f"hands.{hand_id}.listing: {settings.listing}"
    if settings.listing is None:
        raise SettingsError(f"{where}: name the file")
    try:
        content = read_bounded(settings.listing, listing.LISTING_MAX_BYTES)
    except OSError as exc:
        raise SettingsError(f"{where}: {exc.strerror}") from None
    try:
        found = Listing.model_validate(parse(content), by_name=False)
        offered = listing.Offer(found.tools, found.instructions, found.prompts, found.templates, found.completions)
        return listing.manifest(hand_id, settings, listing.checked(offered))
    except Refused as refused:
        raise SettingsError(f"{where}: is not strict JSON: {refused.detail}") from None
    except ValidationError:
        raise SettingsError(f"{where}: is not what 'handrail hands listing' writes") from None
    except HandError as error:
        raise SettingsError(f"{where}: {error.detail}") from None
