"""Reports in every form: whole, and whatever a gateway or a tool calls itself stays a text."""

import base64
import csv as csv_
import hashlib
import io
import itertools
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from audit.assurance.catalogue import areas, catalogues
from gateway.reports.access import access_review
from gateway.reports.controls import controls_report
from gateway.reports.csv import csv
from gateway.reports.document import Document
from gateway.reports.html import POLICY, STYLE, html
from gateway.reports.markdown import markdown, text
from gateway.reports.oscal import oscal, token
from gateway.reports.processing import record_of_processing
from gateway.reports.responsibilities import responsibilities, responsibility_matrix
from tests.chromium import Browser
from tests.controls.found import HOSTILE, access, processing, report
from tests.services import require

TRESTLE = Path(__file__).resolve().parents[2] / ".tools" / "trestle" / "bin"
Made = Callable[[str], Document]
KINDS: dict[str, Made] = {
    "controls": lambda words: controls_report(report(words)),
    "access": lambda words: access_review(access(words)),
    "processing": lambda words: record_of_processing(processing(words)),
    "responsibilities": lambda _: responsibility_matrix(responsibilities(areas(), list(catalogues().values()))),
}


class Elements(HTMLParser):
    """What elements and attributes a page has."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)


@pytest.mark.parametrize("kind", KINDS)
def test_html_has_no_script_and_nothing_from_elsewhere(kind: str) -> None:
    page = html(KINDS[kind](HOSTILE))
    found = Elements(page)
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "table", "thead",
               "tbody", "tr", "th", "td", "span", "figure", "figcaption", "pre"}  # fmt: skip
    assert found.names <= allowed
    assert found.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "scope"}
    assert b"\xe2\x80\xae" not in page, "nothing reorders what is read"
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert f"<style>{STYLE}</style>".encode() in page, "the very style that the policy names"
    assert "url(" not in STYLE
    assert "@import" not in STYLE


async def test_a_browser_shows_the_page_and_refuses_nothing_of_it(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(html(controls_report(report(HOSTILE))))
    tab = await browser.tab()
    await tab.goto(file.as_uri())
    assert tab.errors == [], "the policy lets its own style through"
    assert await tab.eval("document.scripts.length + document.images.length + document.links.length") == 0
    assert await tab.eval("getComputedStyle(document.querySelector('h2')).fontSize") == "17.6px"
    assert await tab.eval("document.documentElement.scrollWidth <= window.innerWidth")
    shown = await tab.text()
    assert "<script>alert(1)</script>" in shown
    assert "1,234,567" in shown


def _unescaped(line: str) -> str:
    """What stands in a line of Markdown beside references and cells."""
    return re.sub(r"&#\d+;", "", line)


@pytest.mark.parametrize("kind", KINDS)
def test_markdown_holds_no_markup_but_its_own(kind: str) -> None:
    lines = markdown(KINDS[kind](HOSTILE)).splitlines()
    own = [line for line in lines if not line.startswith("    ")]
    for line in own:
        bare = _unescaped(line.lstrip("#"))
        assert not re.search(r"[<>\[\]`*@\\]|https?:", bare), line
        assert not line.startswith("#") or re.match(r"#{1,2} ", line)
    tables = [list(rows) for table, rows in itertools.groupby(own, lambda line: line.startswith("|")) if table]
    assert tables
    assert all(len({line.count("|") for line in rows}) == 1 for rows in tables), "no cell ends before its time"
    assert any("alert" in line for line in lines) or kind == "responsibilities"


@pytest.mark.parametrize(
    "words",
    ["# title", "- item", "1. item", "a|b", "<b>", "[a](b)", "`c`", "*a*", "_a_", "https://x", "www.x.y", "a@b", "$x$",
     "\\", "&amp;", "~~a~~", "=== "],
)  # fmt: skip
def test_a_text_in_markdown_is_its_letters(words: str) -> None:
    import html as html_

    made = text(words)
    assert html_.unescape(made) == words
    assert not re.search(r"[<>\[\]`*_|@\\$~]|://|^www\.", _unescaped(made).replace("&#", ""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "start", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\ufe6210", "\u3000=1", "'=1"]
)
def test_csv_starts_no_formula(kind: str, start: str) -> None:
    made = csv(KINDS[kind](f"{start}|calc"))
    rows = list(csv_.reader(io.StringIO(made)))
    assert len({len(row) for row in rows}) == 1, "every row has as many cells as there are columns"
    for cell in (cell for row in rows for cell in row):
        assert not re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b]", cell), cell
        assert "\r" not in cell
        assert "\n" not in cell


def test_csv_has_a_row_for_each_expectation_and_kind_of_entry() -> None:
    rows = list(csv_.DictReader(io.StringIO(csv(controls_report(report())))))
    assert [(row["control"], row["kind"], row["count"]) for row in rows] == [
        ("5(1)(f)", "expectation", ""),
        ("5(1)(f)", "entries", "1234567"),
        ("30", "expectation", ""),
        ("30", "entries", "1234567"),
        ("17", "", ""),
    ]


def test_a_report_names_each_thing_that_is_missing_once() -> None:
    found = report()
    found["controls"].append({**found["controls"][0], "id": "32"})
    first = controls_report(found).sections[0]
    assert first.title == "What is missing"
    assert [row[3] for row in first.tables[0].rows] == ["5(1)(f), 32"]
    found["controls"] = []
    assert controls_report(found).sections[0].tables[0].rows == [("Nothing.", None, None, None)]


def test_who_was_erased_stays_a_pseudonym() -> None:
    shown = markdown(access_review(access()))
    assert "(erased)" in shown
    assert "no hand" in shown


# --- OSCAL ------------------------------------------------------------------------------------------------------------


def _validated(document: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    """What compliance-trestle says of a document: read by its model, imported into a workspace and validated there."""
    require((TRESTLE / "trestle").exists(), "compliance-trestle", "Run .ci/trestle.")
    workspace = directory / "workspace"
    workspace.mkdir()
    file = directory / "results.json"
    file.write_text(json.dumps(document))
    environment = {"PATH": str(TRESTLE), "HOME": str(directory)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TRESTLE / "trestle", *arguments],
            cwd=workspace,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    made = run("init", "--local")
    assert made.returncode == 0, made.stderr
    imported = run("import", "-f", str(file), "-o", "evidence")
    return imported if imported.returncode else run("validate", "-t", "assessment-results", "-n", "evidence")


@pytest.mark.parametrize("words", ["plain", HOSTILE])
def test_trestle_validates_the_assessment_results(words: str, tmp_path: Path) -> None:
    done = _validated(oscal(report(words)), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VALID" in done.stdout.upper()


def test_trestle_refuses_what_is_no_assessment_results(tmp_path: Path) -> None:
    document = oscal(report())
    document["assessment-results"]["results"][0]["findings"][0]["target"]["status"]["state"] = "perfect"
    assert _validated(document, tmp_path).returncode != 0


def test_a_finding_says_whether_what_is_expected_is_there() -> None:
    found = oscal(report())["assessment-results"]["results"][0]
    states = {one["target"]["target-id"]: one["target"]["status"]["state"] for one in found["findings"]}
    assert states == {"gdpr_5.1.f": "not-satisfied", "gdpr_30": "satisfied"}
    observations = {one["uuid"] for one in found["observations"]}
    related = {one["observation-uuid"] for finding in found["findings"] for one in finding["related-observations"]}
    assert related == observations
    resources = {one["uuid"] for one in oscal(report())["assessment-results"]["back-matter"]["resources"]}
    evidence = [one for seen in found["observations"] for one in seen.get("relevant-evidence", ())]
    assert evidence
    assert {one["href"].removeprefix("#") for one in evidence} <= resources


def test_equal_reports_have_equal_ids_and_others_have_others() -> None:
    assert oscal(report()) == oscal(report())
    other = {**report(), "made_at": "2026-04-02T00:00:00.000Z"}
    assert oscal(other)["assessment-results"]["uuid"] != oscal(report())["assessment-results"]["uuid"]


def test_every_id_of_every_catalogue_has_a_token_of_its_own() -> None:
    for framework, catalogue in catalogues().items():
        tokens = [token(str(framework), control.id) for control in catalogue.controls]
        assert len(set(tokens)) == len(tokens)
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", one) for one in tokens)
