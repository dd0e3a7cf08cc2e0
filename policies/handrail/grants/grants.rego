# METADATA
# title: Grants
# description: |
#   Who may use what. Readers (data.json, "readers") may use every action that changes nothing; everything else needs a
#   line in "table": `{"roles": [], "principals": [], "hand": id, "actions": [name or "*"], "external": true?}`.
# custom:
#   severity: high
#   controls: ["SOC2 CC6.1", "SOC2 CC6.3", "ISO27001 A.5.15", "GDPR 25"]
package handrail.grants

# METADATA
# title: May this principal use this action at all?
decisions contains decision if {
	some step in input.steps
	code := verdict(step)
	decision := {
		"step": step.id,
		"effect": effects[code],
		"reasons": [{"code": code, "message": messages[code]}],
	}
}

verdict(step) := "grants.unknown" if {
	id := step.id
	not data.handrail.manifest.actions[id]
} else := "grants.reader" if {
	data.handrail.manifest.side_effects[step.id] == "none"
	some role in input.principal.roles
	role in data.handrail.grants.readers
} else := "grants.granted" if {
	some grant in data.handrail.grants.table
	covers(grant, step)
} else := "grants.missing"

effects := {
	"grants.unknown": "deny",
	"grants.reader": "allow",
	"grants.granted": "allow",
	"grants.missing": "deny",
}

messages := {
	"grants.unknown": "No such action is known to the policy.",
	"grants.reader": "Your role may use actions that change nothing.",
	"grants.granted": "A grant covers this action.",
	"grants.missing": "No grant lets you use this action.",
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
