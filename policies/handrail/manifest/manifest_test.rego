package handrail.manifest_test

import data.handrail.manifest

step := {"id": "s", "hand": "files", "action": "write", "args": {}}

hands(action) := {"files": {"actions": {"write": action}}}

test_a_declared_word_is_taken if {
	found := manifest.side_effects with input as {"steps": [step], "hands": hands({"side_effects": "reversible"})}
	found == {"s": "reversible"}
}

test_what_is_not_declared_is_external if {
	found := manifest.side_effects with input as {"steps": [step], "hands": hands({})}
	found == {"s": "external"}
}

test_an_unknown_word_is_external if {
	found := manifest.side_effects with input as {"steps": [step], "hands": hands({"side_effects": "harmless"})}
	found == {"s": "external"}
}

test_a_step_of_an_unknown_hand_has_no_action if {
	found := manifest.actions with input as {"steps": [step], "hands": {}}
	found == {}
}
