"""Shadowing a candidate bundle: who starts it and ends it, and what came of it. It has no effect, so one person may."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gateway.activation.lifecycle import Lifecycle
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Malformed, Refused
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission
from gateway.policy.comparison import Comparison, together
from gateway.policy.shadow import Shadow
from gateway.ports import Append, AuditLog, Guard
from gateway.reasons import Conflict, Reason, because
from gateway.times import format_time

LASTS_SECONDS: Final = 7 * 86_400
LASTS_MAX_SECONDS: Final = 14 * 86_400

_log = structlog.get_logger("handrail.shadows")


class ShadowRows(Protocol):
    """Rows of shadows; see ``gateway.store.trials``."""

    def start(self, shadow: Shadow) -> Guard:
        """A new shadow; a conflict raises ``request.conflict``."""

    async def shadow(self) -> Shadow | None:
        """The newest one."""

    async def comparisons(self, subject: str) -> Mapping[str, Mapping[str, Any]]:
        """Gateway -> what it counted."""


@dataclass(slots=True)
class Shadows:
    """Shadows of the gateways on one database.

    Attributes:
        possible: whether there is an engine for a second bundle.
        on_trial: digest of the candidate of a canary in force; empty where there is none.
        follow: have this gateway take in at once what changed.
        flush: have what this gateway counted kept.
        problem: why this gateway does not hold the candidate that it should; ``None`` where it does.
        now: a clock that never goes back.
    """

    log: AuditLog
    rows: ShadowRows
    lifecycle: Lifecycle
    possible: Callable[[], bool]
    on_trial: Callable[[], str]
    follow: Callable[[], Awaitable[None]]
    flush: Callable[[], Awaitable[None]]
    problem: Callable[[], Reason | None]
    now: Callable[[], float] = time.time

    async def start(self, actor: Principal, digest: str, lasts_seconds: int = LASTS_SECONDS) -> dict[str, Any]:
        """Have a bundle that was brought judge beside the active one from now on.

        Raises:
            Refused: ``auth.forbidden``, ``policy.directory``, ``policy.candidate``, ``request.not_found``,
                ``policy.bundle``; ``request.malformed`` for a time over fourteen days; ``request.conflict`` where the
                bundle decides already, or another candidate is on trial.
            Unavailable: ``log.unavailable``; nothing is started.
        """
        self.lifecycle.require(actor, Permission.POLICY_SHADOW)
        if not 1 <= lasts_seconds <= LASTS_MAX_SECONDS:
            expected = f"whole seconds from 1 to {LASTS_MAX_SECONDS}"
            raise Malformed("lasts", pointer="/lasts_seconds", limit=LASTS_MAX_SECONDS, expected=expected)
        if not self.possible():
            raise Refused(Reason.POLICY_CANDIDATE)
        active = await self.lifecycle.active_beside(digest)
        if self.on_trial() not in {"", digest}:
            raise Refused(
                Reason.REQUEST_CONFLICT, "a canary of another bundle is in force", **because(Conflict.CANARY_OTHER)
            )
        newest = await self.rows.shadow()
        now = self.now()
        if newest is not None and newest.in_force(now) and newest.digest != active:
            raise Refused(
                Reason.REQUEST_CONFLICT, "a shadow is in force; stop it first", **because(Conflict.SHADOW_RUNS)
            )
        number = 1 if newest is None else newest.number + 1
        shadow = Shadow(number, digest, actor.pseudonym, now, now + lasts_seconds)
        draft = self._draft(EntryType.SHADOW_STARTED, "start", shadow, actor)
        await self.log.append(Append([draft], (), [self.rows.start(shadow)]))
        await self._follow()
        return await self.show(actor)

    async def stop(self, actor: Principal) -> dict[str, Any]:
        """End the shadow before its time; what it counted stays.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found`` where none is in force.
            Unavailable: ``log.unavailable``.
        """
        self.lifecycle.require(actor, Permission.POLICY_SHADOW)
        shadow = await self.rows.shadow()
        if shadow is None or not shadow.in_force(self.now()):
            raise Absent("shadow in force")
        await self.flush()
        await self.log.append(Append([self._draft(EntryType.SHADOW_ENDED, "end", shadow, actor)]))
        await self._follow()
        return await self.show(actor)

    async def show(self, viewer: Principal) -> dict[str, Any]:
        """The newest shadow, and what all gateways counted for it: ``{shadow, gateways, comparison}``.

        Raises:
            Refused: ``auth.forbidden``.
        """
        self.lifecycle.require(viewer, Permission.POLICY_READ)
        await self.flush()
        shadow = await self.rows.shadow()
        if shadow is None:
            return {"shadow": None, "gateways": [], "comparison": Comparison("").document()}
        counted = await self.rows.comparisons(shadow.subject)
        # A bundle that decides itself has nothing to look on at, for as long as it does.
        in_force = shadow.in_force(self.now()) and shadow.digest != await self.lifecycle.deciding()
        problem = self.problem() if in_force else None
        names = await self.lifecycle.directory.names(DEFAULT_TENANT, [shadow.by])
        return {
            "shadow": {
                "number": shadow.number,
                "digest": shadow.digest,
                "by": names.get(shadow.by, shadow.by),
                "since": format_time(shadow.since),
                "until": format_time(shadow.until),
                "in_force": in_force,
                "problem": None if problem is None else str(problem),
            },
            "gateways": list(counted),
            "comparison": together(shadow.digest, list(counted.values())).document(),
        }

    def _draft(self, kind: EntryType, act: str, shadow: Shadow, actor: Principal) -> EntryDraft:
        return EntryDraft(
            kind,
            DEFAULT_TENANT,
            principal=actor.pseudonym,
            policy_digest=shadow.digest,
            facts={"act": act, "number": shadow.number, "digest": shadow.digest, "until": int(shadow.until)},
        )

    async def _follow(self) -> None:
        """It is durable; that acting on it at once fails must not look as if it were not."""
        try:
            await self.follow()
        except HandrailError as error:
            _log.error("a shadow is on record and not acted on yet", reason=str(error.reason), detail=error.detail)
