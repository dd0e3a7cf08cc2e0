"""What OPA's own strict check accepts and the gateway refuses: said on the page, in these words."""

import subprocess
from pathlib import Path

import pytest

from tests.meta.tree import ROOT, text
from tests.policy.support import refused, rego, write

PAGE = text(ROOT / "docs" / "policies.md")
SECTION = " ".join(PAGE.split("## What a bundle may not hold")[1].split("\n## ")[0].split())
CASES = [
    ("`time.now_ns`", "p := time.now_ns()"),
    ("`json.marshal`", "p := json.marshal(input.x)"),
    ("with another verb than", 'p := sprintf("%d", [input.x])'),
    ("that neither are literals nor stand in data", "p if regex.match(input.x, input.y)"),
    (r"`\d \w \s \b`", r"p if regex.match(`\d`, input.x)"),
    ("possessive repetition (`a*+`)", "p if regex.match(`a*+`, input.x)"),
    ("that repeat more than 1000 times", "p if regex.match(`(a{100}){100}`, input.x)"),
    ("globs with `?`", 'p if glob.match("a?", [], input.x)'),
    ("`indexof` of what is no literal", "p := indexof(input.x, input.y)"),
    ("`not` over something that may be undefined", 'p if not startswith(input.x, "a")'),
    ("names after `some` that are rules", "q := 1\n\np if {\n\tsome q\n\tinput.x[q]\n}"),
    ("a comprehension where regorus cannot run it", "p[[1 | input.x]] := 1"),
    ("a head that may be undefined", "p contains [s, input.y] if some s in input.x"),
    ("`p[key] if ...` without a value", 'p[key] if some key in ["a"]'),
    ("`key, value in collection`", 'p if "a", 1 in input.x'),
    ("an object pattern that binds", 'p := x if {"a": x} := input.y'),
    ("a minus before anything but a number", "p := -input.x"),
    ("a function without arguments", "f() := 1"),
    ("a default of a member in brackets", 'default p["a"] := 1'),
    ("one that is called by the name of an import", "import data.handrail.other\n\np := other.f(1)"),
    ("`with` on anything but `input` and plain data", "p if data.handrail.other.q with data.handrail.other.r as 2"),
    ("characters that end a line for some readers", 'p := "a\u2028b"'),
]
OTHER = "package handrail.other\n\nf(x) := x\n\nq if r == 1\n\nr := 1\n"


@pytest.mark.opa
@pytest.mark.parametrize(("words", "body"), CASES, ids=[words for words, _ in CASES])
async def test_what_opa_accepts_and_the_gateway_refuses_is_on_the_page(
    opa_program: Path, tmp_path: Path, words: str, body: str
) -> None:
    assert words in SECTION
    imports, _, rule = body.rpartition("\n\n") if body.startswith("import") else ("", "", body)
    module = rego(rule).replace("package handrail\n", f"package handrail\n\n{imports}\n", 1)
    write(tmp_path, {"handrail/main.rego": module, "handrail/other/other.rego": OTHER})
    checked = subprocess.run(
        [opa_program, "check", "--strict", "--bundle", tmp_path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert await refused(tmp_path)
