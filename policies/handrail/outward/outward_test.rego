package handrail.outward_test

import data.handrail.outward

request(args) := {
	"steps": [
		{"id": "out", "hand": "mail", "action": "send", "args": args},
		{"id": "home", "hand": "files", "action": "read", "args": args},
	],
	"hands": {
		"mail": {"labels": [], "actions": {"send": {"args": {"/to/*": "recipient", "/body": "content"}}}},
		"files": {"labels": [], "actions": {"read": {"side_effects": "none"}}},
	},
}

said(args) := {line |
	some line in split(outward.texts.out, "\n") with input as request(args)
}

test_only_what_leaves if {
	found := outward.texts with input as request({"a": "b"})
	object.keys(found) == {"out"}
}

test_values_and_names_at_every_depth if {
	said({"a": ["b", {"c": 1, "d": [[["e"]]]}]}) == {"a", "b", "c", "1", "d", "e"}
}

test_what_is_deeper_than_searched_is_not_lost if {
	some line in said({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": "deep"}}}}}}}}})
	contains(line, "deep")
}

test_a_whole_number_is_written_without_an_exponent if {
	said({"a": [7895419052883968.0, 1e6, -2]}) == {"a", "7895419052883968", "1000000", "-2"}
	said({"a": [2.5]}) == {"a", "2.5"}
	said({"a": [4.111111111111111e30, 4.954048066433843e16]}) == {"a", "4111111111111111", "49540480664338430"}
}

test_what_says_nothing if said({"a": [true, null, {}]}) == {"a"}

test_pieces_do_not_run_together if {
	text := outward.texts.out with input as request({"a": ["41", "11"]})
	not contains(text, "4111")
}

test_invisible_characters_are_taken_out if {
	said({"a": "4\u200b1\u00ad1\ufeff1\u202e2\u20603"}) == {"a", "411123"}
}

test_wide_characters_are_made_narrow if said({"a": "ａ＠ｂ．ｃ４Ｚ"}) == {"a", "a@b.c4Z"}

test_spaces_and_dashes_of_all_kinds if said({"a": "1\u00a02\u20113\u20144"}) == {"a", "1 2-3-4"}

test_what_a_role_lets_one_expect if {
	args := {"to": ["x@y.z", "＠"], "body": "b"}
	found := data.handrail.outward.expected("out", ["recipient"]) with input as request(args)
	found == "x@y.z\n@"
}
