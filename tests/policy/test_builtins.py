"""Which calls and constructs a bundle may hold. Both engines get only what passed this."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.policy import literals, vocabulary
from gateway.policy.bundle import load
from gateway.policy.faults import BundleError
from tests.policy.support import SHIPPED, refused, rego, write
from tests.regorus_engine import engine_of

LIBRARY = "package handrail.lib\n\nf(x) := x\n\nvalue := 1\n"


async def problems(tmp_path: Path, body: str, **more: str) -> list[str]:
    write(tmp_path, {"rule.rego": rego(body), **{f"{name}.rego": text for name, text in more.items()}})
    return await refused(tmp_path)


async def test_the_shipped_policies_pass() -> None:
    assert await refused(SHIPPED) == []


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"method": "get", "url": "http://169.254.169.254/"})',
        "opa.runtime()",
        'trace("x")',
        'print("x")',
        'rand.intn("x", 3)',
        'uuid.rfc4122("x")',
        'net.lookup_ip_addr("example.com")',
        'io.jwt.decode("x")',
        "time.now_ns()",
        'crypto.sha256("x")',
        "json.patch({}, [])",
        'json.marshal("<")',
        "rego.metadata.rule()",
        "internal.print([])",
        "__builtin_sets.union({1}, {2})",
        "plus(1, 2)",
        "nonsense.thing(1)",
        'strings.count("aaa", "aa")',
    ],
)
async def test_a_refused_builtin_names_file_line_and_builtin(tmp_path: Path, call: str) -> None:
    found = await problems(tmp_path, f"\nleak := {call}")
    name = call.partition("(")[0]
    assert len(found) == 1
    assert found[0].startswith("rule.rego:8:9: ")
    assert name in found[0]


@pytest.mark.parametrize(
    "body",
    [
        "x := [y | y := http.send({})]",
        'x := {"a": http.send({})}',
        "x if { every y in [1] { http.send({}) == y } }",
        "x if not http.send({})",
        "f(y) := http.send(y)",
        "x := 1 if { false } else := http.send({})",
        "x contains http.send({})",
        "x[http.send({})] := 1",
        "x := count(http.send({}))",
        "x := http.send({}).body",
        'x := http["send"]({})',
        "x if { some y in http.send({}) }",
        "x := y if { walk(http.send({}), [_, y]) }",
        "x := 1 if { 1 == 2 } else := 2 if { http.send({}) }",
        "x if { input.y with input.y as http.send({}) }",
        "x := {1, http.send({})} | {2}",
        "x := -http.send({})",
        "default f(_) := 1\n\nf(y) := http.send(y)",
    ],
)
async def test_a_forbidden_builtin_is_found_wherever_it_hides(tmp_path: Path, body: str) -> None:
    found = await problems(tmp_path, body)
    assert any("http.send is forbidden" in problem for problem in found), found


@pytest.mark.parametrize(
    "body",
    [
        "f(y) := y\n\nx := f({}) if { true with f as http.send }",
        "x := count([1]) if { true with count as http.send }",
        "x := y if { y := lower(input.a) with lower as http.send }",
        "x := y if { y := data.handrail.lib.f({}) with data.handrail.lib.f as http.send }",
        "x := y if { y := l.f({}) with l.f as http.send }",
        "x if { true with data.handrail.lib.value as 2 }",
        "x if { true with data.handrail.lib as {} }",
        "x if { true with data as {} }",
    ],
)
async def test_with_cannot_replace_a_function_or_a_rule(tmp_path: Path, body: str) -> None:
    source = rego(body).replace("package handrail\n", "package handrail\n\nimport data.handrail.lib as l\n")
    write(tmp_path, {"rule.rego": source, "lib.rego": LIBRARY})
    assert any("'with' replaces" in problem for problem in await refused(tmp_path))


@pytest.mark.parametrize(
    "target", ["data.handrail.table.deep", "data.handrail.table.deep.er", "data.handrail.table.new"]
)
async def test_with_on_a_part_of_a_datum_is_refused_as_opa_would(tmp_path: Path, target: str) -> None:
    write(tmp_path, {"handrail/table/data.json": '{"deep": {"er": 1}}'})
    assert await problems(tmp_path, "x if { data.handrail.table.deep.er with data.handrail.table as {} }") == []
    (found,) = await problems(tmp_path, f"x if {{ data.handrail.table.deep.er with {target} as 2 }}")
    assert "only a datum as a whole" in found


@pytest.mark.parametrize(
    "datum",
    [{"my-list": [1]}, {"my-empty": {}}, {"in": 1}, {"a": 1}, {"a": {"b": 1}}, {"not": {"a-b": {"if": 2}}}],
)
async def test_data_where_no_rule_can_stand_is_refused(tmp_path: Path, datum: object) -> None:
    write(tmp_path, {"data.json": json.dumps({"handrail": datum})})
    (found,) = await problems(tmp_path, "", lib="package handrail.a.b\n\nf(x) := x\n")
    assert "so OPA cannot hold it" in found


@pytest.mark.parametrize(
    ("head", "read"),
    [
        ("package handrail.lib", True),
        ("\n  package\thandrail.lib # package handrail.other", True),
        ('package handrail["lib"]', True),
        ("package handrail . lib", False),
        ('package handrail["l\\u0069b"]', False),
        ("package\nhandrail.lib", False),
    ],
)
def test_a_package_that_is_written_oddly_is_read_rightly_or_refused(tmp_path: Path, head: str, read: bool) -> None:
    head = f"# package handrail.none\n{head}\n\nf(x) := x\n"
    write(tmp_path, {"handrail/lib/data.json": '{"a": 1}', "lib.rego": head})
    if read:
        assert 'lib["a"] := object.get({"v":1}, "v", null)' in literals.modules(load(tmp_path))["handrail"]
    else:
        with pytest.raises(BundleError, match="package cannot be read"):
            literals.modules(load(tmp_path))


async def test_with_may_replace_input_and_plain_data(tmp_path: Path) -> None:
    assert (
        await problems(tmp_path, "x := y if { y := input.a with input.a as 1 with data.handrail.numbers as [1] }") == []
    )


@pytest.mark.parametrize(
    "body",
    [
        "x := data.handrail.lib.f(1)",
        'x := data.handrail["lib"].f(1)',
        "x := data.handrail.f(1)\n\nf(y) := y",
        "x := f(1)\n\nf(y) := y",
        "x := f(1)\n\nf(1) := 2\n\nf(2) := 3",
        "x.y.f(z) := z\n\nq := x.y.f(1)",
    ],
)
async def test_functions_of_the_bundle_are_resolved(tmp_path: Path, body: str) -> None:
    assert await problems(tmp_path, body, lib=LIBRARY) == []


async def test_a_call_by_an_import_is_refused(tmp_path: Path) -> None:
    """regorus finds no function by the name of an import, and says so only when it gets there."""
    for line, call in (
        ("import data.handrail.lib", "lib.f(1)"),
        ("import data.handrail.lib as other", "other.f(1)"),
        ("import data.handrail.lib.f", "f(1)"),
    ):
        source = rego(f"x := {call}").replace("package handrail\n", f"package handrail\n\n# é\n{line}\n")
        write(tmp_path, {"rule.rego": source, "lib.rego": LIBRARY})
        (found,) = await refused(tmp_path)
        assert "is called by an import, which one engine does not resolve: write data.handrail.lib.f" in found


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("x := data.handrail.lib.g(1)", "data.handrail.lib.g is not a function of this bundle"),
        ("x := data.handrail.lib.value(1)", "data.handrail.lib.value is not a function of this bundle"),
        ("x := data.handrail.lib.f(1, 2)", "takes 1 arguments, not 2"),
        ("x := input.f(1)", "input.f is not a function"),
        ("x := lower(1, 2)", "lower takes 1 arguments, not 2"),
        ("count(y) := y", "rule count shadows a builtin"),
        ("http.send(y) := y", "rule http shadows a builtin"),
        ("x := y\n\ny := x", "recursion: handrail.x -> handrail.y -> handrail.x"),
        ("x := data.handrail", "recursion"),
        ("x := data.handrail[input.name]", "recursion"),
        ('x := sprintf("%q", [1])', "%q is missing or different"),
        ('x := sprintf("%d", [1])', "%d is missing or different"),
        ('x := sprintf("%s", ["a"])', "%s is missing or different"),
        ('x := sprintf("%5v", [1])', "%5 is missing or different"),
        ('x := sprintf("%v %v", [1])', "2 verbs for 1 values"),
        ("x := sprintf(input.a, [1])", "the format must be a literal"),
        ('x if regex.match("^\\\\d+$", input.a)', "\\d matches other characters"),
        ("x if regex.match(`\\bword\\b`, input.a)", "\\b matches other characters"),
        ("x if regex.match(`[a&&b]`, input.a)", "syntax that the engines read differently"),
        ("x if regex.match(`a++`, input.a)", "syntax that the engines read differently"),
        ("x if regex.match(`[a[b]]`, input.a)", "syntax that the engines read differently"),
        ("x if regex.match(`(a{999}){999}`, input.a)", "not a regular expression that can be matched in linear time"),
        ("x if regex.match(`a(`, input.a)", "not a regular expression"),
        ("x if regex.match(`([a-z]{1,64}){1,64}`, input.a)", "repeats more than 1000 times"),
        ("x if glob.match(input.a, [], input.b)", "the pattern must be a literal or stand in data"),
        *(
            (f"x if glob.match(`{glob}`, [], input.a)", "differently")
            for glob in ("?", "[!a]", "[^a]b", "a**b", "**/a", "***")
        ),
        ("x := walk(input.a)", "walk takes 2 arguments, not 1"),
        ("x if indexof(input.a, input.b) == 0", "must be a literal that is not empty"),
        ('x := indexof_n(input.a, "")', "must be a literal that is not empty"),
        ("x := object.subset(input.a, {})", "object.subset is refused"),
        ("x := urlquery.encode(input.a)", "urlquery.encode is refused"),
        ("x if regex.match(`(a)\\1`, input.a)", "not a regular expression"),
        ("x if regex.match(input.pattern, input.a)", "the pattern must be a literal or stand in data"),
        ('x := regex.replace(input.a, input.b, "c")', "the pattern must be a literal or stand in data"),
        ("x if regex.match(data.handrail.other.pattern, input.a)", "the pattern must be a literal or stand in data"),
        ("x if regex.match(data.handrail.lib.value, input.a)", "the pattern must be a literal or stand in data"),
        ("f(data) if data.handrail == 1", "data is the document"),
        ("f([input]) if input == 1", "input is the document"),
        ("x if { some data in [1]; data == 1 }", "data is the document"),
        ("x if { some input; [1][input] }", "input is the document"),
        ("x if every data in [1] { data == 1 }", "data is the document"),
        ("x if { [input] := [1]; input == 1 }", "input is the document"),
    ],
)
async def test_what_the_engines_read_differently_is_refused(tmp_path: Path, body: str, problem: str) -> None:
    found = await problems(tmp_path, body, lib=LIBRARY)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        # Of the keys, regorus keeps the first.
        ("x[k] if some k in input.a", "a key without a value"),
        ("x.y[k] if some k in input.a", "a key without a value"),
        # A round without an answer undoes what the rounds before gave.
        ("x contains input.b[k] if some k in input.a", "would undo other rounds"),
        ("x contains {1, input.b[k]} if some k in input.a", "would undo other rounds"),
        ("x contains lower(input.b[k]) if some k in input.a", "would undo other rounds"),
        ("x contains data.handrail.lib.f(k) if some k in input.a", "would undo other rounds"),
        ('x contains {"step": k.id} if some k in input.a', "would undo other rounds"),
        ("x[k] := input.b[k] if some k in input.a", "would undo other rounds"),
        ("x[input.b[k]] := k if some k in input.a", "would undo other rounds"),
        ("x[k] contains input.b[k] if some k in input.a", "would undo other rounds"),
        ("x := input.b[k] if some k in input.a", "would undo other rounds"),
        ("x := input.b[k] if { some k; input.a[k] == 1 }", "would undo other rounds"),
        ("x := input.b if { walk(input.a, [_, y]); y == 1 }", "would undo other rounds"),
        ("x contains input.a[_].b", "would undo other rounds"),
        # A set of which a part has a rule of its own loses what the other rules say.
        ("x[k] contains 1 if some k in input.a\n\nx.y contains 2 if input.b", "one engine takes one for all there is"),
        ("x[k].y := 1 if some k in input.a\n\nx.z.y := 2 if input.b", "one engine takes one for all there is"),
        # Nothing said is {} in one engine and undefined in the other.
        ("x[k] contains 1 if some k in input.a\n\ny if not x", "is read as a whole"),
        ("x[k] contains 1 if some k in input.a\n\ny := count(data.handrail.x)", "is read as a whole"),
        ("x.y if input.a\n\ny := x", "is read as a whole"),
        # An object with more members matches in regorus.
        ('x := y if { {"a": y} := input.b }', "an object pattern"),
        ('x := y if { {"a": y} = input.b }', "an object pattern"),
        ('x if { some {"a": y} in input.b; y == 1 }', "an object pattern"),
        ('f({"a": y}) := y', "an object pattern"),
        ('x if { walk(input.b, [_, {"a": y}]); y == 1 }', "an object pattern"),
        # Fails in regorus, and only when it is reached.
        ("x := [y | y := 1] if input.a", "a comprehension in a head"),
        ("x contains [y | y := 1]", "a comprehension in a head"),
        ("x := 1 if input.a else := [y | y := 1]", "a comprehension after else"),
        ("f(x) := 1 if input.a else := [y | some y in x]", "a comprehension after else"),
        ("f(x) := 1 if input.a else := 2 if input.b else := count({y | some y in x})", "a comprehension after else"),
        ('x := 1 if input.a else := {"y": {y: 1 | some y in input.b}} if input.c', "a comprehension after else"),
        # The rule of that name is read in regorus, where OPA has a new variable.
        ("y := 1\n\nx := z if { some y; z := input.b[y] }", "y is a rule or an import"),
        ("y := 1\n\nx := z if { some y in input.b; z := y }", "y is a rule or an import"),
        ("y := 1\n\nx := [z | some z, [1, y] in input.b]", "y is a rule or an import"),
        ("x := [[z | z := y] | some y in input.a]", "a comprehension in the term of another"),
        ("x := {y: {z | z := y} | some y in input.a}", "a comprehension in the term of another"),
        ("x := -input.a", "a minus before anything but a number"),
        # The rest of what regorus takes in a way of its own.
        ('x if "a", "a" in input.b', "key and value before 'in'"),
        ('default x["y"] := 1', "a default of a member in brackets"),
        ("f() := 1", "a function without arguments"),
    ],
)
async def test_what_regorus_takes_in_a_way_of_its_own_is_refused(tmp_path: Path, body: str, problem: str) -> None:
    found = await problems(tmp_path, body, lib=LIBRARY)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    "body",
    [
        "x contains step.id if some step in input.steps",
        'x contains {"step": step.id, "n": [1, {step.id}]} if some step in input.steps',
        "x[step.id] := y if { some step in input.steps; y := step.a }",
        "x[k] := true if some k in input.a",
        "x contains k if some k in input.a",
        'x contains sprintf("%v", [k]) if some k in input.a',
        "x contains k + 1 if some k in input.a",
        "x := input.b if input.a",
        "x := input.b[input.c] if input.a",
        "x := input.b[k] if { k := input.c }",
        "x := input.b if { count([1 | some k in input.a; k == 1]) > 0 }",
        "x := input.b if { every k in input.a { k == 1 } }",
        "x := data.handrail.lib.value",
        "x[k] contains 1 if some k in input.a\n\ny contains k if some k, _ in x",
        "x[k] contains 1 if some k in input.a\n\ny := x.z",
        "x[k] := 1 if some k in input.a\n\ny if not x",
        "x[k] := 1 if some k in input.a\n\nx[k] := 2 if some k in input.b",
        "x := [y | y := input.a]",
        "x := y if { y := [z | some z in input.a] }",
        "x := [y, z] if { [y, z] := input.a }",
        'x if {"a": 1} == input.b',
        "x := -1",
        'x if "a" in input.b',
        "default x.y := 1",
        'x if glob.match("*.example.com", ["."], input.a)',
        'x if glob.match("/x/**", ["/"], input.a)',
        "x if regex.match(`^[a-z]{1,30}$`, input.a)",
        "x if regex.match(`^(?:a{100}[b()]{100}){10}c{900}d{900}$`, input.a)",
    ],
)
async def test_what_both_take_alike_passes(tmp_path: Path, body: str) -> None:
    assert await problems(tmp_path, body, lib=LIBRARY) == []


@pytest.mark.parametrize(
    "expression",
    [
        'startswith(input.x, "a")',
        "input.x != 1",
        "input.x > 1",
        "1 in input.x",
        "data.handrail.lib.f(input.x)",
        'lower(input.x) == "a"',
        "allowed[input.x]",
        'startswith(named, "a")',
        "count(input.x) > 0",
        "{input.x} == {1}",
    ],
)
async def test_not_over_what_may_be_undefined_is_refused(tmp_path: Path, expression: str) -> None:
    """OPA makes the body undefined where input.x is, regorus makes it true: an allow rule would differ."""
    body = f'x if not {expression}\n\nallowed := {{"a"}}\n\nnamed := "b"'
    found = await problems(tmp_path, body, lib=LIBRARY)
    assert len(found) == 1
    assert "under 'not', bind what may be undefined first" in found[0]


@pytest.mark.parametrize(
    "body",
    [
        "x if not input.a.b",
        "x if not input.a == 1",
        'x if { y := input.a; not startswith(y, "a") }',
        "x if { some y in input.a; not y in {1, 2} }",
        "x if { some y in input.a; not allowed[y] }\n\nallowed := {1}",
        "x if not allowed\n\nallowed if input.a",
        "f(y) if not y > 1",
        "x if not 1 in {y | some y in input.a}",
        "x if not true",
    ],
)
async def test_not_over_bound_values_passes(tmp_path: Path, body: str) -> None:
    assert await problems(tmp_path, body) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("package other\n\nx := 1\n", "package other is outside handrail"),
        ("package handrail\n\nx := {\n", "extra.rego:4:1: syntax error"),
        ("package handrail.x\n\nimport data.handrail.lib as count\n\ny := count\n", "import count shadows a builtin"),
        ("package handrail.x\n\nimport data.handrail.lib\n\nlib := 1\n", "import lib has the name of a rule"),
        ("package handrail.x\n\nimport input as data\n\ny := data.z\n", "import as data, which is the document's name"),
    ],
)
async def test_modules_that_do_not_fit_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    found = await problems(tmp_path, "", lib=LIBRARY, extra=text)
    assert any(problem in one for one in found), found


async def test_a_bundle_without_decisions_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": LIBRARY})
    assert await refused(tmp_path) == ["no rule data.handrail.decisions"]


async def test_data_in_the_place_of_a_rule_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": rego("limit := 1"), "handrail/data.json": '{"limit": 2}'})
    assert any("rule limit is also set by data.json" in problem for problem in await refused(tmp_path))


async def test_a_deeply_nested_source_does_not_take_the_gateway_down(tmp_path: Path) -> None:
    assert await problems(tmp_path, "x := " + "[" * 60_000 + "]" * 60_000) != []


def test_the_table_is_what_regorus_implements() -> None:
    engine = engine_of(t="package t\n\nr := opa.runtime().builtins")
    listed = set(json.loads(engine.eval_rule_as_json("data.t.r")))
    assert set(vocabulary.IMPLEMENTED) <= listed
    assert set(vocabulary.DIFFERENT) <= listed
    unaccounted = {name for name in listed - set(vocabulary.IMPLEMENTED) if vocabulary.refusal(name) is None}
    assert unaccounted == set()


@pytest.mark.opa
async def test_the_table_is_what_opa_implements(opa_program: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        opa_program, "capabilities", "--current", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    arities = {item["name"]: len(item["decl"].get("args", [])) for item in json.loads(output)["builtins"]}
    assert {name: arities.get(name) for name in vocabulary.IMPLEMENTED} == vocabulary.IMPLEMENTED


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("^[a-z]{2,8}$", None),
        ("^\\\\d+$", "\\d matches other characters"),
        ("a(", "not a regular expression"),
        ("(?<=a)b", "not a regular expression"),
        ("[a&&b]", "syntax that the engines read differently"),
    ],
)
async def test_patterns_in_data_are_checked_like_those_in_rules(
    tmp_path: Path, pattern: str, problem: str | None
) -> None:
    write(tmp_path, {"handrail/words/data.json": f'{{"patterns": {{"name": ["{pattern}"]}}, "word": "a("}}'})
    found = await problems(tmp_path, "x if regex.match(data.handrail.words.patterns[input.name][0], input.a)")
    assert (problem is None) == (found == [])
    assert problem is None or problem in found[0]


async def test_with_cannot_bring_in_an_unchecked_pattern(tmp_path: Path) -> None:
    write(tmp_path, {"handrail/words/data.json": '{"patterns": {"name": "^a$"}}'})
    body = """
x if regex.match(data.handrail.words.patterns.name, input.a) with data.handrail.words as {"patterns": {"name": input.b}}
"""
    found = await problems(tmp_path, body)
    assert any("holds patterns that were checked" in one for one in found), found
