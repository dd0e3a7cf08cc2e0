"""Drafting what arguments may hold from what they held: hosts that a hand was sent to, and directories that an action
was given. Pure.

Only arguments with the roles ``url`` and ``path`` are looked at, and of a URL only its host, of a path only the
directories that it begins with. What is no plain URL to a name, or no plain absolute path, is counted and not shown.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.arguments import at
from gateway.manifest import ArgumentRole

VALUES_MAX: Final = 1_000
DEPTH_MAX: Final = 3
"""Directories of a path that are kept."""
PREFIXES_MAX: Final = 8
"""Prefixes of one argument; where there are more, they are shortened until there are not."""
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_URL: Final = re.compile(
    rf"(?:[A-Za-z][A-Za-z0-9+.-]*://)?({_NAME}(?:\.{_NAME})+)(?::([1-9][0-9]{{0,4}}))?(?:[/?#][!-~]*)?"
)
_USUAL_PORTS: Final = frozenset({"80", "443"})
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._+@=,: -]+)+/?")
_SPECIAL: Final = re.compile(r"[.+]")

Place = tuple[str, str, str]
"""``(hand, action, pointer)``."""


@dataclass(slots=True)
class Allowlists:
    """Hosts and directories, counted in bounded memory."""

    hosts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """``(hand, action, host)`` -> steps."""
    prefixes: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """``(hand, action, pointer, directory)`` -> steps."""
    not_plain: int = 0
    not_told_apart: int = 0

    def add(self, step: Mapping[str, Any], hands: Mapping[str, Any]) -> None:
        """Take in a step that the policy lets go, or would with a grant."""
        hand, action = str(step["hand"]), str(step["action"])
        roles = hands.get(hand, {}).get("actions", {}).get(action, {}).get("args", {})
        for pointer, role in roles.items():
            if role == ArgumentRole.URL:
                found = set(map(host_of, at(step["args"], pointer)))
                self._count(self.hosts, ((hand, action, host) for host in found if host))
            elif role == ArgumentRole.PATH:
                found = set(map(directory_of, at(step["args"], pointer)))
                self._count(self.prefixes, ((hand, action, pointer, name) for name in found if name))
            else:
                continue
            self.not_plain += None in found

    def _count(self, counter: Counter[Any], keys: Iterable[Any]) -> None:
        for key in keys:
            if key not in counter and len(counter) >= VALUES_MAX:
                self.not_told_apart += 1
            else:
                counter[key] += 1

    def document(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """As JSON: ``data.json`` of the rules ``hosts`` and ``arguments`` with what was seen, and how often it was.

        Args:
            data: of the bundle that the draft is for, under ``handrail``. What it lists already is left as it is.
        """
        prefixes = self._shortened()
        return {
            "hosts": self._hosts(data),
            "arguments": _arguments(data, prefixes),
            "seen": [*self._seen_hosts(), *_seen_prefixes(prefixes)],
            "not_plain": self.not_plain,
            "not_told_apart": self.not_told_apart,
        }

    def _seen_hosts(self) -> Iterator[dict[str, Any]]:
        for (hand, action, host), count in self.hosts.most_common():
            yield {"hand": hand, "action": action, "role": "url", "value": host, "steps": count}

    def _hosts(self, data: Mapping[str, Any]) -> dict[str, list[str]]:
        listed = data.get("hosts", {}).get("hosts", {})
        found: dict[str, set[str]] = defaultdict(set)
        for hand, _, host in self.hosts:
            if hand not in listed:
                found[hand].add(host)
        return {hand: sorted(hosts) for hand, hosts in sorted(found.items())}

    def _shortened(self) -> dict[Place, Counter[str]]:
        found: dict[Place, Counter[str]] = defaultdict(Counter)
        for (hand, action, pointer, name), count in sorted(self.prefixes.items()):
            found[hand, action, pointer][name] += count
        return {place: _shorter(names) for place, names in found.items()}


def host_of(value: Any) -> str | None:
    """The host that a URL leads to, with a port that is unusual; ``None`` where it is no plain URL to a name."""
    found = _URL.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[1].rpartition(".")[2].isdigit():
        return None
    port = found[2]
    return found[1].lower() + (f":{port}" if port and port not in _USUAL_PORTS else "")


def directory_of(value: Any) -> str | None:
    """The directories that a path begins with; ``None`` where it is no plain absolute path."""
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        return None
    parts = value.strip("/").split("/")
    if {".", ".."} & set(parts):
        return None
    return "/" + "/".join(parts[: max(1, min(len(parts) - 1, DEPTH_MAX))])


def merged(data: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """``data.json`` of the two rules, by path in the bundle, with the draft added to what is there."""
    hosts, arguments = (dict(data.get(name, {})) for name in ("hosts", "arguments"))
    hosts["hosts"] = {**hosts.get("hosts", {}), **document["hosts"]}
    drafted = document["arguments"]
    hands = {hand: dict(actions) for hand, actions in arguments.get("hands", {}).items()}
    for hand, actions in drafted["hands"].items():
        for action, lines in actions.items():
            hands.setdefault(hand, {})[action] = [*hands.get(hand, {}).get(action, []), *lines]
    arguments = {"hands": hands, "patterns": {**arguments.get("patterns", {}), **drafted["patterns"]}}
    return {"handrail/hosts/data.json": hosts, "handrail/arguments/data.json": arguments}


def _shorter(names: Counter[str]) -> Counter[str]:
    while len(names) > PREFIXES_MAX:
        longest = max(name.count("/") for name in names)
        if longest == 1:
            break
        shorter: Counter[str] = Counter()
        for name, count in names.items():
            shorter[name.rpartition("/")[0] if name.count("/") == longest else name] += count
        names = shorter
    return names


def _seen_prefixes(prefixes: Mapping[Place, Counter[str]]) -> Iterator[dict[str, Any]]:
    for (hand, action, pointer), names in prefixes.items():
        for name, count in names.most_common():
            yield {"hand": hand, "action": action, "role": "path", "pointer": pointer, "value": name, "steps": count}


def _arguments(data: Mapping[str, Any], prefixes: Mapping[Place, Counter[str]]) -> dict[str, Any]:
    """Lines that keep each path argument to the directories it was seen in; the roots of the hand hold besides."""
    there = data.get("arguments", {})
    hands: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    patterns: dict[str, str] = {}
    for (hand, action, pointer), names in prefixes.items():
        lines = there.get("hands", {}).get(hand, {}).get(action, [])
        if any(line.get("pointer") == pointer for line in lines) or len(names) > PREFIXES_MAX:
            continue
        name = f"{hand}.{action}{pointer.replace('/', '.')}"
        if name not in there.get("patterns", {}):
            hands[hand][action].append({"pointer": pointer, "pattern": name})
            patterns[name] = f"(?:{'|'.join(map(_literal, sorted(names)))})(?:/.*)?"
    return {"hands": {hand: dict(actions) for hand, actions in hands.items()}, "patterns": patterns}


def _literal(text: str) -> str:
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)
