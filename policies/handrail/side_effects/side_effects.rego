# METADATA
# title: Side effects
# description: |
#   What changes something is held for a person; what leaves the organisation is denied unless a grant says external.
#   Who must answer is in data.json, "ask", by kind of side effect; a grant that says unattended asks nobody. "roles"
#   says, by kind, which roles alone may cause it.
# custom:
#   severity: high
#   controls: ["ai_act:14", "gdpr:22(3)", "soc2:CC8.1"]
package handrail.side_effects

# METADATA
# title: A person must approve what changes something
decisions contains decision if {
	some id, kind in asked
	decision := {
		"step": id,
		"effect": "ask",
		"reasons": [{
			"code": "side_effects.approval",
			"message": sprintf("A person must approve this: its side effects are %v.", [kind]),
		}],
		"obligations": data.handrail.side_effects.ask[kind],
	}
}

# METADATA
# title: What leaves the organisation needs a grant that says so
decisions contains decision if {
	some id, kind in data.handrail.manifest.changes
	kind == "external"
	not data.handrail.grants.external[id]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "side_effects.external",
		"message": "This action acts outside of the organisation, and no grant allows that.",
	}]}
}

# METADATA
# title: Only some roles may cause this kind of side effect
decisions contains decision if {
	some id, kind in data.handrail.manifest.changes
	roles := data.handrail.side_effects.roles[kind]
	count([role | some role in input.principal.roles; role in roles]) == 0
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "side_effects.role",
		"message": sprintf("None of your roles may cause side effects that are %v.", [kind]),
	}]}
}

# METADATA
# title: Nobody is named who could approve
decisions contains decision if {
	some id, _ in data.handrail.manifest.changes
	not asked[id]
	not data.handrail.grants.unattended[id]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "side_effects.nobody",
		"message": "This action needs an approval, and the policy names nobody who could give it.",
	}]}
}

# METADATA
# title: Steps that are held, by what they change
asked[id] := kind if {
	some id, kind in data.handrail.manifest.changes
	data.handrail.side_effects.ask[kind].approver_role
	not data.handrail.grants.unattended[id]
}

# METADATA
# scope: document
# title: Steps of a menu that would be denied to this principal whatever the call is for
hidden contains id if {
	some id, kind in data.handrail.manifest.changes
	kind == "external"
	not data.handrail.grants.possibly_external[id]
}

hidden contains id if {
	some id, kind in data.handrail.manifest.changes
	roles := data.handrail.side_effects.roles[kind]
	count([role | some role in input.principal.roles; role in roles]) == 0
}

hidden contains id if {
	some id, kind in data.handrail.manifest.changes
	not data.handrail.side_effects.ask[kind].approver_role
	not data.handrail.grants.possibly_unattended[id]
}
