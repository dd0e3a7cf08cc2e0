"""What a key still shows that may be in wrong hands: a checkpoint that witnesses saw before, a message that is bound to
an entry which was covered before, and nothing else.
"""

from collections.abc import Iterable, Sequence

from .collected import Collected
from .errors import EvidenceError
from .keys import Key, Keys
from .note import LOG, Note, Vkey
from .report import Report, Verdict


def leave_unrevoked(
    found: Collected, witnesses: Sequence[Vkey], quorum: int, trusted: Iterable[Key], report: Report
) -> None:
    """Leave of the checkpoint's signers those whose key is not in wrong hands, or was not yet when witnesses saw this.

    Whatever says that a key was revoked is heeded here, believed or not: it only takes away.
    """
    if found.note is None or found.keys is None:
        return
    gone: dict[bytes, float | None] = {}
    for key in [*trusted, *found.keys.listed.values()]:
        said = found.revoked.get(key.kid)
        if key.purpose == "checkpoint" and (key.covered is not None or said is not None):
            times = (key.compromised, None if said is None else said[1], gone.get(key.public))
            unknown = (key.covered is not None and key.compromised is None) or (said is not None and said[1] is None)
            unknown = unknown or (key.public in gone and gone[key.public] is None)
            gone[key.public] = None if unknown else min(time for time in times if time is not None)
    left = [key for key in found.signers if key.public not in gone]
    if not found.signers or any(key.kind == LOG for key in left):
        found.signers = left
        return
    since = [time for key in found.signers if (time := gone.get(key.public)) is not None]
    seen = _seen_before(found.note, witnesses, min(since)) if since else ()
    if len(seen) >= max(1, quorum):
        report.proved(
            "checkpoint", f"its key was revoked later; {', '.join(seen)} saw it before the key was in wrong hands."
        )
        return
    found.signers = ()
    report.failed(
        "checkpoint",
        "signed by a key that was revoked, and none of your witnesses says that it saw it before the key was in wrong "
        "hands: ask for a bundle under the log's present key",
    )


def _seen_before(note: Note, witnesses: Sequence[Vkey], time: float) -> list[str]:
    try:
        return [name for name, at in note.cosigned_by(witnesses, "checkpoint").items() if at < time]
    except EvidenceError:
        return []  # said where the witnesses are counted


def signed(keys: Keys, key: Key, text: str, report: Report, about: str = "manifest", index: int | None = None) -> None:
    """Add to ``report`` that a key signed something, and whether that shows anything.

    Args:
        index: of the highest entry that it is bound to; ``None`` where it is bound to none.
    """
    by, key = keys.vouched.get(key.kid), keys.listed[key.kid]
    if not key.stands(index):
        stands = f" From entry {key.covered} on they show nothing that the entries do not." if index is not None else ""
        report.add(
            Verdict.OPEN,
            about,
            f"{text}: signed by the key {key.kid}, which was revoked. When it signed this, only this itself says."
            f"{stands}",
        )
    elif by is None:
        report.add(
            Verdict.OPEN,
            about,
            f"{text}: signed by the key {key.kid}, of which only this bundle says that it is the gateway's. Give the "
            "gateway's trust document (--trust).",
        )
    else:
        report.proved(about, f"{text}. Signed by a key that {by} vouches for.")
