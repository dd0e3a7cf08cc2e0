package handrail.manifest_test

import data.handrail.manifest

step := {"id": "s", "hand": "files", "action": "write", "args": {}}

hands(action) := {"files": {"labels": ["blue"], "actions": {"write": action}}}

test_a_declared_word_is_taken if {
	found := manifest.side_effects with input as {"steps": [step], "hands": hands({"side_effects": "reversible"})}
	found == {"s": "reversible"}
}

test_what_is_not_declared_is_external if {
	found := manifest.side_effects with input as {"steps": [step], "hands": hands({})}
	found == {"s": "external"}
}

test_an_unknown_word_is_external if {
	every word in ["harmless", "None", "none ", "", null, 0, ["none"], {"none": true}] {
		found := manifest.side_effects with input as {"steps": [step], "hands": hands({"side_effects": word})}
		found == {"s": "external"}
	}
}

test_a_step_of_an_unknown_hand_has_no_action if {
	found := manifest.actions with input as {"steps": [step], "hands": {}}
	found == {}
}

test_reads_change_nothing if {
	found := manifest.changes with input as {"steps": [step], "hands": hands({"side_effects": "none"})}
	found == {}
}

test_labels_name_their_hands if {
	found := manifest.labelled with input as {"steps": [step], "hands": hands({})}
	found == {"blue": {"files"}}
}

test_an_external_effect_leaves_the_organisation if {
	found := manifest.outward with input as {"steps": [step], "hands": hands({})}
	found == {"s"}
}

test_a_change_at_home_does_not_leave_the_organisation if {
	found := manifest.outward with input as {"steps": [step], "hands": hands({"side_effects": "irreversible"})}
	found == set()
}

test_a_read_at_an_external_hand_leaves_the_organisation if {
	found := manifest.outward with input as {
		"steps": [step, object.union(step, {"id": "t", "hand": "home"})],
		"hands": {
			"files": {"labels": ["external"], "actions": {"write": {"side_effects": "none"}}},
			"home": {"labels": [], "actions": {"write": {"side_effects": "none"}}},
		},
	}
	found == {"s"}
}

found_at(args, pointer) := [argument.value |
	some argument in manifest.arguments.path with input as {
		"steps": [object.union(step, {"args": args})],
		"hands": hands({"args": {pointer: "path"}}),
	}
]

test_a_member if found_at({"a": 1}, "/a") == [1]

test_a_member_in_a_member if found_at({"a": {"b": 1}}, "/a/b") == [1]

test_an_empty_name if found_at({"": 1}, "/") == [1]

test_the_arguments_as_a_whole if found_at({"a": 1}, "") == [{"a": 1}]

test_a_member_that_is_not_there if {
	every pointer in ["/b", "/b/*", "/~0", "/a~1", "/b/c/d/e/f/g"] {
		found_at({"a": 1}, pointer) == []
	}
}

test_null_is_there if found_at({"a": null}, "/a") == [null]

test_a_value_that_looks_absent_is_there if {
	found_at({"a": {"absent": true}}, "/a") == [{"absent": true}]
	found_at({"a": ["absent"]}, "/a") == [["absent"]]
}

test_any_item if found_at({"a": [1, 2, 3]}, "/a/*") == [1, 2, 3]

test_an_item_by_number if found_at({"a": [1, 2, 3]}, "/a/1") == [2]

test_no_item_by_another_spelling_of_its_number if {
	found_at({"a": [1, 2]}, "/a/01") == []
	every pointer in ["/a/+1", "/a/-1", "/a/1.0", "/a/-"] {
		found_at({"a": [1, 2]}, pointer) == [[1, 2]]
	}
}

test_a_member_called_star_hides_no_other if found_at({"a": {"*": 1, "b": 2}}, "/a/*") == [{"*": 1, "b": 2}]

test_a_member_called_by_a_number if found_at({"a": {"1": 2}}, "/a/1") == [2]

test_items_in_items if found_at({"a": [[1], [2, 3]]}, "/a/*/*") == [1, 2, 3]

test_members_of_items if found_at({"a": [{"b": 1}, {"b": 2}, {"c": 3}, null]}, "/a/*/b") == [1, 2]

test_what_is_no_list_or_object_where_one_was_expected_is_judged if {
	found_at({"a": "x"}, "/a/*") == ["x"]
	found_at({"a": {"b": "x"}}, "/a/*") == [{"b": "x"}]
	found_at({"a": "x"}, "/a/b") == ["x"]
	found_at({"a": "x"}, "/a/0") == ["x"]
	found_at({"a": "x"}, "/*") == [{"a": "x"}]
	found_at({"a": ["x"]}, "/a/b") == [["x"]]
	found_at({"a": [[1], 4]}, "/a/*/*") == [1, 4]
	found_at({"a": false}, "/a/*/b") == [false]
}

test_what_is_not_there_is_nothing if {
	found_at({"a": null}, "/a/*") == []
	found_at({"a": null}, "/a/b") == []
	found_at({"a": {}}, "/a/b") == []
	found_at({"a": []}, "/a/*/b") == []
	found_at({"a": ["x"]}, "/a/1") == []
}

test_escapes if {
	found_at({"a/b": 1}, "/a~1b") == [1]
	found_at({"a~b": 1}, "/a~0b") == [1]
	found_at({"a~1b": 1}, "/a~01b") == [1]
}

test_three_to_six_levels if {
	found_at({"a": [{"b": [1, 2]}]}, "/a/*/b/*") == [1, 2]
	found_at({"a": [{"b": [{"c": 1}]}]}, "/a/*/b/*/c") == [1]
	found_at({"a": [{"b": [{"c": [1]}]}]}, "/a/*/b/*/c/*") == [1]
	found_at({"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}, "/a/b/c/d/e/f/g") == [1]
}

test_what_is_too_deep_to_search_is_a_value_that_no_rule_accepts if {
	found_at({"a": 1}, "/a/*/b/*/c/*/d") == [{"absent"}]
}

test_the_role_of_another_action_does_not_count if {
	not manifest.arguments.path with input as {
		"steps": [object.union(step, {"action": "read", "args": {"a": 1}})],
		"hands": {"files": {"actions": {"write": {"args": {"/a": "path"}}, "read": {}}}},
	}
}
