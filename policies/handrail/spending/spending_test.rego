package handrail.spending_test

import data.handrail.spending

request := {
	"steps": [
		{"id": "a", "hand": "h", "action": "read", "args": {}},
		{"id": "b", "hand": "h", "action": "pay", "args": {"sum": 2.5}},
	],
	"hands": {"h": {"actions": {
		"read": {"side_effects": "none"},
		"pay": {"side_effects": "reversible", "args": {"/sum": "amount"}},
	}}},
}

test_what_a_round_asks_for if {
	found := spending.now with input as request
	found == {"steps": 2, "changes": 1, "amount": 3}
}

test_who_asks_for_it if {
	found := spending.asked with input as request
	found == {"steps": {"a", "b"}, "changes": {"b"}, "amount": {"b"}}
}

fits(before, most) if data.handrail.spending.within(before, "amount", most) with input as request

test_up_to_the_limit if {
	fits(7, 10)
	fits(6.2, 10)
	not fits(7.1, 10)
	not fits(8, 10)
}

test_what_is_no_number_fits_into_nothing if {
	every before in [null, "0", [], {}, true, -1, -0.5] {
		not fits(before, 1000)
	}
}
