"""``# METADATA`` blocks: what OPA refuses to read is refused here too, with file and line, and without an OPA."""

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.policy import inspection, metadata
from gateway.policy.bundle import load
from tests.policy.support import DENY_ALL, refused, write

GOOD = [
    "title: One",
    "title: One\ndescription: |\n  two\n  lines: of text\ncustom:\n  severity: high\n  controls: ['SOC2 CC8.1']",
    "title: 7\ndescription: null\ncustom:",
    "scope: document\ntitle: One",
    "entrypoint: true",
    "authors:\n- Ann Other <ann@example.com>\n- {email: oli@example.com}",
    "related_resources:\n- https://example.com/a?b=c#d\n- ref: /rules/one\n  description: here",
    "organizations: [acme, null]",
    "unknown: member",
    "custom:\n  'on': 1\n  deep: {er: [1, 2, {and: on}]}",
    "labels: {a: b}",
    "# a comment of YAML's",
]
BAD = [
    ("a comment: x: y", "mapping values are not allowed here", 2),
    ("title: One\n description: two", "mapping values are not allowed here", 3),
    ("title: One\n`quoted`", "cannot start any token", 3),
    ("title: 'One", "unexpected end of stream", 2),
    ("description: |\n \ttext", "a tab cannot indent", 3),
    ("just words", "'name: value' is expected here", 2),
    ("- one", "'name: value' is expected here", 2),
    ("", "nothing stands in this block", 1),
    ("title: [One]", "title has another shape", 2),
    ("title: One\ntitle: Two", "title stands here twice", 3),
    ("title: One\ncustom: high", "custom has another shape", 3),
    ("custom:\n  severity: low\n  severity: high", "severity stands here twice", 4),
    ("custom:\n  deep: {1: a}", "a name is text", 3),
    ("custom: &a {b: c}", "anchors and aliases", 2),
    ("custom: {<<: x}", "a name is text", 2),
    ("custom: {a: !!int x}", "tags are not", 2),
    ("entrypoint: maybe", "entrypoint has another shape", 2),
    ("organizations: acme", "organizations has another shape", 2),
    ("authors: [7]", "authors has another shape", 2),
    ("authors: [{name: ''}]", "authors has another shape", 2),
    ("related_resources:\n- ref:", "related_resources has another shape", 3),
    ("related_resources:\n- 'https://a b/'", "related_resources has another shape", 3),
    ("related_resources:\n- https://a:b/%zz", "related_resources has another shape", 3),
    ("scope: elsewhere", "scope elsewhere cannot stand over this rule", 1),
    ("scope: package", "scope package cannot stand over this rule", 1),
    ("scope: rule\nentrypoint: true", "entrypoint cannot have the scope rule", 1),
    ("schemas:\n- input: schema", "schemas is not for", 3),
]
STRAY = {
    "over an import": "package handrail.x\n\n# METADATA\n# title: One\nimport data.handrail.y\n\nz := y\n",
    "at the end": "package handrail.x\n\nz := 1\n\n# METADATA\n# title: One\n",
    "a package twice": "# METADATA\n# title: One\n\n# METADATA\n# title: Two\npackage handrail.x\n\nz := 1\n",
    "a document twice": "package handrail.x\n\n# METADATA\n# scope: document\nz := 1 if input.a\n\n"
    "# METADATA\n# scope: document\nz := 1 if input.b\n",
    "not at a fault of its own": "package handrail.x\n\n#METADATA and more\n#title: [\nz := 1\n",
}
HARMLESS = {
    "in a raw string": "package handrail.x\n\nz := `\n# METADATA\n# a: b: c\n`\n",
    "not in the first column": "package handrail.x\n\nz := 1 if {\n\t# METADATA\n\t# a: b: c\n\tinput.a\n}\n",
    "behind code": "package handrail.x\n\nz := 1 # METADATA\n\n# a: b: c\ny := 2\n",
    "a hash and a backtick in a string": 'package handrail.x\n\nz := ["#`", "\\"`#"]\n\n# METADATA\n# a: b\ny := 1\n',
    "below a gap": "package handrail.x\n\n# METADATA\n# title: One\n\n# a: b: c\ny := 1\n",
}


def module(block: str) -> str:
    """A module with ``block`` as the metadata of its one rule."""
    lines = "".join(f"# {line}\n" for line in block.splitlines())
    return f"package handrail.x\n\n# METADATA\n{lines}y := 1\n"


def bundle(directory: Path, text: str) -> Path:
    return write(directory, {"decisions.rego": DENY_ALL, "handrail/x.rego": text})


def taken_by_opa(program: Path, directory: Path) -> bool:
    done = subprocess.run([program, "check", "--bundle", directory], check=False, capture_output=True)
    return done.returncode == 0


@pytest.mark.parametrize("block", GOOD)
async def test_what_can_be_read_passes(tmp_path: Path, block: str) -> None:
    assert await refused(bundle(tmp_path, module(block))) == []


@pytest.mark.parametrize(("block", "problem", "line"), BAD)
async def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, block: str, problem: str, line: int
) -> None:
    (found,) = await refused(bundle(tmp_path, module(block)))
    assert found.startswith(f"handrail/x.rego:{line + 2}:1: metadata: ")
    assert problem in found


@pytest.mark.parametrize("text", STRAY.values(), ids=STRAY)
async def test_a_block_that_belongs_nowhere_is_refused(tmp_path: Path, text: str) -> None:
    (found,) = await refused(bundle(tmp_path, text))
    assert ": metadata: " in found


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
async def test_what_is_no_block_is_not_read(tmp_path: Path, text: str) -> None:
    assert await refused(bundle(tmp_path, text)) == []


async def test_each_faulty_block_is_named(tmp_path: Path) -> None:
    text = module("a: b: c") + "\n# METADATA\n# - d\nz := 1\n"
    assert len(await refused(bundle(tmp_path, text))) == 2


async def test_more_metadata_than_can_be_read_soon_is_refused_unread(tmp_path: Path) -> None:
    lines = metadata.BUNDLE_MAX_CHARACTERS // 10
    text = module("custom:\n" + "".join(f"  k{number:07}: : :\n" for number in range(lines)))
    (found,) = await refused(bundle(tmp_path, text))
    assert found == "handrail/x.rego:3:1: metadata: more than 131,072 characters in all blocks of the bundle"
    many = "".join(f"# METADATA\n# a: {'b' * 60}\ny{number} := 1\n\n" for number in range(2_000))
    assert "more than 131,072 characters" in (await refused(bundle(tmp_path, f"package handrail.x\n\n{many}")))[-1]


async def test_metadata_is_read_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = []
    check = metadata.check

    def watched(*arguments: Any) -> Any:
        readers.append(threading.current_thread())
        return check(*arguments)

    monkeypatch.setattr(metadata, "check", watched)
    assert await refused(bundle(tmp_path, module("title: One"))) == []
    assert readers
    assert threading.main_thread() not in readers


@pytest.mark.opa
@pytest.mark.parametrize("text", [*map(module, GOOD), *HARMLESS.values()])
def test_opa_takes_it_too(tmp_path: Path, opa_program: Path, text: str) -> None:
    assert taken_by_opa(opa_program, bundle(tmp_path, text))


@pytest.mark.opa
async def test_nothing_that_opa_refuses_passes(tmp_path: Path, opa_program: Path) -> None:
    """Also where the block is broken in a way that nobody thought of: every good one, cut and mixed."""
    cuts = {block[:place] + put + block[place:] for block in GOOD for place in range(0, len(block), 7) for put in ":[-"}
    parts = [f"# METADATA\n{_commented(cut)}y{number} := 1\n" for number, cut in enumerate(sorted(cuts))]
    directory = bundle(tmp_path, "package handrail.x\n\n" + "\n".join(parts))
    ours = {int(problem.split(":")[1]) for problem in await refused(directory)}
    done = subprocess.run(
        [opa_program, "check", "--max-errors=0", "--bundle", directory], check=False, capture_output=True, text=True
    )
    theirs = {int(line.split(":")[1]) for line in done.stderr.splitlines() if "x.rego:" in line}
    blocks = _lines_of_blocks((directory / "handrail/x.rego").read_text())
    assert theirs
    assert {_block(blocks, line) for line in theirs} <= {_block(blocks, line) for line in ours}


async def test_a_severity_that_is_none_is_not_the_packages(tmp_path: Path) -> None:
    said = {"a": "severity: medium", "b": "severity: hgih", "c": "severity:", "d": "other: 1"}
    rules = "".join(
        f'# METADATA\n# title: {name}\n# custom:\n#   {line}\n\ncodes contains "test.{name}" if input.{name}\n\n'
        for name, line in said.items()
    )
    head = "# METADATA\n# title: All\n# custom:\n#   severity: low\npackage handrail.x\n\n"
    reasons = (await inspection.inspect(load(bundle(tmp_path, head + rules)))).reasons
    found = {name: reasons[f"test.{name}"] for name in said}
    assert {name: place["severity"] for name, place in found.items()} == {"a": "medium", "b": "", "c": "", "d": "low"}
    assert [place["title"] for place in found.values()] == ["a", "b", "c", "d"]


async def test_of_two_blocks_over_one_rule_the_worse_severity_counts(tmp_path: Path) -> None:
    text = (
        "package handrail.x\n\n# METADATA\n# custom: {severity: critical}\n\n# METADATA\n# title: Late\n"
        '# custom: {severity: low}\ncodes contains "test.x" if input.x\n'
    )
    place = (await inspection.inspect(load(bundle(tmp_path, text)))).reasons["test.x"]
    assert (place["severity"], place["title"]) == ("critical", "Late")


def _commented(block: str) -> str:
    return "".join(f"# {line}\n" for line in block.splitlines())


def _lines_of_blocks(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if line == "# METADATA"]


def _block(blocks: list[int], line: int) -> int:
    return max(start for start in blocks if start <= line)
