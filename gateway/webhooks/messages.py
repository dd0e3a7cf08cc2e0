"""What a webhook is told. Without the operator's word a message holds no argument, no reason and no person: it says
that somebody should look, and where.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.canonical import canonical
from gateway.model import Notice
from gateway.rendering import moment, render
from gateway.safe import safe
from gateway.settings import Settings
from gateway.store.outbox import Message
from gateway.times import format_time

TEXT_MAX_CHARACTERS: Final = 2_800
"""Of a rendered call in a message; the page has all of it. Slack takes 3,000 in one block."""

_TITLES: Final[Mapping[Notice, str]] = {
    Notice.REQUESTED: "Approval requested",
    Notice.REBOUND: "Asked again under a changed policy: earlier answers are void",
    Notice.GRANTED: "Approved",
    Notice.REFUSED: "Refused",
    Notice.EXPIRED: "Expired without an approval",
    Notice.VOIDED: "Void: nothing to approve any more",
}
_PLAIN: Final = (
    "hand",
    "action",
    "side_effects",
    "requested_at",
    "expires_at",
    "approver_role",
    "quorum",
    "enrolled_key",
)
_DETAILS: Final = (
    "requested_by",
    "acts_for",
    "reasons",
    "args",
    "answers",
    "binding",
    "context_id",
    "plan_id",
    "step_id",
)


def standard(message: Message, view: Mapping[str, Any], page_url: str, *, details: bool) -> bytes:
    """Canonical JSON, the same for every attempt while the request is the same."""
    data = {
        "approval_id": message.approval_id,
        "tenant": message.tenant,
        "url": page_url,
        **{name: view[name] for name in _PLAIN if name in view},
    }
    if details:
        data["details"] = {name: view[name] for name in _DETAILS if name in view}
        data["details"]["text"] = _text(view)
    return canonical({"type": str(message.notice), "timestamp": format_time(message.created_at), "data": data})


def slack(message: Message, view: Mapping[str, Any], page_url: str, *, details: bool) -> bytes:
    """The body of an incoming webhook of Slack (``text`` in mrkdwn). Nothing of a call is obeyed: it mentions nobody,
    links nowhere and closes no block.
    """
    call = f"{view.get('hand', '')} {view.get('action', '')}".strip()
    lines = [f"*{_TITLES[message.notice]}*: `{_mrkdwn(call)}`"]
    if message.notice in {Notice.REQUESTED, Notice.REBOUND}:
        lines.append(f"It expires at {moment(view.get('expires_at'))}.")
    if details:
        lines.append(f"```\n{_mrkdwn(_text(view))}\n```")
    lines.append(f"<{page_url}|Open the request>")
    return canonical({"text": "\n".join(lines), "unfurl_links": False, "unfurl_media": False})


def _text(view: Mapping[str, Any]) -> str:
    text = render(view).text(80)
    if len(text) <= TEXT_MAX_CHARACTERS:
        return text
    return f"{text[:TEXT_MAX_CHARACTERS]}\n[{len(text) - TEXT_MAX_CHARACTERS:,} more characters are on the page]"


def _mrkdwn(text: str) -> str:
    """Escaped as Slack's documentation says; a backtick, which has no escape, becomes an apostrophe."""
    made = safe(text, lines=True).replace("`", "'")
    return made.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def listeners(settings: Settings) -> dict[tuple[str, Notice], list[str]]:
    """Tenant and notice -> the webhooks that are told."""
    found: dict[tuple[str, Notice], list[str]] = {}
    for name, webhook in settings.webhooks.items():
        for tenant in webhook.tenants:
            for notice in webhook.events:
                found.setdefault((tenant, notice), []).append(name)
    return found
