"""``python -m audit.verifier BUNDLE --key VKEY``: check a bundle with Python and ``cryptography`` alone.

Exit codes: 0 everything holds; 1 something does not; 2 wrong use; 4 nothing is wrong, but not everything is shown.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .check import Criteria, verify
from .errors import EvidenceError
from .note import LOG, NOTE_MAX_BYTES, WITNESS, Vkey
from .report import Exit

_FILE_MAX_BYTES = 16 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="verifier",
        description="Check an evidence bundle of a Handrail log. No network is used and no gateway is asked.",
        epilog="Exit codes: 0 everything holds; 1 something does not; 2 wrong use; 4 nothing is wrong, but not "
        "everything that you asked is shown.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="the log's verifier key; repeat")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="the gateway's trust document")
    parser.add_argument("--witness", action="append", default=[], metavar="VKEY", help="a witness's key; repeat")
    parser.add_argument("--quorum", type=int, metavar="K", help="how many must have cosigned (default: all)")
    parser.add_argument(
        "--kept",
        action="append",
        default=[],
        type=Path,
        metavar="CHECKPOINT",
        help="a checkpoint that you kept; repeat",
    )
    parser.add_argument(
        "--post-quantum", action="store_true", help="require the log's ML-DSA-44 signature beside the other"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    try:
        asked = from_arguments(given.key, given.trust, given.witness, given.quorum, given.kept, given.post_quantum)
        with given.bundle.open("rb") as stream:
            report = verify(stream, asked)
    except (EvidenceError, OSError) as exc:
        sys.stderr.write(f"verifier: {exc}\n")
        return Exit.USAGE
    text = json.dumps(report.document(), indent=2) if given.json else "\n".join(report.lines())
    sys.stdout.write(printable(text) + "\n")
    return report.exit


def from_arguments(
    keys: Sequence[str],
    trust: Path | None,
    witnesses: Sequence[str],
    quorum: int | None,
    kept: Sequence[Path],
    post_quantum: bool = False,  # noqa: FBT001, FBT002 - as the flag is
) -> Criteria:
    """What a reader gave on a command line.

    Raises:
        EvidenceError: it cannot be used.
        OSError: a file cannot be read.
    """
    log, others = [Vkey.parse(text) for text in keys], [Vkey.parse(text) for text in witnesses]
    if not any(key.kind == LOG for key in log) and trust is None:
        raise EvidenceError("give the log's key (--key) or its trust document (--trust), from a channel that you trust")
    if any(key.kind == WITNESS for key in log) or any(key.kind != WITNESS for key in others):
        raise EvidenceError("a log's key was given as a witness's, or a witness's as the log's")
    if len({key.public for key in others}) != len(others):
        raise EvidenceError("a witness was given twice")
    needed = len(others) if quorum is None else quorum
    if not 0 <= needed <= len(others) or (others and not needed):
        raise EvidenceError("--quorum: from 1 to the number of witnesses")
    read = [(file.name, _read(file, NOTE_MAX_BYTES)) for file in kept]
    raw = None if trust is None else _read(trust, _FILE_MAX_BYTES)
    return Criteria(keys=log, trust=raw, witnesses=others, quorum=needed, kept=read, post_quantum=post_quantum)


def printable(text: str) -> str:
    """What a bundle says cannot steer a terminal: no control or formatting characters but line ends."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _read(file: Path, limit: int) -> bytes:
    with file.open("rb") as stream:
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise EvidenceError(f"{file.name}: too large")
    return raw


if __name__ == "__main__":
    sys.exit(main())
