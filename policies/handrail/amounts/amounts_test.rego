package handrail.amounts_test

import data.handrail.amounts

request(values, action) := {
	"steps": [{"id": "s", "hand": "bank", "action": action, "args": {"items": values, "note": "1000000"}}],
	"hands": {"bank": {"actions": {
		"pay": {"args": {"/items/*": "amount"}},
		"refund": {"args": {"/items/*": "amount"}},
	}}},
}

limits := [
	{"hand": "bank", "actions": ["pay"], "most": 1000, "ask_over": 100},
	{"hand": "*", "actions": ["*"], "most": 5000},
	{"hand": "post", "actions": ["*"], "most": 0},
	{"hand": "bank", "actions": ["lend"], "most": 0},
]

outcome(values, action) := {[decision.effect, reason.code] |
	some decision in amounts.decisions with input as request(values, action) with data.handrail.amounts.limits as limits
	some reason in decision.reasons
}

test_a_small_amount if outcome([100], "pay") == set()

test_zero_in_each_spelling if {
	outcome([0], "pay") == set()
	outcome([-0], "pay") == set()
	outcome([0.0], "pay") == set()
}

test_an_amount_that_a_person_must_see if {
	outcome([101], "pay") == {["ask", "amounts.ask"]}
	outcome([100.01], "pay") == {["ask", "amounts.ask"]}
	outcome([1000], "pay") == {["ask", "amounts.ask"]}
}

test_an_amount_over_the_limit if {
	outcome([1001], "pay") == {["deny", "amounts.limit"], ["ask", "amounts.ask"]}
	outcome([1000.5], "pay") == {["deny", "amounts.limit"], ["ask", "amounts.ask"]}
}

test_a_limit_of_every_hand if {
	outcome([5000], "refund") == set()
	outcome([5001], "refund") == {["deny", "amounts.limit"]}
}

test_one_of_many_is_enough if outcome([1, 2, 5001], "refund") == {["deny", "amounts.limit"]}

test_what_is_no_number_is_denied if {
	every value in ["1", "1e3", "", null, true, false, [1], {"amount": 1}, "-1", "١"] {
		["deny", "amounts.number"] in outcome([value], "refund")
	}
}

test_a_text_is_over_every_limit if {
	outcome(["1"], "pay") == {["deny", "amounts.number"], ["deny", "amounts.limit"], ["ask", "amounts.ask"]}
}

test_a_negative_amount_makes_no_room if {
	every value in [-1, -0.01, -9007199254740991] {
		outcome([value], "refund") == {["deny", "amounts.number"]}
	}
}

test_numbers_that_cannot_be_counted if {
	every value in [9007199254740992, 1e300] {
		["deny", "amounts.number"] in outcome([value], "refund")
	}
}

test_without_limits_any_countable_amount_passes if {
	found := amounts.decisions with input as request([9007199254740991], "pay") with data.handrail.amounts.limits as []
	found == set()
}

test_a_sum_is_rounded_up_amount_by_amount if {
	found := amounts.total with input as request([1.5, 2, 0.01, "7", -3, null], "pay")
	found == 5
}

test_nothing_sums_to_nothing if {
	found := amounts.total with input as request([], "pay")
	found == 0
}

test_another_role_is_no_amount if outcome([], "pay") == set()
