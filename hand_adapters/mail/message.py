"""From approved args to one exact message: who gets it, what it says, and the bytes that are sent.

No argument reaches a header as text but the subject; addresses come from :mod:`.addresses`, names of files from a
narrow pattern. The message is ASCII in lines that end with CR LF, and that is looked at once more before it leaves.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final

from gateway.pointers import pointer
from gateway.settings import MailSettings
from hand_adapters.mail.addresses import domain_of, listed
from hand_adapters.mail.problems import NotTaken, Problem

SUBJECT_MAX: Final = 200
"""Characters."""
TEXT_MAX: Final = 1_048_576
"""Characters of text, and of HTML."""
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,90}"
"""What stands before the extension in the name of a file: no path, nothing that hides or reorders."""
_LINE_MAX: Final = 998
"""Bytes of a line, less CR LF (RFC 5322 section 2.1.1)."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_UNFIT_SUBJECT: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]|=\?|^\s|\s$"
)
"""Controls, line separators, what reorders or tags the text around it, and the beginning of an encoded word (RFC 2047),
which mail programs would show as another text than was judged."""
_UNFIT_FORM: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|[^\x01-\x7f]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What a call sends, and to whom."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: str | None
    subject: str
    text: str
    html: str | None
    attachments: tuple[Attachment, ...]

    @property
    def recipients(self) -> tuple[str, ...]:
        """Everybody who gets it, each once."""
        return tuple(dict.fromkeys((*self.to, *self.cc, *self.bcc)))

    @property
    def content_bytes(self) -> int:
        """Bytes of text, HTML and files."""
        texts = (self.subject, self.text, self.html or "")
        return sum(len(one.encode()) for one in texts) + sum(len(one.content) for one in self.attachments)

    def document(self, internal: frozenset[str]) -> dict[str, Any]:
        """What policies are told: the ``analysis`` of the step.

        Args:
            internal: the operator's own domains.
        """
        everybody = self.recipients
        outside = [one for one in everybody if domain_of(one) not in internal]
        return {
            "kind": "mail",
            "sender": self.sender,
            "recipients": sorted(everybody),
            "external": sorted(outside),
            "external_domains": sorted({domain_of(one) for one in outside}),
            "hidden": sorted(set(self.bcc)),
            "reply_to": self.reply_to,
            "html": self.html is not None,
            "attachments": [
                {"name": one.name, "type": one.media_type, "bytes": len(one.content)} for one in self.attachments
            ],
            "bytes": self.content_bytes,
        }


def read(args: Mapping[str, Any], mail: MailSettings) -> Message:
    """The message that a call sends. Pure.

    Raises:
        NotTaken: it is not one that the hand sends.
    """
    to, cc, bcc = (_recipients(args, field, mail.recipients) for field in ("to", "cc", "bcc"))
    sender = str(args.get("from", mail.senders[0]))
    if sender not in mail.senders:
        raise NotTaken(Problem.ADDRESS, "/from")
    reply_to = args.get("reply_to")
    if reply_to is not None and not listed(reply_to, (*mail.recipients, *mail.senders)):
        raise NotTaken(Problem.ADDRESS, "/reply_to")
    subject, text, html = str(args["subject"]), str(args["text"]), args.get("html")
    if _UNFIT_SUBJECT.search(subject) or not 0 < len(subject) <= SUBJECT_MAX:
        raise NotTaken(Problem.SUBJECT, "/subject")
    if html is not None and not mail.html:
        raise NotTaken(Problem.FORM, "/html")
    for field, content in (("text", text), ("html", html or "")):
        if _CONTROLS.search(content):
            raise NotTaken(Problem.CHARACTERS, f"/{field}")
        if len(content) > TEXT_MAX:
            raise NotTaken(Problem.SIZE, f"/{field}")
    files = args.get("attachments", ())
    if len(files) > mail.attachments_max:
        raise NotTaken(Problem.ATTACHMENT, "/attachments")
    attachments = tuple(_attachment(file, place, mail.attachment_types) for place, file in enumerate(files))
    message = Message(sender, to, cc, bcc, reply_to, subject, text, html, attachments)
    if not 0 < len(message.recipients) <= mail.recipients_max:
        raise NotTaken(Problem.RECIPIENTS, "/to")
    if message.content_bytes > mail.content_max_bytes:
        raise NotTaken(Problem.SIZE, "")
    return message


def written(message: Message, mail: MailSettings, message_id: str, now: datetime) -> bytes:
    """The bytes that are sent. No header names a recipient of ``bcc``.

    Args:
        message_id: what stands before the ``@`` of ``Message-ID``.

    Raises:
        NotTaken: the library wrote something that is no line of a message (RFC 5322 section 2.1).
    """
    made = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    made["From"] = Address(mail.sender_name or "", addr_spec=message.sender)
    made["To"] = [Address(addr_spec=one) for one in message.to]
    if message.cc:
        made["Cc"] = [Address(addr_spec=one) for one in message.cc]
    if message.reply_to is not None:
        made["Reply-To"] = Address(addr_spec=message.reply_to)
    made["Subject"] = message.subject
    made["Date"] = format_datetime(now)
    made["Message-ID"] = f"<{message_id}@{domain_of(message.sender)}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice answers it
    made.set_content(_lines(message.text))
    if message.html is not None:
        made.add_alternative(_lines(message.html), subtype="html")
    for file in message.attachments:
        kind, _, subtype = file.media_type.partition("/")
        made.add_attachment(file.content, maintype=kind, subtype=subtype, filename=file.name)
    sent = made.as_bytes()
    if _UNFIT_FORM.search(sent) or max(map(len, sent.split(b"\r\n"))) > _LINE_MAX:
        raise NotTaken(Problem.FORM, "")
    return sent


def _recipients(args: Mapping[str, Any], field: str, patterns: Iterable[str]) -> tuple[str, ...]:
    found = tuple(map(str, args.get(field, ())))
    for place, one in enumerate(found):
        if not listed(one, patterns):
            raise NotTaken(Problem.ADDRESS, pointer((field, place)))
    return found


def _attachment(file: Mapping[str, Any], place: int, types: Mapping[str, str]) -> Attachment:
    name = str(file["name"])
    stem, _, extension = name.rpartition(".")
    if re.fullmatch(NAME, stem) is None or extension not in types:
        raise NotTaken(Problem.ATTACHMENT, pointer(("attachments", place, "name")))
    try:
        content = base64.b64decode(str(file["content"]), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if base64.b64encode(content).decode() != file["content"]:
        raise NotTaken(Problem.ATTACHMENT, pointer(("attachments", place, "content")))
    return Attachment(name, types[extension], content)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
