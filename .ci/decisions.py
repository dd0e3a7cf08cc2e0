"""Write docs/adr/README.md: the index of the decision records, from their first lines."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "adr"
TARGET = FOLDER / "README.md"


def document() -> str:
    """The page."""
    rows = [
        "# Decisions",
        "",
        "<!-- Written by `make docs`; do not edit. -->",
        "",
        "Numbers are given out before a decision is written, so some are not used.",
        "",
        "| number | decision |",
        "|---|---|",
    ]
    for path in sorted(FOLDER.glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        number, _, words = title.partition(". ")
        rows.append(f"| {number} | [{words}]({path.name}) |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
