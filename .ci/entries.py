"""Write docs/entries.md: every type of log entry, its code, and what it is evidence for."""

from pathlib import Path

from audit.controls import shipped
from gateway.entries import LABELS, UNWRITTEN, EntryType

TARGET = Path(__file__).resolve().parent.parent / "docs" / "entries.md"

INTRODUCTION = """\
# Entries of the audit log

<!-- Written by `make docs` from gateway/entries.py and policies/controls; do not edit. -->

The closed set of entry types. The code is what an entry carries and what `handrail audit query --type` takes. The other
columns are the controls that an entry of that type is evidence for: identifiers of the catalogues, mapped by us. They
are evidence and not a legal opinion. Where a cell is empty, `policies/controls` says why.

Of the {all} types, {unwritten} are *not written yet*: their codes are kept for parts of Handrail that are not built. No
log holds such an entry, and their controls have no evidence from them.

"""


def document() -> str:
    """The page."""
    controls = shipped()
    catalogues = sorted(controls.why_none)
    introduction = INTRODUCTION.format(all=len(EntryType), unwritten=len(UNWRITTEN))
    rows = [f"| code | what happened | {' | '.join(catalogues)} |", "|---|---|" + "---|" * len(catalogues)]
    for entry_type in EntryType:
        cells = []
        for catalogue in catalogues:
            prefix = f"{catalogue}:"
            cells.append(", ".join(item.removeprefix(prefix) for item in controls.ids[entry_type] if prefix in item))
        label = f"{LABELS[entry_type]}{' (*not written yet*)' if entry_type in UNWRITTEN else ''}"
        rows.append(f"| `{entry_type.value}` | {label} | {' | '.join(cells)} |")
    return introduction + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
