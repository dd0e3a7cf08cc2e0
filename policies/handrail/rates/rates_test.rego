package handrail.rates_test

import data.handrail.rates

request(spent) := {
	"steps": [
		{"id": "a", "hand": "h", "action": "read", "args": {}},
		{"id": "b", "hand": "h", "action": "pay", "args": {"sum": 5}},
	],
	"hands": {"h": {"actions": {
		"read": {"side_effects": "none"},
		"pay": {"side_effects": "reversible", "args": {"/sum": "amount"}},
	}}},
	"context": {"spent": {"steps": 0, "changes": 0, "principal": spent}},
}

outcome(spent, most) := {[decision.step, reason.code] |
	some decision in rates.decisions with input as request(spent) with data.handrail.rates.most as most
	decision.effect == "deny"
	some reason in decision.reasons
}

spent := {
	"minute": {"steps": 8, "changes": 0, "amount": 0},
	"hour": {"steps": 80, "changes": 9, "amount": 95},
	"day": {"steps": 800, "changes": 30, "amount": 950},
}

test_what_has_no_limit if outcome(spent, {}) == set()

test_up_to_each_limit if {
	outcome(spent, {"minute": {"steps": 10}, "hour": {"changes": 10, "amount": 100}, "day": {"amount": 955}}) == set()
}

test_too_many_steps_in_a_minute if {
	outcome(spent, {"minute": {"steps": 9}}) == {["a", "rates.minute"], ["b", "rates.minute"]}
}

test_too_many_changes_in_an_hour if outcome(spent, {"hour": {"changes": 9}}) == {["b", "rates.hour"]}

test_too_large_an_amount_in_a_day if outcome(spent, {"day": {"amount": 954}}) == {["b", "rates.day"]}

test_each_window_counts_by_itself if {
	found := outcome(spent, {"minute": {"changes": 1}, "hour": {"changes": 9}, "day": {"changes": 30}})
	found == {["b", "rates.hour"], ["b", "rates.day"]}
}

test_what_cannot_be_read_denies if {
	every wrong in [null, "8", [], {}, true, -1] {
		outcome({"day": {"changes": wrong}}, {"day": {"changes": 100}}) == {["b", "rates.day"]}
		outcome({"day": wrong}, {"day": {"changes": 100}}) == {["b", "rates.day"]}
		outcome(wrong, {"day": {"changes": 100}}) == {["b", "rates.day"]}
	}
}
