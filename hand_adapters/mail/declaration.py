"""What a mail hand offers: the one action ``send``, whose schema says who may be written to."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.manifest import ArgumentRole, Manifest, SideEffects
from gateway.settings import ActionSettings, HandSettings, MailSettings, SettingsError
from gateway.settings.mail import ADDRESS_MAX
from hand_adapters import annotate
from hand_adapters.mail.addresses import pattern_of
from hand_adapters.mail.message import NAME, SUBJECT_MAX, TEXT_MAX

SEND: Final = "send"
ROLES: Final[Mapping[str, ArgumentRole]] = {
    "/to/*": ArgumentRole.RECIPIENT,
    "/cc/*": ArgumentRole.RECIPIENT,
    "/bcc/*": ArgumentRole.RECIPIENT,
    "/reply_to": ArgumentRole.RECIPIENT,
    "/subject": ArgumentRole.CONTENT,
    "/text": ArgumentRole.CONTENT,
    "/html": ArgumentRole.CONTENT,
    "/attachments/*/name": ArgumentRole.CONTENT,
    "/attachments/*/content": ArgumentRole.CONTENT,
}
"""What the arguments are to a policy: nobody has to say it, and nobody can say otherwise."""
_DESCRIPTION: Final = "Send one message. It is given to the server for all of its recipients, or not at all."
_ADDRESSES: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"message_id": {"type": "string"}, "recipients": _ADDRESSES, "code": {"type": "integer"}},
    "required": ["message_id", "recipients", "code"],
    "additionalProperties": False,
}


def mail_of(hand_id: str, settings: HandSettings) -> MailSettings:
    """A hand's table ``mail``, checked beside the rest of its settings.

    Raises:
        SettingsError: it cannot be used; it says where and why.
    """
    mail, where = settings.mail, f"hands.{hand_id}"
    if mail is None:
        raise SettingsError(f"{where}.mail: it is missing")
    if mail.security == "none" and not settings.private_network:
        raise SettingsError(f"{where}.mail.security: 'none' needs private_network = true")
    if (mail.user is not None) != (len(settings.secrets) == 1):
        raise SettingsError(f"{where}.mail.user: it goes with one secret, its password")
    if set(settings.actions) != {SEND}:
        raise SettingsError(f"{where}.actions: a mail hand has one, {SEND}")
    word = settings.actions[SEND]
    if word.side_effects not in {SideEffects.EXTERNAL, SideEffects.IRREVERSIBLE}:
        raise SettingsError(f"{where}.actions.{SEND}.side_effects: nobody takes a message back")
    if word.args_schema is not None or word.result_schema is not None:
        raise SettingsError(f"{where}.actions.{SEND}: its schemas are the adapter's")
    for pointer, role in word.args.items():
        if ROLES.get(pointer, role) is not role:
            raise SettingsError(f"{where}.actions.{SEND}.args: {pointer} has the role {ROLES[pointer]}")
    return mail


def manifest_of(hand_id: str, settings: HandSettings, mail: MailSettings) -> Manifest:
    """What the hand offers; which server takes it, and whom it may write to, is part of it, and so of the pin."""
    schema = args_schema(mail)
    roles = {pointer: role for pointer, role in ROLES.items() if pointer.split("/")[1] in schema["properties"]}
    word = settings.actions[SEND]
    said = ActionSettings.model_validate(
        {
            **word.model_dump(exclude_unset=True),
            "args": {**word.args, **roles},
            "description": word.description or _DESCRIPTION,
        }
    )
    whole = settings.model_copy(update={"actions": {SEND: said}})
    place = mail.model_dump(mode="json", exclude={"ca_file", "connections_max", "port"}) | {"server": mail.origin}
    return annotate.declared(hand_id, whole, lambda _name, _word: place, lambda _name, _word: (schema, _RESULT))


def args_schema(mail: MailSettings) -> dict[str, Any]:
    """The schema of the args of ``send``."""
    recipient = _address(pattern_of(mail.recipients))
    several = {"type": "array", "items": recipient, "maxItems": mail.recipients_max, "uniqueItems": True}
    text = {"type": "string", "minLength": 1, "maxLength": min(TEXT_MAX, mail.content_max_bytes)}
    properties: dict[str, Any] = {
        "to": {**several, "minItems": 1},
        "cc": several,
        "bcc": {**several, "description": "They get it, and the others do not see it."},
        "reply_to": _address(pattern_of((*mail.recipients, *mail.senders))),
        "subject": {"type": "string", "minLength": 1, "maxLength": SUBJECT_MAX},
        "text": text,
    }
    if len(mail.senders) > 1:
        properties["from"] = {"type": "string", "enum": list(mail.senders)}
    if mail.html:
        properties["html"] = {**text, "description": "The same as text, for programs that show HTML."}
    if mail.attachment_types:
        properties["attachments"] = _attachments(mail)
    required = ["to", "subject", "text", *(["from"] if "from" in properties else [])]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _address(pattern: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": ADDRESS_MAX, "pattern": pattern}


def _attachments(mail: MailSettings) -> dict[str, Any]:
    extensions = "|".join(sorted(mail.attachment_types))
    file = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": rf"^{NAME}\.({extensions})$"},
            "content": {
                "type": "string",
                "contentEncoding": "base64",
                "maxLength": (mail.content_max_bytes + 2) // 3 * 4,
            },
        },
        "required": ["name", "content"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": file, "maxItems": mail.attachments_max}
