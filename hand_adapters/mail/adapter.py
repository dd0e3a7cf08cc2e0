"""The ``mail`` adapter: one action, ``send``, by one server."""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from gateway.calls import HandCall, HandResult
from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.dialer import is_literal, permitted
from hand_adapters.jail import Jail
from hand_adapters.mail import message, submission
from hand_adapters.mail.addresses import domain_of
from hand_adapters.mail.declaration import mail_of, manifest_of
from hand_adapters.mail.problems import TEXTS, NotTaken
from hand_adapters.mail.submission import Accepted, Attempt, Outcome, Rejected, Unreachable
from hand_adapters.message_ids import message_id


class MailAdapter:
    """One mail server, and the recipients that the operator listed. It knows nothing of step credentials."""

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._private_network = settings.private_network
        self._mail = mail_of(hand_id, settings)
        self._manifest = manifest_of(hand_id, settings, self._mail)
        self.at_once = self._mail.connections_max
        self._places = asyncio.Semaphore(self._mail.connections_max)
        self._tls: ssl.SSLContext | None = None

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration; asks nobody.

        Raises:
            SettingsError: an address that is not dialled, a login without TLS, a word on ``send`` that cannot be true.
        """
        mail = mail_of(hand_id, settings)
        manifest_of(hand_id, settings, mail)
        if is_literal(mail.host) and not permitted(mail.host, private_network=settings.private_network):
            raise SettingsError(f"hands.{hand_id}.mail.host: the gateway does not dial that address")

    @property
    def hosts(self) -> Collection[str]:
        """See ``contract.Aimed``: the server that is given the messages."""
        return (self._mail.host.lower(),)

    async def manifest(self) -> Manifest:
        """The action ``send``. Asks nobody."""
        return self._manifest

    def analyse(self, action: str, args: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """Who would get what, for policies: see ``docs/mail.md``. Pure.

        Raises:
            Refused: ``schema.analysis`` with the ``problem`` and where it is.
        """
        try:
            return message.read(args, self._mail).document(self._mail.internal_domains)
        except NotTaken as refusal:
            said = {"problem": str(refusal.problem), "why": TEXTS[refusal.problem]}
            raise Refused(Reason.SCHEMA_ANALYSIS, str(refusal.problem), pointer=refusal.pointer, **said) from None

    async def run(self, call: HandCall) -> HandResult:
        """Send one message. What the server refuses is a result that is marked as an error; nobody gets anything of it.

        Raises:
            HandError: ``hand.unavailable`` (no connection, TLS or login), ``schema.analysis`` (not executed);
                ``hand.timeout``, ``hand.lost_reply``: unknown once the message has left.
            HandDrifted: the declaration is not the pinned one.
        """
        if call.manifest_digest != self._manifest.digest:
            raise HandDrifted(self._manifest)
        try:
            asked = message.read(call.args, self._mail)
            sent = await asyncio.to_thread(message.written, asked, self._mail, message_id(call), datetime.now(UTC))
        except NotTaken as refusal:
            raise HandError(Reason.SCHEMA_ANALYSIS, HandFailure.NOT_EXECUTED, str(refusal.problem)) from None
        attempt = Attempt()
        try:
            async with asyncio.timeout(call.deadline_seconds):
                outcome = await self._submit(call, asked, sent, attempt)
        except TimeoutError:
            if attempt.outcome is None:
                raise HandError(Reason.HAND_TIMEOUT, _known(attempt)) from None
            outcome = attempt.outcome
        except Unreachable as lost:
            reason = Reason.HAND_LOST_REPLY if attempt.sent else Reason.HAND_UNAVAILABLE
            raise HandError(reason, _known(attempt), str(lost)) from None
        if isinstance(outcome, Rejected):
            return _rejected(outcome)
        return _accepted(outcome, asked, message_id(call))

    async def close(self) -> None:
        """Forget the authorities; a later call reads them anew. Connections end with their calls."""
        self._tls = None

    async def _submit(self, call: HandCall, asked: message.Message, sent: bytes, attempt: Attempt) -> Outcome:
        async with self._places:
            tls = await self._context()
            password = (await call.inject(self._mail.scheme, *self._mail.address)).password
            envelope = (asked.sender, asked.recipients)
            return await submission.submit(
                self._mail, tls, password, envelope, sent, attempt, private_network=self._private_network
            )

    async def _context(self) -> ssl.SSLContext | None:
        """What the server's certificate is judged by.

        Raises:
            HandError: ``hand.unavailable``, not executed: the file with the authorities cannot be read.
        """
        if self._tls is None and self._mail.security != "none":
            try:
                self._tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._mail.ca_file)
            except OSError as exc:
                detail = f"ca_file: {type(exc).__name__}"
                raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail) from None
        return self._tls


def _known(attempt: Attempt) -> HandFailure:
    return HandFailure.UNKNOWN if attempt.sent else HandFailure.NOT_EXECUTED


def _accepted(accepted: Accepted, asked: message.Message, unique: str) -> HandResult:
    structured = {
        "message_id": f"{unique}@{domain_of(asked.sender)}",
        "recipients": list(asked.recipients),
        "code": accepted.code,
    }
    return HandResult(({"type": "text", "text": accepted.words},), structured)


def _rejected(rejected: Rejected) -> HandResult:
    structured = {
        "error": rejected.part,
        "code": rejected.code,
        "temporary": rejected.code < 500,
        "refused": [{"address": who, "code": code} for who, code in rejected.refused],
    }
    return HandResult(({"type": "text", "text": rejected.words},), structured, is_error=True)
