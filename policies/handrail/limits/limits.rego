# METADATA
# title: Limits
# description: How much one plan may ask for. The numbers are in data.json; without them the plan is denied.
# custom:
#   severity: medium
#   controls: ["SOC2 A1.1", "EU AI Act 15"]
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
	some id in changing
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "limits.changes",
		"message": "The plan has more steps that change something than the policy allows.",
	}]}
}

few_steps if count(input.steps) <= data.handrail.limits.steps

few_changes if count(changing) <= data.handrail.limits.changes

changing contains id if {
	some id, kind in data.handrail.manifest.side_effects
	kind != "none"
}
