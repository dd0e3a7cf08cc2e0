# METADATA
# title: Limits
# description: How much one plan may ask for. The numbers are in data.json; without them nothing is allowed.
# custom:
#   severity: medium
#   controls: ["SOC2 A1.1", "EU AI Act 15"]
package handrail.limits

import data.handrail.manifest

# METADATA
# title: The plan has too many steps
decisions contains decision if {
	count(input.steps) > most_steps
	some step in input.steps
	decision := {"step": step.id, "effect": "deny", "reasons": [{
		"code": "limits.steps",
		"message": sprintf("A plan may have at most %v steps.", [most_steps]),
	}]}
}

# METADATA
# title: The plan changes too much
decisions contains decision if {
	changing := {id | some id, kind in manifest.side_effects; kind != "none"}
	count(changing) > most_changes
	some id in changing
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "limits.changes",
		"message": sprintf("A plan may have at most %v steps that change something.", [most_changes]),
	}]}
}

default most_steps := 0

most_steps := data.handrail.limits.steps

default most_changes := 0

most_changes := data.handrail.limits.changes
