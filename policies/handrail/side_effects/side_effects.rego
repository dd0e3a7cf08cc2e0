# METADATA
# title: Side effects
# description: |
#   What changes something is held for a person; what leaves the organisation is denied unless a grant says external.
#   Who must answer is in data.json, "ask", by kind of side effect.
# custom:
#   severity: high
#   controls: ["EU AI Act 14", "GDPR 22(3)", "SOC2 CC8.1"]
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
			"message": sprintf("A person must approve this: its side effects are %s.", [kind]),
		}],
		"obligations": data.handrail.side_effects.ask[kind],
	}
}

# METADATA
# title: What leaves the organisation needs a grant that says so
decisions contains decision if {
	some id, kind in data.handrail.manifest.side_effects
	kind == "external"
	not data.handrail.grants.external[id]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "side_effects.external",
		"message": "This action acts outside of the organisation, and no grant allows that.",
	}]}
}

# METADATA
# title: Nobody is named who could approve
decisions contains decision if {
	some id, kind in data.handrail.manifest.side_effects
	kind != "none"
	not asked[id]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "side_effects.nobody",
		"message": "This action needs an approval, and the policy names nobody who could give it.",
	}]}
}

# METADATA
# title: Steps that are held, by what they change
asked[id] := kind if {
	some id, kind in data.handrail.manifest.side_effects
	kind != "none"
	data.handrail.side_effects.ask[kind].approver_role
}
