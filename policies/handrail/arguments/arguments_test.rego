package handrail.arguments_test

import data.handrail.arguments

patterns := {"ticket": "[A-Z]{2,5}-[0-9]{1,6}", "either": "a|ab", "anchored": "^(a|ab)$", "empty": "x*"}

request(args, action) := {"steps": [{"id": "s", "hand": "desk", "action": action, "args": args}]}

by(hands, args, action) := {reason.code |
	some decision in arguments.decisions with input as request(args, action)
		with data.handrail.arguments.hands as hands
		with data.handrail.arguments.patterns as patterns
	decision.effect == "deny"
	some reason in decision.reasons
}

outcome(line, args) := by({"desk": {"close": [object.union({"pointer": "/a"}, line)]}}, args, "close")

test_listed_values if {
	outcome({"enum": ["x", 1, null]}, {"a": "x"}) == set()
	outcome({"enum": ["x", 1, null]}, {"a": 1}) == set()
	outcome({"enum": ["x", 1, null]}, {"a": null}) == set()
}

test_values_that_only_look_like_listed_ones if {
	every value in ["X", "x ", "1", true, ["x"], {"x": 1}, 1.5, "\u0445", ""] {
		outcome({"enum": ["x", 1]}, {"a": value}) == {"arguments.value"}
	}
	outcome({"enum": []}, {"a": "x"}) == {"arguments.value"}
}

test_a_pattern_must_match_as_a_whole if {
	outcome({"pattern": "ticket"}, {"a": "OPS-12"}) == set()
	every value in ["OPS-12 ", "xOPS-12", "OPS-12\n", "OPS-1\nOPS-2", "ops-12", "OPS-\u0661", "", 12, null, ["OPS-12"]] {
		outcome({"pattern": "ticket"}, {"a": value}) == {"arguments.pattern"}
	}
}

test_alternatives_are_tried_in_their_order if {
	outcome({"pattern": "either"}, {"a": "ab"}) == {"arguments.pattern"}
	outcome({"pattern": "anchored"}, {"a": "ab"}) == set()
}

test_an_empty_text_may_match if outcome({"pattern": "empty"}, {"a": ""}) == set()

test_a_pattern_that_nobody_defined_matches_nothing if {
	outcome({"pattern": "tikcet"}, {"a": "OPS-12"}) == {"arguments.pattern"}
}

test_a_range if {
	outcome({"min": 1, "max": 5}, {"a": 1}) == set()
	outcome({"min": 1, "max": 5}, {"a": 5}) == set()
	outcome({"min": 0}, {"a": -0}) == set()
	every value in [0, 5.01, -3, 1e300, "3", null, true, [3]] {
		outcome({"min": 1, "max": 5}, {"a": value}) == {"arguments.range"}
	}
}

test_a_length_in_bytes if {
	outcome({"max_bytes": 4}, {"a": "abcd"}) == set()
	outcome({"max_bytes": 4}, {"a": "\u20ac"}) == set()
	outcome({"max_bytes": 4}, {"a": "😀"}) == set()
	every value in ["abcde", "\u20ac\u20ac", "😀x", 1, null, ["a"]] {
		outcome({"max_bytes": 4}, {"a": value}) == {"arguments.length"}
	}
}

test_a_length_of_a_list if {
	outcome({"max_items": 2}, {"a": [1, 2]}) == set()
	every value in [[1, 2, 3], "ab", {"x": 1}, null] {
		outcome({"max_items": 2}, {"a": value}) == {"arguments.length"}
	}
}

test_nothing_may_stand_there if {
	outcome({"forbidden": true}, {"b": 1}) == set()
	outcome({"forbidden": false}, {"a": 1}) == set()
	outcome({"forbidden": true}, {"a": null}) == {"arguments.forbidden"}
	outcome({"forbidden": true}, {"a": {"absent": true}}) == {"arguments.forbidden"}
}

test_something_must_stand_there if {
	outcome({"required": true}, {"a": null}) == set()
	outcome({"required": true}, {"A": 1}) == {"arguments.missing"}
	outcome({"required": false}, {}) == set()
	outcome({"enum": ["x"]}, {}) == set()
}

test_every_item if {
	line := {"pointer": "/list/*/name", "enum": ["x"]}
	by({"desk": {"close": [line]}}, {"list": [{"name": "x"}, {"name": "y"}]}, "close") == {"arguments.value"}
	by({"desk": {"close": [line]}}, {"list": [{"name": "x"}, {"other": "y"}]}, "close") == set()
}

test_every_bound_of_every_line if {
	lines := [{"pointer": "/a", "pattern": "ticket", "enum": ["OPS-1"]}, {"pointer": "/b", "max": 1}]
	found := by({"desk": {"close": lines}}, {"a": "ops-1", "b": 2}, "close")
	found == {"arguments.pattern", "arguments.value", "arguments.range"}
}

test_lines_of_every_action if {
	hands := {"desk": {"*": [{"pointer": "/a", "enum": ["x"]}], "open": [{"pointer": "/b", "forbidden": true}]}}
	by(hands, {"a": "y", "b": 1}, "close") == {"arguments.value"}
	by(hands, {"a": "y", "b": 1}, "open") == {"arguments.value", "arguments.forbidden"}
}

test_lines_of_another_hand if by({"post": {"*": [{"pointer": "/a", "enum": []}]}}, {"a": 1}, "close") == set()

test_the_message_does_not_repeat_the_value if {
	some decision in arguments.decisions with input as request({"a": "hunter2"}, "close")
		with data.handrail.arguments.hands as {"desk": {"close": [{"pointer": "/a", "enum": []}]}}
	some reason in decision.reasons
	reason.message == "The argument /a is not one of the values that the policy allows."
}
