"""Where the arguments of a step came from: ``steps[].provenance`` of the policy input. Pure.

For each argument with a role this says who supplied the whole value: a recipient, a URL, an account, a path, an amount,
a resource. Of a content it says who supplied the links and addresses that stand in it. The sources stand in the order
in which they had the value, each kind of source once: *the first source wins*, and what a person approved comes last.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.arguments import by_role
from gateway.manifest import ActionManifest, ArgumentRole, Trust
from gateway.policy.memory import Found, Match, Memory, Origin, Source
from gateway.policy.values import links, recipients, scalar_text

LINKS_MAX: Final = 32
"""Links of one content that are told of, those first that nobody vouches for."""
Entry = dict[str, str]


def provenance(
    args: Mapping[str, Any],
    action: ActionManifest,
    memory: Memory,
    resolved: Mapping[str, list[Entry]],
    plan_id: str,
) -> dict[str, list[Entry]]:
    """JSON pointer -> sources, of every argument with a role; of a content, only where links stand in it.

    Args:
        resolved: pointer -> the source of a value that the gateway itself took from an earlier result.
    """
    found: dict[str, list[Entry]] = {pointer: list(entries) for pointer, entries in resolved.items()}
    for pointer, role, scalar in by_role(args, action):
        text = scalar_text(scalar)
        if text is None:
            continue
        if role is ArgumentRole.CONTENT:
            entries = _carried(text, memory, plan_id)
        else:
            entries = _supplied(text, role, memory, _above(pointer, resolved), plan_id)
        if entries:
            found[pointer] = [{**entry, "role": str(role)} for entry in entries] + [
                entry for entry in found.get(pointer, []) if entry.get("role", str(role)) != str(role)
            ]
    return found


def _supplied(text: str, role: ArgumentRole, memory: Memory, resolved: list[Entry], plan_id: str) -> list[Entry]:
    """Who supplied a value: of several recipients in one text, the one that is vouched for least."""
    names = recipients(text) if role is ArgumentRole.RECIPIENT else [text]
    each = [_of_value(name, role, memory, plan_id) for name in names]
    entries = min(each, key=_standing, default=_new())
    return resolved if resolved and entries == _new() else entries


def _of_value(value: str, role: ArgumentRole, memory: Memory, plan_id: str) -> list[Entry]:
    entries = [_entry(found, plan_id) for found in memory.find(value)] or _new()
    approved = memory.approved(role, value)
    if approved is not None:
        entries.append({**_entry(Found(approved, Match.EXACT), plan_id), "side_effects": approved.side_effects})
    return entries


def _carried(text: str, memory: Memory, plan_id: str) -> list[Entry]:
    """Who supplied the links in a content, those first that are vouched for least. A bare name that nobody mentioned is
    taken for a word: not everything with a dot in it is a link."""
    entries: list[list[Entry]] = []
    for seen in {link.canonical: link for link in links(text)}.values():
        one = [_entry(found, plan_id) for found in memory.find(seen.canonical)] or _new()
        if seen.explicit or one != _new():
            entries.append(one[:1])
    entries.sort(key=_standing)
    unlike = {tuple(sorted(one[0].items())): one[0] for one in entries}
    return list(unlike.values())[:LINKS_MAX]


def _standing(entries: list[Entry]) -> int:
    """How far the first source vouches: the less, the smaller."""
    first = entries[0]
    if first["source"] == Source.NEW:
        return 0
    if first.get("trust") == Trust.UNTRUSTED:
        return 1
    return 2 if first["source"] == Source.RESULT and first["match"] == Match.CONTAINED else 3


def _new() -> list[Entry]:
    return [{"source": str(Source.NEW), "match": str(Match.EXACT)}]


def _entry(found: Found, plan_id: str) -> Entry:
    return {name: value for name, value in _members(found.origin, found.match, plan_id) if value}


def _members(origin: Origin, match: Match, plan_id: str) -> Iterator[tuple[str, str]]:
    yield "source", str(origin.source)
    if origin.plan_id == plan_id:
        # A step of another plan is not named: its id says nothing without the plan's.
        yield "step", origin.step_id
    yield "hand", origin.hand
    yield "action", origin.action
    yield "trust", str(origin.trust or "")
    yield "match", str(match)


def _above(pointer: str, resolved: Mapping[str, list[Entry]]) -> list[Entry]:
    """What the gateway resolved at a pointer, or at a container that it is in."""
    while pointer:
        if pointer in resolved:
            return resolved[pointer]
        pointer = pointer.rpartition("/")[0]
    return []
