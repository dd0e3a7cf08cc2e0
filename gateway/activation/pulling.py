"""Signed bundles from a Git remote: pulled on an interval, or as soon as the server's webhook says so.

A pull brings a bundle in, and that is all: it is verified as one that a person brings, by the enrolled key of somebody
who may propose policies, tried out, and kept. That it decides is still proposed by one person and activated by another.
Whatever the remote does, the bundle that decides stays; what is wrong is said once in the log for each state, and for
as long as it lasts by metrics, at ``/readyz`` and in :meth:`Pulling.view`.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.activation.lifecycle import Lifecycle
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.model import DEFAULT_TENANT
from gateway.policy.git import GitFailed
from gateway.policy.remote import Mirror, Moved, Remote, Tip
from gateway.ports import Append, AuditLog
from gateway.reasons import Reason
from gateway.secret_files import read_secret
from gateway.settings import RemoteSettings
from gateway.telemetry import Metrics
from gateway.times import format_time

_log = structlog.get_logger("handrail.pulling")

GAP_SECONDS: Final = 5.0
"""Between two pulls that a webhook asks for: whoever holds its secret keeps neither this nor the remote busy."""
_DETAIL_MAX: Final = 300
_GOOD: Final = "good"
_REWRITTEN: Final = frozenset({Moved.BACK, Moved.ASIDE})
_LASTING: Final = frozenset({Reason.POLICY_BUNDLE, Reason.VERIFY_MALFORMED, Reason.POLICY_SOURCE})
"""What another look at the same commit cannot change. A key, though, may be enrolled meanwhile."""


@dataclass(frozen=True, slots=True)
class PullProblem:
    """Why the newest pull brought nothing: a code, and words for operators."""

    reason: Reason
    detail: str
    commit: str = ""


@dataclass(slots=True)
class Pulling:
    """The pulls of one gateway.

    Attributes:
        mirror: ``None`` where no remote is configured.
        secret: of the server's webhook; ``None`` where it may not notify.
    """

    settings: RemoteSettings | None
    mirror: Mirror | None
    secret: str | None = field(repr=False)
    lifecycle: Lifecycle
    log: AuditLog
    metrics: Metrics
    clock: Callable[[], float] = time.time
    gap_seconds: float = GAP_SECONDS
    problem: PullProblem | None = None
    _tip: Tip | None = None
    """Of the newest pull that brought a bundle."""
    _rewritten: Tip | None = None
    """Where the history was last found rewritten."""
    _digest: str = ""
    _tried_at: float | None = None
    _good_at: float | None = None
    _told: tuple[str, str] | None = None
    """The state that the log was told of last; ``None`` before this process told of any."""
    _pulling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _notified: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    @classmethod
    def open(
        cls,
        settings: RemoteSettings | None,
        directory: Path,
        lifecycle: Lifecycle,
        log: AuditLog,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> "Pulling":
        """Read the files that the settings name.

        Args:
            directory: of this gateway's own; copies of remotes are kept there.

        Raises:
            SettingsError: one of them cannot be used.
        """
        mirror = secret = None
        if settings is not None:
            mirror = Mirror(Remote.open(settings), directory)
            if settings.notify_secret_file is not None:
                secret = read_secret(settings.notify_secret_file, "policy.remote.notify_secret_file")
        return cls(settings, mirror, secret, lifecycle, log, metrics, clock)

    def start(self) -> None:
        """Begin to pull, in the background."""
        if self.mirror is not None:
            self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop, also a pull that is under way."""
        if self.mirror is not None:
            self.mirror.stop.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check_notice(self, signature: str | None, token: str | None, digest: "hmac.HMAC | None") -> None:
        """Whether a notice comes from the server whose secret is known. Nothing in it is believed beside that.

        Args:
            signature: ``X-Hub-Signature-256``, as GitHub sends it.
            token: ``X-Gitlab-Token``.
            digest: of the body, from :meth:`notice_digest`.

        Raises:
            Refused: ``policy.no_remote`` where none may notify; ``verify.signature``.
        """
        if self.secret is None or digest is None:
            raise Refused(Reason.POLICY_NO_REMOTE, "no notify_secret_file")
        if (signature is None) == (token is None):
            raise Refused(Reason.VERIFY_SIGNATURE, "neither a signature nor a token, or both")
        expected = f"sha256={digest.hexdigest()}" if token is None else self.secret
        given = signature if token is None else token
        if not hmac.compare_digest(expected.encode(), (given or "").encode("utf-8", "surrogateescape")):
            raise Refused(Reason.VERIFY_SIGNATURE, "of a notice")

    def notice_digest(self) -> "hmac.HMAC | None":
        """HMAC-SHA-256 to feed a notice's body to; ``None`` where none may notify."""
        return None if self.secret is None else hmac.new(self.secret.encode(), digestmod=sha256)

    def notify(self) -> None:
        """Pull soon. Any number of notices is one pull, so a replayed one does no harm."""
        self._notified.set()

    async def pull(self) -> dict[str, Any]:
        """Pull now; returns :meth:`view`.

        Raises:
            Refused: ``policy.no_remote``.
        """
        if self.mirror is None:
            raise Refused(Reason.POLICY_NO_REMOTE)
        async with self._pulling:
            await self._pull(self.mirror, anew=True)
        return self.view()

    def view(self) -> dict[str, Any]:
        """The remote, the newest bundle that it brought, and what is wrong. Raises ``policy.no_remote``."""
        settings = self.settings
        if settings is None:
            raise Refused(Reason.POLICY_NO_REMOTE)
        tip, rewritten, problem = self._tip, self._rewritten, self.problem
        return {
            "url": settings.url,
            "ref": settings.ref,
            "path": settings.path,
            "interval_seconds": settings.interval_seconds,
            "notify": self.secret is not None,
            "tried_at": format_time(self._tried_at),
            "good_at": format_time(self._good_at),
            "commit": None if tip is None else tip.commit,
            "digest": self._digest or None,
            "rewritten": None
            if rewritten is None
            else {"moved": str(rewritten.moved), "before": rewritten.before, "commit": rewritten.commit},
            "problem": None
            if problem is None
            else {"code": str(problem.reason), "detail": problem.detail, "commit": problem.commit or None},
        }

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        if self.settings is None or self.mirror is None:
            return
        while True:
            try:
                async with self._pulling:
                    await self._pull(self.mirror, anew=False)
            except Exception:  # noqa: BLE001 (whatever it is, the next interval comes)
                _log.exception("pulling failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.interval_seconds):
                    await self._notified.wait()
                    await asyncio.sleep(self.gap_seconds)
            self._notified.clear()

    async def _pull(self, mirror: Mirror, *, anew: bool) -> None:
        self._tried_at = self.clock()
        tip: Tip | None = None
        try:
            tip = await asyncio.to_thread(mirror.fetch)
            if not anew and self._known(tip):
                return
            kept = await self.lifecycle.take(await asyncio.to_thread(mirror.read, tip.commit))
            digest = kept.bundle.digest
            # The commit that the bundle was built from is in it, signed; this is the one that carries the file.
            facts = {"commit": tip.commit, "built_from": kept.commit, "digest": digest, **_moved(tip)}
            await self._tell((_GOOD, tip.commit), tip, EntryType.POLICY_PULLED, facts)
        except HandrailError as error:
            await self._failed(mirror, tip, error)
            return
        except OSError as error:
            await self._failed(mirror, tip, GitFailed(f"the copy of the repository: {error.strerror}"))
            return
        self.metrics.policy_pulls.labels("good").inc()
        await self._looked_at(mirror, tip, _GOOD)
        self._tip, self._digest, self.problem = tip, digest, None
        self._is_good()

    def _known(self, tip: Tip) -> bool:
        """Whether the newest commit is one that was looked at, with an end that another look cannot change."""
        problem = self.problem
        if problem is not None and problem.commit == tip.commit:
            return problem.reason in _LASTING
        if self._tip is None or self._tip.commit != tip.commit or self._told != (_GOOD, tip.commit):
            return False
        self.problem = None
        self._is_good()
        return True

    def _is_good(self) -> None:
        self._good_at = self.clock()
        self.metrics.policy_pull_good.set(self._good_at)

    async def _failed(self, mirror: Mirror, tip: Tip | None, error: HandrailError) -> None:
        commit = "" if tip is None else tip.commit
        self.problem = PullProblem(error.reason, error.detail[:_DETAIL_MAX], commit)
        self.metrics.policy_pulls.labels("failed" if tip is None or isinstance(error, Unavailable) else "refused").inc()
        state = (str(error.reason), commit)
        if self._told != state:
            _log.error("the policy remote brings nothing", reason=str(error.reason), detail=error.detail, commit=commit)
        facts = {"commit": commit, **({} if tip is None else _moved(tip))}
        try:
            await self._tell(state, tip, EntryType.POLICY_PULL_FAILED, facts, (str(error.reason),))
            if tip is not None and not isinstance(error, Unavailable):
                await self._looked_at(mirror, tip, str(error.reason))
        except HandrailError as again:
            _log.error("a failed pull is not on record", reason=str(again.reason), detail=again.detail)

    async def _looked_at(self, mirror: Mirror, tip: Tip, outcome: str) -> None:
        if tip.moved in _REWRITTEN:
            self._rewritten = tip
            _log.warning(
                "the policy remote's history was rewritten", moved=str(tip.moved), before=tip.before, commit=tip.commit
            )
        await asyncio.to_thread(mirror.note, tip.commit, outcome)

    async def _tell(
        self,
        state: tuple[str, str],
        tip: Tip | None,
        kind: EntryType,
        facts: dict[str, str],
        reasons: tuple[str, ...] = (),
    ) -> None:
        """One entry for each distinct state (an outcome and a commit), however many intervals and restarts it lasts."""
        if self._told is None and tip is not None:
            self._told = (tip.outcome, tip.before)
        if self._told == state:
            return
        await self.log.append(Append([EntryDraft(kind, DEFAULT_TENANT, reasons=reasons, facts=facts)]))
        self._told = state


def _moved(tip: Tip) -> dict[str, str]:
    return {"moved": str(tip.moved), "before": tip.before}
