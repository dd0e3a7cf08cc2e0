"""Sends what lies in the outbox: one sender for each webhook, so that a slow or hostile one delays nobody else, and no
plan ever waits for any of them. Of several gateways one sends for a webhook at a time.

At least once: a message whose answer was lost is sent again under the same id. A receiver tells a repetition by the id,
and an old message from a new one by the signed time.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from gateway.errors import HandrailError, Overtaken, Refused, Unavailable
from gateway.model import Notice
from gateway.ports import Append, AuditLog, Courier, Write
from gateway.secret_files import read_secret
from gateway.settings import SettingsError, WebhookSettings
from gateway.store.leases import LEASE_SECONDS, SqlLeases
from gateway.store.outbox import NOTICES, Message, SqlOutbox
from gateway.telemetry import Metrics
from gateway.webhooks.messages import slack, standard
from gateway.webhooks.signing import MessageSigner, signer_of

_log = structlog.get_logger("handrail.webhooks")

BATCH: Final = 20
PAUSE_SECONDS: Final = 1.0
"""Between two looks into the outbox."""
BACKOFF_SECONDS: Final = 5.0
BACKOFF_MAX_SECONDS: Final = 3600.0
_GONE: Final = 410
"""The receiver wants nothing more (Standard Webhooks)."""

Look = Callable[[Message], Awaitable[Mapping[str, Any]]]
"""The approval request that a message tells of, as the API shows it. Raises ``request.not_found``."""


@dataclass(slots=True)
class Webhook:
    """One receiver, with its secrets read."""

    name: str
    settings: WebhookSettings
    url: str = field(repr=False)
    signer: MessageSigner | None = field(repr=False)
    courier: Courier

    @classmethod
    def open(cls, name: str, settings: WebhookSettings, courier: Callable[[str, str, bool], Courier]) -> "Webhook":
        """Read the files that the settings name.

        Raises:
            SettingsError: a file or a secret cannot be used, or the address would be refused.
        """
        where = f"webhooks.{name}"
        url = settings.url
        if settings.url_file is not None:
            url = read_secret(settings.url_file, f"{where}.url_file")
        if not url or not url.startswith(("https://", "http://")):
            raise SettingsError(f"{where}: not a URL")
        if url.startswith("http://") and not settings.private_network:
            raise SettingsError(f"{where}: plain http needs private_network = true; use https")
        signer = None if settings.secret_file is None else signer_of(settings.secret_file, f"{where}.secret_file")
        return cls(name, settings, url, signer, courier(where, url, settings.private_network))


@dataclass(slots=True)
class Deliveries:
    """The senders of one gateway."""

    webhooks: Mapping[str, Webhook]
    outbox: SqlOutbox
    leases: SqlLeases
    log: AuditLog
    look: Look
    metrics: Metrics
    page_url: str
    clock: Callable[[], float] = time.time
    pause_seconds: float = PAUSE_SECONDS
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _until: dict[str, float] = field(default_factory=dict)
    """Webhook -> until when this gateway sends for it."""

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [asyncio.create_task(self._send_forever(webhook)) for webhook in self.webhooks.values()]

    async def close(self) -> None:
        """Stop; what was not sent stays in the outbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leave()
        for webhook in self.webhooks.values():
            await webhook.courier.close()

    async def _leave(self) -> None:
        """Leave what is to be sent to the other gateways at once."""
        now = self.clock()
        try:
            if self._until:
                await self.log.append(Append((), [self.leases.leave(name, now) for name in self._until]))
        except HandrailError as error:
            _log.info("webhooks are left when their leases are over", reason=str(error.reason))

    async def upkeep(self) -> None:
        """Count what waits and what was dropped, and forget what was given up long ago."""
        if not self.webhooks:
            return
        await self.outbox.count()
        for name in self.webhooks:
            self.metrics.webhook_waiting.labels(name).set(self.outbox.waiting[name])
            dropped = self.outbox.dropped.pop(name, 0)
            if dropped:
                self.metrics.webhook_messages.labels(name, "dropped").inc(dropped)
                _log.error("webhook messages dropped: too many wait", webhook=name, messages=dropped)
        await self.log.append(Append((), [self.outbox.forget_dead(self.clock())]))

    async def send_due(self, webhook: Webhook) -> int:
        """Try every message that is due, once, in order; returns how many there were. None while another gateway sends
        for the webhook."""
        now = self.clock()
        due, forged = await self.outbox.due(webhook.name, now, BATCH)
        if (due or forged) and not self._lasts(webhook):
            if not await self._take(webhook):
                return 0
            due, forged = await self.outbox.due(webhook.name, now, BATCH)  # as whoever sent before left them
        if forged:
            await self.log.append(Append((), [self.outbox.refused(message_id, now) for message_id in forged]))
        for number, message in enumerate(due):
            if not self._lasts(webhook) and not await self._take(webhook):
                return number + len(forged)
            await self.log.append(Append((), [await self._attempt(webhook, message)]))
        return len(due) + len(forged)

    def _lasts(self, webhook: Webhook) -> bool:
        """Whether this gateway sends for a webhook for as long as one attempt may take."""
        return self.clock() + webhook.settings.timeout_seconds < self._until.get(webhook.name, 0.0)

    async def _take(self, webhook: Webhook) -> bool:
        """Send for a webhook from now on; whether no other gateway does."""
        now = self.clock()
        until = now + webhook.settings.timeout_seconds + LEASE_SECONDS
        unless = [self.leases.unless_taken(webhook.name, now)]
        try:
            await self.log.append(Append((), [self.leases.take(webhook.name, until)], unless=unless))
        except Overtaken:
            return False
        self._until[webhook.name] = until
        return True

    async def _send_forever(self, webhook: Webhook) -> None:
        while True:
            sent = 0
            try:
                sent = await self.send_due(webhook)
            except HandrailError as error:
                _log.warning("webhook waits", webhook=webhook.name, reason=str(error.reason), detail=error.detail)
            except Exception:  # noqa: BLE001 - one bad message or receiver must not end the sending of others
                _log.exception("webhook failed", webhook=webhook.name)
            if sent < BATCH:
                await asyncio.sleep(self.pause_seconds)

    async def _attempt(self, webhook: Webhook, message: Message) -> Write:
        """One attempt; the row that says what became of it."""
        now = self.clock()
        try:
            view = await self.look(message)
        except Unavailable:
            raise
        except HandrailError as error:
            _log.error("webhook message has no request", webhook=webhook.name, reason=str(error.reason))
            return self.outbox.delivered(message)
        if not _fits(webhook, message, view):
            _log.error("webhook message does not fit", webhook=webhook.name, message=message.message_id)
            return self.outbox.refused(message.message_id, now)
        body, headers = self._made(webhook, message, view, now)
        try:
            status, retry_after = await webhook.courier.post(
                webhook.url, headers, body, webhook.settings.timeout_seconds
            )
        except Refused as refusal:
            status, retry_after = 0, None
            _log.info("webhook not reached", webhook=webhook.name, detail=refusal.detail)
        if 200 <= status < 300:
            self.metrics.webhook_messages.labels(webhook.name, "delivered").inc()
            return self.outbox.delivered(message)
        dead = message.attempts + 1 >= webhook.settings.attempts_max or status == _GONE
        self.metrics.webhook_messages.labels(webhook.name, "dead" if dead else "retried").inc()
        if dead:
            _log.error("webhook message given up", webhook=webhook.name, message=message.message_id, status=status)
        return self.outbox.failed(message, now + backoff_seconds(message.attempts, retry_after), dead=dead)

    def _made(
        self, webhook: Webhook, message: Message, view: Mapping[str, Any], now: float
    ) -> tuple[bytes, dict[str, str]]:
        page = f"{self.page_url}/approvals/{message.approval_id}"
        make = slack if webhook.settings.format == "slack" else standard
        body = make(message, view, page, details=webhook.settings.details)
        signed = {} if webhook.signer is None else webhook.signer.headers(message.message_id, int(now), body)
        return body, {"content-type": "application/json", **signed}


def _fits(webhook: Webhook, message: Message, view: Mapping[str, Any]) -> bool:
    """Whether the webhook is told of such things, and whether it is still true: a row that was put back is not."""
    listens = message.tenant in webhook.settings.tenants and message.notice in webhook.settings.events
    asked = message.notice is Notice.REQUESTED or (message.notice is Notice.REBOUND and view.get("asked", 1) > 1)
    return listens and (asked or NOTICES.get(view.get("status", "")) is message.notice)


def backoff_seconds(attempts: int, retry_after: float | None = None) -> float:
    """How long to wait after ``attempts`` earlier failures: doubling, with jitter, at least what the receiver asks."""
    most = min(BACKOFF_SECONDS * 2.0**attempts, BACKOFF_MAX_SECONDS)
    wait = random.uniform(most / 2, most)  # noqa: S311 - jitter, not a secret
    return max(wait, min(retry_after or 0.0, BACKOFF_MAX_SECONDS))
