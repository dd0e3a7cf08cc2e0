"""An export of what is held about a person, as a page that the person can read (Markdown)."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gateway.entries import LABELS, EntryType
from gateway.rendering import moment

_HEADINGS: Final[Mapping[str, str]] = {
    "principal": "Your account",
    "api_keys": "Your API keys",
    "security_keys": "Your security keys",
    "identity_links": "Your identities at other issuers, and your client certificates",
    "sessions": "Your logins to the pages",
    "contexts": "Your journeys (contexts)",
    "plans": "Plans of yours",
    "approvals": "Requests for approval of your calls",
    "answers": "Requests that you answered",
    "proposals": "Changes that you proposed or decided",
    "issuers": "Who may sign plans for you",
    "holds": "Holds: your data must be kept for now",
    "policy_bundles": "Policy bundles that you brought",
    "policy_activations": "Policies that you activated",
    "policy_shadows": "Policies that you tried",
}


async def markdown(parts: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[bytes]:
    """The parts of ``Privacy.access`` as CommonMark, as they come. What people wrote stands in code blocks, so that
    none of it is taken for the page's own words."""
    section = ""
    async for kind, document in parts:
        if kind == "about":
            yield (
                f"# What is held about {_code(document['person'])}\n\nMade {moment(document['made_at'])} from the log "
                f"{_code(document['log'])}. In the log you are called {_code(document['pseudonym'] or 'nothing')}.\n"
            ).encode()
        elif kind == "rows":
            for name, rows in document.items():
                yield f"\n## {_HEADINGS.get(name, name)}\n\n{_block(rows)}".encode()
        elif kind == "end":
            yield f"\nEnd of the export: {document['values']} values, {document['entries']} entries.\n".encode()
        else:
            if kind != section:
                section = kind
                heading = "Values of calls that concern you" if kind == "value" else "What the log says of you"
                yield f"\n## {heading}\n".encode()
            yield (_value(document) if kind == "value" else _entry(document)).encode()


def _value(document: Mapping[str, Any]) -> str:
    shared = document["shared_with"]
    beside = f" It concerns {shared} other data subject(s), too." if shared else ""
    about = f"\nOf {moment(document['created_at'])}, entry {document['index']}.{beside}\n\n"
    if "fault" in document:
        return about + "It cannot be read any more.\n"
    return about + _block(next(document[name] for name in ("value", "text", "base64") if name in document))


def _entry(document: Mapping[str, Any]) -> str:
    entry = document["entry"]
    label = LABELS[EntryType(entry["type"])]
    return f"\nEntry {document['index']}, {entry['time']}: {label}\n\n{_block(entry)}"


def _block(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(f"    {line}\n" for line in text.splitlines() or [""])


def _code(text: str) -> str:
    """A code span (CommonMark 6.1) around one line of somebody else's text."""
    flat = " ".join(text.split())
    fence = "`"
    while fence in flat:
        fence += "`"
    return f"{fence} {flat} {fence}" if "`" in flat else f"`{flat}`"
