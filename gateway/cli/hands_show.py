"""A hand as whoever agrees to it reads it.

What it offers is shown whole before somebody agrees to it for the first time: its words steer a model, and its jail is
shown files. Later what changed is shown.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.cli.output import Output

_ELSEWHERE: Final = frozenset(
    {
        "actions",
        "adapter",
        "egress",
        "endpoint",
        "hand",
        "instructions",
        "jail",
        "options",
        "region",
        "secrets",
        "trust",
        "v",
    }
)
"""Members of a manifest that have a place of their own; whatever else there is has a line."""


def show(out: Output, hand: Mapping[str, Any], *, whole: bool) -> None:
    """Print a hand.

    Args:
        hand: as ``GET /v1/hands/{id}`` shows it; ``manifest`` is there for who may pin it.
        whole: also each action as it would be pinned.
    """
    manifest = hand.get("manifest") or {}
    names = ("id", "adapter", "endpoint", "state", "problem", "region", "trust", "pinned_digest", "offered_digest")
    out.facts((name.replace("_", " "), hand.get(name)) for name in names)
    out.line("")
    for name, said in (("tells a model", manifest.get("instructions")), ("options", manifest.get("options"))):
        if said:
            out.facts([(name, said)])
            out.line("")
    more = [(name, value) for name, value in manifest.items() if name not in _ELSEWHERE and _says(value)]
    if more:
        out.facts((name.replace("_", " "), value if isinstance(value, str) else _line(value)) for name, value in more)
        out.line("")
    _jail(out, manifest.get("jail") or {})
    _secrets(out, hand)
    _egress(out, hand)
    out.table(
        ["action", "side effects", "idempotent", "description"],
        (
            [
                action.get("name"),
                action.get("side_effects"),
                "yes" if action.get("idempotent") else "no",
                action.get("description"),
            ]
            for action in hand.get("actions") or []
        ),
        "It offers no action.",
    )
    if whole:
        for name, action in (manifest.get("actions") or {}).items():
            out.section(f"{name}:", style="bold")
            out.block({member: value for member, value in action.items() if _says(value)})


def _says(value: Any) -> bool:
    """Whether a member is worth a line. A zero is."""
    return value is not None and value is not False and value not in ("", [], {})


def _jail(out: Output, jail: Mapping[str, Any]) -> None:
    """What runs here, and what of the host it is shown."""
    if not jail:
        return
    out.facts(
        [
            ("runs", _line(jail["command"]) if jail.get("command") else None),
            ("jail profile", jail["profile"]),
            ("environment", _line(jail["env"]) if jail.get("env") else None),
        ]
    )
    out.line("")
    if jail.get("binds"):
        out.table(
            ["its jail sees", "of the host", "it may"],
            (
                [target, bind["source"], "write" if bind["writable"] else "read"]
                for target, bind in jail["binds"].items()
            ),
        )
        out.line("")


def _secrets(out: Output, hand: Mapping[str, Any]) -> None:
    if not hand.get("secrets"):
        return
    out.table(
        ["secret", "from", "place", "goes to", "methods", "paths"],
        (
            [
                use.get("name"),
                f"connection {use['connection']}" if use.get("connection") else use.get("store"),
                " ".join(filter(None, [use.get("place"), use.get("parameter"), use.get("username")])),
                use.get("targets"),
                use.get("methods"),
                use.get("paths"),
            ]
            for use in hand["secrets"]
        ),
    )
    out.line("")


def _egress(out: Output, hand: Mapping[str, Any]) -> None:
    if not hand.get("egress"):
        return
    out.table(
        ["its jail reaches", "methods", "paths", "how"],
        (
            [
                f"{rule.get('scheme')}://{rule.get('host')}:{rule.get('port')}",
                rule.get("methods"),
                rule.get("paths"),
                " ".join(
                    name.replace("_", " ") for name in ("blind", "credential", "private_network") if rule.get(name)
                ),
            ]
            for rule in hand["egress"]
        ),
    )
    out.line("")


def differences(out: Output, hand: Mapping[str, Any]) -> None:
    """Print what changed since it was pinned; nothing where nothing was."""
    if hand.get("diff") and hand.get("pinned_digest"):
        out.section("what changed:", style="bold")
        out.table(
            ["path", "pinned", "offered"],
            (
                [item.get("path"), *(_line(item[side]) if side in item else "-" for side in ("pinned", "offered"))]
                for item in hand["diff"]
            ),
        )


def _line(value: Any) -> str:
    """A JSON value in one line."""
    return json.dumps(value, ensure_ascii=False)
