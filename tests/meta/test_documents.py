"""Links of the documents lead somewhere, and the lists in them are whole."""

import re
from pathlib import Path

import pytest

from bench import page as figures
from tests.meta.tree import ROOT, text, tracked

PAGES = [ROOT / path for path in tracked() if path.endswith(".md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    for target in LINK.findall(text(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in _anchors(linked), target


def test_decision_records_have_numbers_of_their_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert len({name[:4] for name in names}) == len(names)
    for name in names:
        assert text(ROOT / "docs" / "adr" / name).startswith(f"# {int(name[:4])}. "), name


def test_every_module_of_the_gateway_has_one_room() -> None:
    page = text(ROOT / "docs" / "development.md")
    table = page.split("### Rooms of `gateway/`")[1].split("Imports point one way")[0]
    rows = re.findall(r"^\|[^|]*\| (`[^|]*`) \| [^|]+ \|$", table, re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    there = {Path(path).parts[1].removesuffix(".py") for path in tracked() if path.startswith("gateway/")}
    assert sorted(listed) == sorted(there - {"__init__"})


def test_index_of_the_documents_is_whole() -> None:
    index = text(ROOT / "docs" / "README.md")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index, path.name


@pytest.mark.parametrize("mark", [mark for name, mark in vars(figures).items() if name.startswith("BEGIN")])
def test_figures_that_are_measured_have_a_place_on_the_page(mark: str) -> None:
    """Without it they would be written behind everything else, or over it."""
    _, begin, rest = text(figures.PAGE).partition(mark)
    between, end, after = rest.partition(figures.END)
    assert begin, "the mark is not there"
    assert end, "nothing ends there"
    assert "<!--" not in between
    assert mark not in after
