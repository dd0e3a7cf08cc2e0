"""From what a bundle claims to what it shows, once every part has passed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from . import strict
from .collected import Collected, Request
from .errors import EvidenceError
from .history import check_history
from .keys import Key, Keys
from .note import Checkpoint, Note, Vkey
from .report import Report, Verdict, entries
from .revocation import leave_unrevoked, signed
from .segment import Leaves
from .tree import EMPTY_ROOT

OPERATOR: Final = "default"
"""The tenant of entries about the gateway itself."""
_MANIFEST: Final = {
    "v": int,
    "asked": dict,
    "made_at": int,
    "entries": int,
    "complete": bool,
    "statement": str,
    "parts": list,
}


def conclude(
    found: Collected,
    leaves: Leaves,
    seen: Sequence[Mapping[str, Any]],
    witnesses: Sequence[Vkey],
    quorum: int,
    trusted: Iterable[Key],
    report: Report,
) -> None:
    """Add to ``report`` what is shown.

    Args:
        seen: name, size and SHA-256 of every part, in order.
        witnesses: of whom ``quorum`` must have cosigned.
        trusted: the gateway's keys by the reader's own trust document.
    """
    if found.asked is None or found.note is None or found.keys is None:
        raise EvidenceError("the bundle is not whole")
    head = found.note.checkpoint
    report.facts.update(
        origin=head.origin,
        tree_size=head.size,
        root=head.root.hex(),
        entries=leaves.enclosed,
        receipts=found.receipts,
        openings=found.openings,
        policies=sorted(found.policies),
    )
    leave_unrevoked(found, witnesses, quorum, trusted, report)
    in_log = _log(found, head, leaves, report)
    former = _names(found, found.asked, head, report)
    _witnesses(found.note, witnesses, quorum, report)
    if in_log:
        _kept(found, head, former, report)
        for kid, purpose in found.created.items():
            found.keys.vouch(kid, purpose, "an entry of the log")
        for kid, (covered, compromised) in found.revoked.items():
            found.keys.revoked(kid, covered, compromised)
    _manifest(found, found.asked, found.keys, seen, leaves, report)
    if in_log:
        _completeness(found.asked, leaves, report)
    chained = found.asked.document["tenant"] == OPERATOR and in_log
    check_history(found, leaves, report, chained=chained)
    _attached(found, found.keys, report)
    report.add(
        Verdict.LIMIT,
        "truth",
        "the log shows what the gateway recorded and that it was not changed since; not that what it recorded is true, "
        "and not that it recorded everything.",
    )


def _log(found: Collected, head: Checkpoint, leaves: Leaves, report: Report) -> bool:
    """Whether the entries are in a log that a key of the reader's signed."""
    if leaves.growth.size != head.size:
        report.failed("log", f"the hashes are those of {leaves.growth.size} leaves, the checkpoint of {head.size}")
        return False
    if leaves.growth.root() != head.root:
        report.failed(
            "log",
            "the enclosed entries and hashes do not give the root that was signed: at least one of them was changed, "
            "removed, added or moved",
        )
        return False
    if not found.signers or head.origin not in {key.name for key in found.signers}:
        return False
    key = found.signers[0]
    report.proved("checkpoint", f"signed by {key.name}+{key.key_id.hex()}, a key that you gave: {entries(head.size)}.")
    about = f" from {found.first_time} to {found.last_time}" if leaves.enclosed else ""
    report.proved(
        "entries",
        f"{entries(leaves.enclosed)}{about}, each in that log at its place and exactly as it was written; one "
        "changed byte would have given another root.",
    )
    return True


def _names(found: Collected, asked: Request, head: Checkpoint, report: Report) -> dict[str, int]:
    """Hold the name that each entry bears against its place: it changes where a restore opened a new log alone.

    Returns:
        Former name -> how many entries the log had when it was given up.
    """
    former: dict[str, int] = {}
    name = found.restores[0][2] if found.restores else head.origin
    for index, own, old, size in found.restores:
        if type(old) is not str or old != name or own in {old, *former} or size != index:
            report.failed("names", f"entry {index} does not say of which log, and from where, this one goes on")
            return {}
        former[old], name = index, own
    if name != head.origin:
        report.failed("names", f"the last restore opened the log {name!r}, and the checkpoint is of {head.origin!r}")
        return {}
    for first, last, borne in found.names:
        if all(next((old for old, end in former.items() if at < end), name) == borne for at in (first, last)):
            continue
        which = f"entries {first} to {last}" if first != last else f"entry {first}"
        if found.restores or asked.document["tenant"] == OPERATOR:
            report.failed("names", f"{which}: said to belong to the log {borne!r}")
            return {}
        report.add(
            Verdict.LIMIT,
            "names",
            f"why {which} bear the name {borne!r}: a restore gives a log another name, and the entry that says so is "
            "the operator's.",
        )
    for old, end in former.items():
        report.proved("names", f"entry {end} says that a backup was put back; {entries(end)} before it: in {old}.")
    return former


def _witnesses(note: Note, witnesses: Sequence[Vkey], quorum: int, report: Report) -> None:
    if not witnesses:
        report.add(
            Verdict.LIMIT,
            "fork",
            "whether the gateway shows others the same log: that is what witnesses are for, and you named none.",
        )
        return
    try:
        cosigned = note.cosigned_by(witnesses, "checkpoint")
    except EvidenceError as exc:
        report.failed("witnesses", str(exc))
        return
    names = ", ".join(f"{name} at {_utc(time)}" for name, time in cosigned.items()) or "nobody"
    if len(cosigned) < quorum:
        report.failed("witnesses", f"{quorum} of your witnesses must have cosigned, and {len(cosigned)} did: {names}")
    else:
        report.proved("witnesses", f"{len(cosigned)} of your {len(witnesses)} witnesses saw this same log: {names}.")


def _kept(found: Collected, head: Checkpoint, former: Mapping[str, int], report: Report) -> None:
    """Whether the log still contains what the reader's own checkpoints sign, also under a name that it had before."""
    roots = {**found.roots, 0: EMPTY_ROOT}
    for name, note in found.kept:
        kept = note.checkpoint
        if kept.origin not in {head.origin, *former}:
            report.failed("kept checkpoint", f"{name} is of the log {kept.origin!r}")
        elif kept.origin in former and kept.size > former[kept.origin]:
            restored = former[kept.origin]
            report.failed(
                "kept checkpoint",
                f"{name} signs {entries(kept.size)} of {kept.origin}, and entry {restored} says that a backup of "
                f"{restored} was put back: those between are lost",
            )
        elif kept.size > head.size:
            report.failed(
                "kept checkpoint",
                f"{name} signs {entries(kept.size)}, and this log has {head.size}: it was rolled back, or the "
                "bundle is older than your checkpoint",
            )
        elif kept.size not in roots:
            report.add(
                Verdict.OPEN,
                "kept checkpoint",
                f"{name} signs {entries(kept.size)}, and this bundle does not part there: ask for one with "
                f"--kept {kept.size}.",
            )
        elif roots[kept.size] != kept.root:
            report.failed(
                "kept checkpoint",
                f"{name} signs another beginning of {entries(kept.size)}: the log was rewritten, or forked",
            )
        else:
            report.proved(
                "kept checkpoint",
                f"the log still begins with {entries(kept.size)} that {name} signs; it only grew.",
            )


def _manifest(
    found: Collected,
    asked: Request,
    keys: Keys,
    seen: Sequence[Mapping[str, Any]],
    leaves: Leaves,
    report: Report,
) -> None:
    """Whether the manifest is of these parts, and signed by the gateway."""
    try:
        manifest = strict.document(found.manifest, "manifest.json", _MANIFEST)
        claims, key = keys.verify(found.signature, "export+jws", "receipt", "manifest.sig")
    except EvidenceError as exc:
        report.failed("manifest", str(exc))
        return
    wrong = []
    if claims.get("manifest_sha256") != hashlib.sha256(found.manifest).hexdigest():
        wrong.append("its signature is of another manifest")
    if claims["iss"] != asked.document["origin"] or claims["iat"] != manifest["made_at"]:
        wrong.append("its signature names another log or another time")
    if manifest["v"] != 1 or manifest["asked"] != asked.document:
        wrong.append("it does not say what asked.json says")
    if manifest["entries"] != leaves.enclosed:
        wrong.append(f"it counts {manifest['entries']} entries, and {leaves.enclosed} are enclosed")
    if manifest["complete"] and not _whole(asked, leaves):
        wrong.append("it says that the range is enclosed whole, and entries of it are missing")
    wrong += _parts(manifest["parts"], seen[:-2])
    _dropped(manifest.get("dropped"), report)
    _later(manifest.get("head"), report)
    for text in wrong:
        report.failed("manifest", text)
    report.facts.update(made_at=manifest["made_at"], by=asked.document["by"], asked=asked.document)
    if not wrong:
        signed(keys, key, f"the gateway made this bundle at {_utc(manifest['made_at'])} for {asked.document['by']}, "
               f"of these {len(seen) - 2} parts and no other", report)  # fmt: skip


def _dropped(stretches: object, report: Report) -> None:
    """What the gateway says of entries whose retention is over, where it does."""
    if type(stretches) is not list or not stretches:
        return
    if not all(type(one) is list and len(one) == 2 and all(type(at) is int for at in one) for one in stretches):
        report.failed("manifest", "it names stretches of dropped entries that are none")
        return
    some = ", ".join(f"{first} to {last}" for first, last in stretches[:5])
    more = f" and {len(stretches) - 5} stretches more" if len(stretches) > 5 else ""
    report.add(
        Verdict.LIMIT,
        "retention",
        f"that entries {some}{more} were dropped because their retention was over, but for those that stand, is the "
        "gateway's word: whether another would have passed the filters, nobody can show any more.",
    )


def _later(head: object, report: Report) -> None:
    """What the gateway says of entries that came after the checkpoint."""
    if type(head) is not dict or not all(type(head.get(name)) is int for name in ("later", "log_size", "needed")):
        report.failed("manifest", "it does not say how many entries came after the checkpoint")
    elif head["later"]:
        report.add(
            Verdict.LIMIT,
            "head",
            f"anything of {head['later']} further entries that the gateway had by then, in a log of "
            f"{head['log_size']}: {head['needed']} witnesses had not cosigned so far yet. Ask again for those.",
        )


def _parts(listed: Sequence[Any], seen: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(listed) != len(seen):
        return [f"it lists {len(listed)} parts, and {len(seen)} are there"]
    return [
        f"{found['name']} is not the part that it lists"
        for one, found in zip(listed, seen, strict=True)
        if one != found
    ]


def _whole(asked: Request, leaves: Leaves) -> bool:
    return leaves.covers(asked.document["first"], asked.document["end"])


def _completeness(asked: Request, leaves: Leaves, report: Report) -> None:
    first, end, wanted = (asked.document[name] for name in ("first", "end", "filter"))
    if _whole(asked, leaves):
        report.proved("completeness", f"no entry from {first} up to, not including, {end} is missing.")
        return
    words = " and ".join(f"{name} {value}" for name, value in sorted(wanted.items()))
    scope = asked.document["scope"]
    if scope:
        some = ", ".join(scope["hands"][:5]) + (" and others" if len(scope["hands"]) > 5 else "")
        report.add(
            Verdict.LIMIT,
            "scope",
            f"anything about other hands than {some or 'none'}: whoever asked for this bundle is bound to these, and "
            "sees of what is about no hand only the entries on keys, policies and the log itself.",
        )
    report.add(
        Verdict.LIMIT,
        "completeness",
        f"that no other entry from {first} up to {end} is of the tenant {asked.document['tenant']}"
        + (f" with {words}" if words else "")
        + ": of the entries that are not enclosed only hashes are here, and what they hold is the gateway's word. Ask "
        "for an index range without a filter to have that proved.",
    )


def _attached(found: Collected, keys: Keys, report: Report) -> None:
    if found.receipts:
        used = [(keys.listed[kid], highest) for kid, highest in found.used.items()]
        unsure = [one for one in used if one[0].kid not in keys.vouched or not one[0].stands(one[1])]
        text = f"{found.receipts} receipts say of their steps what the entries say that they name"
        for key, highest in unsure or used[:1]:
            signed(keys, key, text, report, about="receipts", index=highest)
    if found.openings:
        report.proved(
            "openings", f"{found.openings} values are the ones that entries committed to when they were written."
        )
    if found.policies:
        decided = sum(found.deciding[digest] for digest in found.policies)
        report.proved(
            "policies", f"{len(found.policies)} policy bundles are those that decided {decided} of the entries."
        )
    missing = sorted(found.deciding.keys() - found.policies)
    if missing:
        some = ", ".join(digest[:16] for digest in missing[:5])
        report.add(Verdict.LIMIT, "policies", f"{len(missing)} bundles that decided are not enclosed: {some}.")
    if found.unmapped:
        some = ", ".join(sorted(found.unmapped)[:5])
        report.add(
            Verdict.LIMIT, "controls", f"the enclosed matrix is not the one that some entries were written by: {some}."
        )


def _utc(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"
