package handrail.budgets_test

import data.handrail.budgets

request(spent) := {
	"steps": [
		{"id": "a", "hand": "h", "action": "read", "args": {}},
		{"id": "b", "hand": "h", "action": "pay", "args": {"sum": 5}},
	],
	"hands": {"h": {"actions": {
		"read": {"side_effects": "none"},
		"pay": {"side_effects": "reversible", "args": {"/sum": "amount"}},
	}}},
	"context": {"spent": {"steps": 0, "changes": 0, "context": spent}},
}

outcome(spent, most) := {[decision.step, reason.code] |
	some decision in budgets.decisions with input as request(spent) with data.handrail.budgets.most as most
	decision.effect == "deny"
	some reason in decision.reasons
}

spent := {"steps": 8, "changes": 3, "amount": 95}

test_what_has_no_budget_is_not_limited if outcome(spent, {}) == set()

test_up_to_the_budget if outcome(spent, {"steps": 10, "changes": 4, "amount": 100}) == set()

test_too_many_steps_deny_all if outcome(spent, {"steps": 9}) == {["a", "budgets.steps"], ["b", "budgets.steps"]}

test_too_many_changes_deny_the_changes if outcome(spent, {"changes": 3}) == {["b", "budgets.changes"]}

test_too_large_an_amount_denies_what_spends if outcome(spent, {"amount": 99}) == {["b", "budgets.amount"]}

test_a_budget_of_nothing if {
	outcome({"steps": 0, "changes": 0, "amount": 0}, {"changes": 0}) == {["b", "budgets.changes"]}
}

test_what_cannot_be_read_denies if {
	every wrong in [null, "8", [], {}, true, -1] {
		outcome({"steps": 0, "changes": wrong, "amount": 0}, {"changes": 100}) == {["b", "budgets.changes"]}
	}
	outcome({}, {"changes": 100}) == {["b", "budgets.changes"]}
	outcome(null, {"changes": 100}) == {["b", "budgets.changes"]}
	outcome([], {"changes": 100}) == {["b", "budgets.changes"]}
}

test_without_a_context_nothing_fits if {
	found := {decision.step |
		some decision in budgets.decisions with input as object.remove(request(spent), ["context"])
			with data.handrail.budgets.most as {"steps": 1000}
	}
	found == {"a", "b"}
}
