# METADATA
# title: Grants
# description: |
#   Who may use what. Roles in "readers" may use every action that changes nothing; everything else needs a line in
#   "table", which names whom it is for ("roles", "principals") and what it covers: a "hand" and its "actions" ("*" is
#   all of them), or "scopes" that are named once in "scopes". A line with "only" counts only in those tenants and
#   environments, and for those purposes of a plan. "external": true covers effects outside of the organisation;
#   "unattended": true means that no person has to approve each step.
# custom:
#   severity: high
#   controls: ["soc2:CC6.1", "soc2:CC6.3", "iso:27001:A.5.15", "gdpr:5(1)(b)", "gdpr:25"]
package handrail.grants

# METADATA
# title: May this principal use this action at all?
decisions contains decision if {
	some step in input.steps
	code := verdict(step)
	said := verdicts[code]
	decision := {
		"step": step.id,
		"effect": said.effect,
		"reasons": [{"code": code, "message": said.message}],
	}
}

# METADATA
# title: The first that is true; what is not known to the manifest changes nothing and is no reading either
verdict(step) := "grants.reader" if {
	data.handrail.manifest.side_effects[step.id] == "none"
	reader
} else := "grants.unknown" if {
	id := step.id
	not data.handrail.manifest.actions[id]
} else := "grants.granted" if {
	some grant in data.handrail.grants.granted
	covers(grant, step)
} else := "grants.missing"

reader if {
	some role in input.principal.roles
	role in data.handrail.grants.readers
}

verdicts := {
	"grants.unknown": {"effect": "deny", "message": "No such action is known to the policy."},
	"grants.reader": {"effect": "allow", "message": "Your role may use actions that change nothing."},
	"grants.granted": {"effect": "allow", "message": "A grant covers this action."},
	"grants.missing": {"effect": "deny", "message": "No grant lets you use this action."},
}

# METADATA
# title: Steps that a line of the table covers although their effects leave the organisation
external contains step.id if {
	some grant in granted
	grant.external == true
	some step in input.steps
	covers(grant, step)
}

# METADATA
# scope: document
# title: Steps that a line of the table lets happen without a person; an external one needs a line that says both
unattended contains step.id if {
	some grant in granted
	grant.unattended == true
	some step in input.steps
	data.handrail.manifest.side_effects[step.id] in {"reversible", "irreversible"}
	covers(grant, step)
}

unattended contains step.id if {
	some grant in granted
	grant.unattended == true
	grant.external == true
	some step in input.steps
	covers(grant, step)
}

# METADATA
# title: Steps of a menu that would be denied to this principal whatever the call is for
hidden contains step.id if {
	some step in input.steps
	not usable(step)
}

# METADATA
# scope: document
# title: Whether some call of a step's action would not be denied here
usable(step) if {
	data.handrail.manifest.side_effects[step.id] == "none"
	reader
}

usable(step) if {
	id := step.id
	data.handrail.manifest.actions[id]
	some grant in possible
	covers(grant, step)
}

# METADATA
# title: Steps of a menu that a line covers for some purpose although their effects leave the organisation
possibly_external contains step.id if {
	some grant in possible
	grant.external == true
	some step in input.steps
	covers(grant, step)
}

# METADATA
# scope: document
# title: Steps of a menu that a line lets happen without a person for some purpose
possibly_unattended contains step.id if {
	some grant in possible
	grant.unattended == true
	some step in input.steps
	data.handrail.manifest.side_effects[step.id] in {"reversible", "irreversible"}
	covers(grant, step)
}

possibly_unattended contains step.id if {
	some grant in possible
	grant.unattended == true
	grant.external == true
	some step in input.steps
	covers(grant, step)
}

# METADATA
# title: The lines of the table that are for this principal, here and for this purpose
granted := [grant |
	some grant in data.handrail.grants.table
	names_principal(grant)
	counts_here(grant)
]

# METADATA
# title: The lines of the table that are for this principal, here and for some purpose
possible := [grant |
	some grant in data.handrail.grants.table
	names_principal(grant)
	may_count_here(grant)
]

names_principal(grant) if {
	some role in input.principal.roles
	role in grant.roles
}

names_principal(grant) if input.principal.id in grant.principals

may_count_here(grant) if not grant.only

may_count_here(grant) if {
	every name, allowed in grant.only {
		may_hold(name, allowed)
	}
}

may_hold(name, allowed) if here[name] in allowed

may_hold("purposes", allowed) if count(allowed) > 0

counts_here(grant) if not grant.only

counts_here(grant) if {
	every name, allowed in grant.only {
		here[name] in allowed
	}
}

here["tenants"] := input.tenant

here["environments"] := input.environment

here["purposes"] := input.plan.purpose

# METADATA
# scope: document
# title: Whether a line of the table is about the hand and the action of a step
covers(grant, step) if {
	grant.hand == step.hand
	some action in grant.actions
	action in {"*", step.action}
}

covers(grant, step) if {
	some name in grant.scopes
	some part in data.handrail.grants.scopes[name]
	part.hand == step.hand
	some action in part.actions
	action in {"*", step.action}
}
