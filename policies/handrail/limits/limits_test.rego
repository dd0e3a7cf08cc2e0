package handrail.limits_test

import data.handrail.limits

request(count_of_steps, kind) := {
	"steps": [{"id": sprintf("s%v", [number]), "hand": "h", "action": "a", "args": {}} |
		some number in numbers.range(1, count_of_steps)
	],
	"hands": {"h": {"actions": {"a": {"side_effects": kind}}}},
}

outcome(count_of_steps, kind) := {[decision.step, reason.code] |
	some decision in limits.decisions with input as request(count_of_steps, kind)
		with data.handrail.limits.steps as 3
		with data.handrail.limits.changes as 1
	decision.effect == "deny"
	some reason in decision.reasons
}

test_as_many_steps_as_allowed if outcome(3, "none") == set()

test_one_step_too_many_denies_all if {
	outcome(4, "none") == {["s1", "limits.steps"], ["s2", "limits.steps"], ["s3", "limits.steps"], ["s4", "limits.steps"]}
}

test_as_many_changes_as_allowed if outcome(1, "reversible") == set()

test_one_change_too_many_denies_the_changes if {
	outcome(2, "reversible") == {["s1", "limits.changes"], ["s2", "limits.changes"]}
}

spending(count_of_steps, kind, context) := {[decision.step, reason.code] |
	some decision in limits.decisions with input as object.union(
		request(count_of_steps, kind),
		{"context": context},
	)
		with data.handrail.limits.steps as 3
		with data.handrail.limits.changes as 1
	some reason in decision.reasons
}

test_earlier_rounds_count_towards_the_steps if {
	spending(1, "none", {"spent": {"steps": 2, "changes": 0}}) == set()
	spending(1, "none", {"spent": {"steps": 3, "changes": 0}}) == {["s1", "limits.steps"]}
}

test_earlier_rounds_count_towards_the_changes if {
	spending(1, "reversible", {"spent": {"steps": 1, "changes": 0}}) == set()
	spending(1, "reversible", {"spent": {"steps": 1, "changes": 1}}) == {["s1", "limits.changes"]}
}

test_reads_go_on_after_the_last_change if {
	spending(1, "none", {"spent": {"steps": 1, "changes": 1}}) == set()
}

test_first_round_has_spent_nothing if {
	spending(1, "reversible", {}) == set()
	spending(1, "reversible", {"spent": {}}) == set()
}

test_unreadable_sums_deny if {
	every wrong in [null, "2", [], {}, true, -1] {
		spending(1, "reversible", {"spent": {"steps": wrong, "changes": 0}}) == {["s1", "limits.steps"]}
		spending(1, "reversible", {"spent": {"steps": 0, "changes": wrong}}) == {["s1", "limits.changes"]}
	}
}

test_unreadable_spending_denies if {
	both := {["s1", "limits.steps"], ["s1", "limits.changes"]}
	every wrong in [null, "2", [], 0] {
		spending(1, "reversible", {"spent": wrong}) == both
	}
}
