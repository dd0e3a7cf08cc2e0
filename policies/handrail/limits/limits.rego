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
	not data.handrail.manifest.changes == {}
	not few_changes
	some id, _ in data.handrail.manifest.changes
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "limits.changes",
		"message": "The plan has more steps that change something than the policy allows.",
	}]}
}

# A plan whose steps wait for each other is decided in rounds, and input.steps is one of them. What was spent before and
# is not a count leaves these undefined, and so denies.
few_steps if {
	before := object.get(spent, "steps", 0)
	is_number(before)
	before >= 0
	before + count(input.steps) <= data.handrail.limits.steps
}

few_changes if {
	before := object.get(spent, "changes", 0)
	is_number(before)
	before >= 0
	before + count(data.handrail.manifest.changes) <= data.handrail.limits.changes
}

spent := before if {
	before := object.get(object.get(input, "context", {}), "spent", {})
	is_object(before)
}
