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
