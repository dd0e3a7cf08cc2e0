"""One exchange with a witness: what is asked, and what an answer means (c2sp.org/tlog-witness, ``add-checkpoint``).

No database, network or clock. A witness is believed in nothing: its cosignature is verified, and the size that it
claims to have seen, which nothing signs, only chooses the next proof.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from audit.checkpoint import note_text
from audit.cosignature import Cosignature, WitnessKey, from_answer
from audit.errors import NoteInvalid

ANSWER_MAX_BYTES: Final = 65_536
"""Room for sixteen of the largest cosignatures."""
SIZE_TYPE: Final = "text/x.tlog.size"
FUTURE_MAX_SECONDS: Final = 300
"""How far a witness's clock may be before ours: a time further off would make its word look fresh for as long."""
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


class Fault(StrEnum):
    """Why a witness did not cosign, as far as its answer tells."""

    UNREACHABLE = "unreachable"
    """Nothing answered in time, or not as a witness does (5xx, a redirect)."""
    UNKNOWN_LOG = "unknown_log"
    """404: it does not know the origin."""
    UNTRUSTED_KEY = "untrusted_key"
    """403: it trusts no key that signed the checkpoint."""
    REFUSED = "refused"
    """400: it could not read what was sent."""
    FORKED = "forked"
    """422: what it saw of this log before is not the beginning of what it is shown now."""
    AHEAD = "ahead"
    """409: it says that it saw a larger tree than there is."""
    MALFORMED = "malformed"
    """Its answer cannot be read, or its cosignature does not hold."""


ALARMS: Final = frozenset({Fault.FORKED, Fault.AHEAD})
"""What a log that was rewritten or rolled back looks like to its witnesses."""


class WitnessFault(Exception):
    """One attempt failed; the detail is for operators and repeats nothing that the witness chose."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class Conflict(Exception):
    """409: the witness last cosigned a tree of ``size`` leaves, and wants the proof from there."""

    def __init__(self, size: int) -> None:
        super().__init__(str(size))
        self.size = size


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the media type without parameters, and at most :data:`ANSWER_MAX_BYTES`."""

    status: int
    media_type: str
    body: bytes


def request_body(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of ``add-checkpoint``.

    Args:
        old: size of the tree that the witness cosigned last; 0 for none.
        proof: RFC 6962 consistency proof from there; empty from 0, and between equal sizes.
        note: the checkpoint with the log's own signatures.
    """
    lines = [f"old {old}", *(base64.b64encode(value).decode("ascii") for value in proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()


def read_answer(answer: Answer, note: str, key: WitnessKey, now: float) -> Cosignature:
    """The cosignature in an answer to ``note``.

    Args:
        now: seconds since the epoch.

    Raises:
        Conflict: it wants a proof from another size.
        WitnessFault: anything else.
    """
    if answer.status == 409:
        raise _conflict(answer)
    if answer.status != 200:
        fault, text = _STATUSES.get(answer.status, (Fault.UNREACHABLE, "which says nothing about the checkpoint"))
        raise WitnessFault(fault, f"it answered {answer.status}: {text}")
    try:
        found = from_answer(note_text(note), answer.body.decode(), key)
    except UnicodeDecodeError:
        raise WitnessFault(Fault.MALFORMED, "its answer is not UTF-8") from None
    except NoteInvalid as exc:
        raise WitnessFault(Fault.MALFORMED, f"its answer does not hold: {exc.detail}") from None
    if found.time > now + FUTURE_MAX_SECONDS:
        raise WitnessFault(Fault.MALFORMED, "its cosignature is dated in the future")
    return found


def _conflict(answer: Answer) -> Exception:
    size = _SIZE.fullmatch(answer.body)
    if answer.media_type != SIZE_TYPE or size is None:
        return WitnessFault(Fault.MALFORMED, "it answered 409 without the size that it knows")
    return Conflict(int(size[1]))


_STATUSES: Final = {
    400: (Fault.REFUSED, "it could not read the request"),
    403: (Fault.UNTRUSTED_KEY, "it trusts no key that signed the checkpoint"),
    404: (Fault.UNKNOWN_LOG, "it does not know a log of this origin"),
    422: (Fault.FORKED, "what it saw of this log is not the beginning of what it is shown"),
}
