# METADATA
# title: Grants
# description: |
#   Who may use what. Readers (data.json, "readers") may use every action that changes nothing; everything else needs a
#   line in "table": `{"roles": [], "principals": [], "hand": id, "actions": [name or "*"], "external": true?}`.
# custom:
#   severity: high
#   controls: ["SOC2 CC6.1", "SOC2 CC6.3", "ISO27001 A.5.15", "GDPR 25"]
package handrail.grants

import data.handrail.manifest

# METADATA
# title: The hand or its action is not known
decisions contains decision if {
	some step in input.steps
	id := step.id
	not manifest.actions[id]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "grants.unknown",
		"message": "No such action is known to the policy.",
	}]}
}

# METADATA
# title: Readers may use what changes nothing
decisions contains decision if {
	some id in readable
	decision := {"step": id, "effect": "allow", "reasons": [{
		"code": "grants.reader",
		"message": "Your role may use actions that change nothing.",
	}]}
}

# METADATA
# title: A grant names the principal, the hand and the action
decisions contains decision if {
	some id in granted
	decision := {"step": id, "effect": "allow", "reasons": [{
		"code": "grants.granted",
		"message": "A grant covers this action.",
	}]}
}

# METADATA
# title: Nothing grants the action
decisions contains decision if {
	some id, _ in manifest.actions
	not readable[id]
	not granted[id]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "grants.missing",
		"message": "No grant lets you use this action.",
	}]}
}

# METADATA
# title: Steps that change nothing, where the principal is a reader
readable contains id if {
	some id, kind in manifest.side_effects
	kind == "none"
	some role in input.principal.roles
	role in data.handrail.grants.readers
}

# METADATA
# title: Steps that a line of the table covers
granted contains step.id if {
	some step in input.steps
	some grant in data.handrail.grants.table
	covers(grant, step)
}

# METADATA
# title: Steps whose effects leave the organisation, and that a line of the table covers in spite of it
external contains step.id if {
	some step in input.steps
	some grant in data.handrail.grants.table
	grant.external == true
	covers(grant, step)
}

# METADATA
# title: Whether a line of the table is about the principal, the hand and the action of a step
covers(grant, step) if {
	names_principal(grant)
	grant.hand == step.hand
	some action in grant.actions
	action in {"*", step.action}
}

names_principal(grant) if {
	some role in input.principal.roles
	role in grant.roles
}

names_principal(grant) if input.principal.id in grant.principals
