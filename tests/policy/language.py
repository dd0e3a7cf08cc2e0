"""Small modules that define ``p``, which must mean one thing in both engines. `` ; `` stands for a line end."""

from typing import Any, Final

INPUT: Final[dict[str, Any]] = {
    "m": ["a", "b", "c"],
    "al": {"b": "B"},
    "o": {"x": 1, "y": 2},
    "n": None,
    "f": False,
    "e": {},
    "s": "text",
    "d": [[1, 2], [3]],
    "steps": [{"id": "s1", "hand": "h"}, {"id": "s2", "hand": "g"}],
    "k": "a",
}

LANGUAGE: Final = r"""
p contains input.zz
p contains 1 if input.zz
p contains 1 if some x in input.zz
p["b"] := input.zz
p := input.zz
p[input.zz] := 1
p[input.zz] contains 1
p[k] := 1 if some k in input.zz
p.b[k] := 1 if some k in input.zz
p.b contains 1 if input.zz
p.b contains k if some k in input.m
p.b[k] contains 1 if some k in input.m
p[k].b := 1 if some k in input.m
p[k].b contains 1 if some k in input.m
p[k][j] := 1 if { some k in input.m; some j in input.m }
p[k][j] contains 1 if { some k in input.m; some j in input.m }
p.b.c := 1 if input.m
p["b"] if input.m
p.b := false
p contains false
p := false
p := null
p[k] := false if some k in input.m
p[k] := null if some k in input.m
default p := 7 ; p := 8 if input.zz
default p := 7 ; p := 8 if input.m
default p := false
default p := false ; p := input.zz
default p.b := 3
default p.b := 3 ; p.b := 4 if input.zz
p := 1 if input.zz else := 2
p := 1 if input.zz else := 2 if input.zz else := 3
p := input.zz if true else := 2
p := 1 if { input.f } else := input.zz
p := 1 if { input.f } else := input.zz if true else := 5
p if input.n
p if input.f
p if not input.f
p if not input.n
p if not input.zz
p if not input.e
p if not input.e.x
p if not not_there ; not_there if false
p := [x | some x in input.m]
p := [x | x := input.m[_]]
p := {x | x := input.d[_][_]}
p := [i | input.m[i] == "b"]
p := {i: x | x := input.m[i]}
p := {x: 1 | x := input.o[_]}
p := [y | some x in input.d; some y in x; y > 1]
p := [x | x := input.zz[_]]
p := [input.zz]
p := {"a": input.zz}
p := {input.zz}
p := {input.zz: 1}
p := [1, [2, {3, {"a": {4}}}]]
p := count(input.zz)
p := count([1 | input.zz])
p := count({x | x := input.m[_]; x != "a"})
p := x if { [x, _] := input.d[0] }
p := x if { [x, y, z] := input.d[0] }
p := x if { [_, x] = input.d[0] }
p := [x, y] if { [x, y] = [1, input.zz] }
p := x if { x = 1; x = 1 }
p := x if { 1 = x }
p if { [1, x] = [2, 3] }
p if { input.m = ["a", "b", x] }
p := i if { input.m[i] = "c" }
p := i if { some i; input.m[i] == "c" }
p := i if { some i, x in input.m; x == "c" }
p := x if { some [x, y] in input.d; y == 2 }
p contains [k, v] if some k, v in {"x", "y"}
p contains k if { some k, "b" in input.m }
p if { some 1, _ in input.m }
p if "b" in input.m
p if "zz" in input.zz
p if not "zz" in {"a"}
p if input.zz in {"a"}
p if 1 in {"a": 1}
p if "a" in "abc"
p if "a" in input.s
p if every x in input.m { x != "z" }
p if every x in input.m { x == "a" }
p if every k, v in input.o { v > 0; k != "z" }
p if every k, v in {1, 2} { k == v }
p if every x in {1, 2} { x > 0 }
p if { every x in input.m { some y in input.m; x == y } }
p if { every x in input.m { some y in ["a"]; x == y } }
p if { every x in input.d { every y in x { y > 0 } } }
p if { every x in input.d { every y in x { y > 1 } } }
p if { every x in input.m { not x == "z" } }
p if { every x in input.m { not x == "a" } }
p if { not g } ; g if every x in input.m { x == "a" }
p if { every s in input.steps { s.id != s.hand; startswith(s.id, "s") } }
p if { every s in input.steps { s.zz == 1 } }
p if { every x in input.m { y := x; y != "q" } }
p if { every i, x in input.m { input.m[i] == x } }
f(x) := 1 if x == 1 ; f(x) := 2 if x == 2 ; p := [f(1), f(2)]
f(x) := 1 if x == 1 ; p := f(3)
f(1) := "a" ; f(2) := "b" ; p := [f(1), f(2)]
f(1) := "a" ; f(x) := "b" if x > 1 ; p := [f(1), f(2)]
f(x) := x if x > 0 ; f(x) := 0 - x if x < 1 ; p := [f(2), f(-2)]
f([a, b]) := a + b ; p := f([1, 2])
f(_) := 1 ; p := f(input.zz)
f(x) := g(x) ; g(x) := x ; p := f(1)
f(x, y) := x + y ; p := f(1, f(2, 3))
f(x) if x ; p := f(false)
f(x) if x ; p := [f(true)]
f(x) := false if x ; p := f(1)
f(x) := false if x ; p if f(1)
f(x) := false if x ; p if not f(1)
default f(_) := 9 ; f(x) := 1 if x == 1 ; p := [f(1), f(2)]
default f(_) := 9 ; f(x) := 1 if x == 1 ; p := f(input.zz)
f(x) := 1 if x == 1 else := 2 if x == 2 else := 3 ; p := [f(1), f(2), f(3)]
f(x) := x if x == 1 ; f(x) := x + 0 if x < 5 ; p := f(1)
f(x) := 1 if x == 1 ; f(x) := 2 if x < 5 ; p := f(1)
f(x) := y if some y in x ; p := f([1])
f(x) := y if some y in x ; p := f([1, 2])
f(x) := y if some y in x ; p := f([1, 1])
f(x) := {y | some y in x} ; p := f([1, 2])
f(x) if { some y in input.m; y == x } ; p := [f("b")]
f(x) if { some y in input.m; y == x } ; p := [1 | not f("q")]
p := 1 ; p := 1 if input.m
p := 1 ; p := 2
p := 1 if input.m ; p := 2 if input.o
p := x if some x in input.m
p := x if { some x in input.m; x == "b" }
p["a"] := 1 ; p["a"] := 2
p[k] := v if { some k in ["a", "a"]; v := 1 }
p[k] := v if { some k in ["a"]; some v in [1, 2] }
p contains 1 ; p contains 1
p := {k: v | some k in ["a"]; some v in [1, 2]}
p := input.a.b.c
p := input["m"][0]
p := input.m[3]
p := input.m[-1]
p := input.m["0"]
p := input.o.x.y
p := input.s.x
p := input.s[0]
p := input.n.x
p := input.m[1.0]
p := input.m[input.o.x]
p := {"a": 1}.a
p := [1, 2, 3][1]
p := {1, 2}[1]
p := {"a", "b"}["a"]
p := {"a", "b"}["z"]
p := 1 == 1.0
p := 7 / 2
p := 6 / 2
p := -7 % 3
p := 7 % -3
p := 7 % 0
p := 1.5 % 1
p := 1 / 3
p := 1e3
p := -0.0
p := 0 == -0.0
p := 9007199254740993
p := 9007199254740993 + 1
p := 2 - 5
p := {1, 1.0, 1e0}
p := {"a": 1, "b": 2} == {"b": 2.0, "a": 1.0}
p := 1 < "a"
p := [1] < [1, 0]
p := {"a": 1} < {"a": 2}
p := {1} < {2}
p := null < false
p := false < true
p := true < 0
p := "a" < []
p := [] < {}
p := max([1, "a", null])
p := sort([3, "a", null, true, [1], {"a": 1}, 2])
p := input.o == {"y": 2, "x": 1}
p := "é" == "e\u0301"
p := "a\u0000b"
p := `raw\n`
p := count("日本")
p := lower("ÀÉ")
p := split("日本語", "")
p := substring("日本語", 1, 1)
p := indexof("日本語", "語")
p := reverse ; reverse := strings.reverse("日本")
p := concat(",", {"b", "a"})
p := [x | some x in {3, 1, 2}]
p := [x | some x in {"b", 1, null, "a"}]
p := [k | some k, _ in {"b": 1, "a": 2}]
p := object.keys({"b": 1, "a": 2})
p := {1, 2} & {2}
p := {1, 2} - {2}
p := {1} - 1
p := {1, 2} - {3} | {4}
p := ({1, 2} | {3}) & {3}
p := x if { y := 1; x := y + 1 }
p if { x := 1; x == 1 }
p if { x := 1; not x == 2 }
p if { true; input.f == false }
p if { input.n == null }
p if { not input.n == 1 }
p if input.m[_] == "b"
p if { some x in input.m; not x == "a"; not x == "b" }
p := [x | some x in input.m; not x in {"a"}]
p if { walk(input.d, [[0, 1], 2]) }
p := [v | walk(input.d, [_, v]); is_number(v)]
p := [pa | walk(input.o, [pa, 2])]
p contains v if { walk(input.d, [_, v]); is_number(v) }
p := [v | walk(input.zz, [_, v])]
p := [v | walk(input.s, [_, v])]
p := x if x := input.zz with input.zz as 5
p := x if { x := input.o.x with input.o.x as 9 }
p := x if { x := input.q.w with input.q.w as 9 }
p := x if { x := input with input as 1 }
p := [g1, g2] if { g1 := g with input.m as [1]; g2 := g } ; g := count(input.m)
p := x if { x := data.handrail.doc.a with data.handrail.doc as {"a": 2} }
p := x if { x := g with data.handrail.doc as {"a": 3} } ; g := data.handrail.doc.a
p if { not input.zz with input.zz as false }
p if { not g with input.zz as true } ; g if input.zz
p if { every x in input.m { x == 1 } with input.m as [1] }
p := [x | some x in input.m with input.m as [7]]
p := x if { some x in g with input.m as ["z"] } ; g := input.m
p := data.handrail.doc.a
p := data.handrail.doc
p := data.handrail.doc.zz
p := [x | x := data.handrail.doc.l[_]]
p := [k | some k, _ in data.handrail.doc]
p := data.handrail.doc[input.k]
p := data.handrail.q ; q := 5
p := data.handrail.q.a ; q.a := 5
p := data.handrail["q"]["a"] ; q.a := 5
p := data.handrail.q[k] if { k := "a" } ; q.a := 5
p := data.handrail.q[k] if { k := "a" } ; q[j] := 5 if some j in ["a", "b"]
p := [x | x := data.handrail.q[_]] ; q[j] := 5 if some j in ["a", "b"]
p := [x | some x in data.handrail.q] ; q contains j if some j in ["a", "b"]
p := data.handrail.q.a ; q contains j if some j in ["a", "b"]
p := [1 | data.handrail.q["a"]] ; q contains j if some j in ["a", "b"]
p := [1 | not data.handrail.q["z"]] ; q contains j if some j in ["a", "b"]
p := q.b.r.c ; q[k].r contains s if { k := input.m[_]; s := input.m[_] }
p := [1 | q.b.r["c"]] ; q[k].r contains s if { k := input.m[_]; s := input.m[_] }
p := [x | some x in q.b.r] ; q[k].r contains s if { k := input.m[_]; s := input.m[_] }
p := [1 | q.b["c"]] ; q[k] contains s if { k := input.m[_]; s := input.m[_] }
p := q.b.c ; q[k] contains s if { k := input.m[_]; s := input.m[_] }
p := [1 | not q.b["z"]] ; q[k] contains s if { k := input.m[_]; s := input.m[_] }
p := [1 | not q.zz] ; q[k] contains s if { k := input.m[_]; s := input.m[_] }
p := q.x.y ; q.x.y := 1 ; q.x.z := 2
p := q[k] if { k := "x" } ; q.x.y := 1 ; q.x.z := 2
p := [k | some k, _ in q] ; q.x.y := 1 ; q.z := 2
p := q["a"].b ; q["a"].b := 1
p := q.a ; q["a"] := 1
p := q.a ; q.a if input.m
p := 1 if q.a ; q.a if input.zz
p := 1 if not q.a ; q.a if input.zz
""".strip().split("\n")
