# METADATA
# title: Limits
# description: How much one plan may ask for, over all rounds. Without the numbers in data.json it is denied.
# custom:
#   severity: medium
#   controls: ["soc2:A1.1", "ai_act:15"]
package handrail.limits

# METADATA
# title: The plan has too many steps
decisions contains decision if {
	not few_steps
	some step in input.steps
	decision := {"step": step.id, "effect": "deny", "reasons": [{
		"code": "limits.steps",
		"message": "The plan has more steps than the policy allows.",
	}]}
}

# METADATA
# title: The plan changes too much
decisions contains decision if {
	not few_changes
	some id, _ in data.handrail.manifest.changes
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "limits.changes",
		"message": "The plan has more steps that change something than the policy allows.",
	}]}
}

few_steps if {
	before := earlier("steps")
	before + count(input.steps) <= data.handrail.limits.steps
}

few_changes if {
	before := earlier("changes")
	before + count(data.handrail.manifest.changes) <= data.handrail.limits.changes
}

# A plan whose steps wait for each other is decided in rounds, and input.steps is one of them. What is not a count
# leaves this undefined, and so denies.
earlier(what) := sum_so_far if {
	is_object(spent)
	sum_so_far := object.get(spent, what, 0)
	is_number(sum_so_far)
	sum_so_far >= 0
}

spent := object.get(object.get(input, "context", {}), "spent", {})
