# METADATA
# title: Separation of duties
# description: |
#   Two acts of which nobody may do both: who did the first in a context cannot do the second there. "conflicts" of
#   data.json pairs actions ("first" and "second"; with "both_ways" in either order) or names roles of which a principal
#   that holds them all may change nothing. The history holds the newest 64 steps: where older ones are forgotten, a
#   person must look.
# custom:
#   severity: high
#   controls: ["soc2:CC6.3", "iso:27001:A.5.3", "gdpr:32"]
package handrail.separation

# METADATA
# title: The other act was done, or is asked for, by the same principal
decisions contains decision if {
	some [id, other] in conflicting
	done(id, other)
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "separation.conflict",
		"message": "You may not do this as well as what it is kept apart from.",
	}]}
}

# METADATA
# title: Whether the other act was done cannot be told
decisions contains decision if {
	not history
	some [id, _] in conflicting
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "separation.unreadable",
		"message": "What was done before cannot be read, so this cannot be kept apart from it.",
	}]}
}

# METADATA
# title: The other act may be among those that are forgotten
decisions contains decision if {
	count(history) >= 64
	some [id, _] in conflicting
	decision := {"step": id, "effect": "ask", "reasons": [{
		"code": "separation.forgotten",
		"message": "So much was done before that a person must say whether this is kept apart from it.",
	}]}
}

# METADATA
# title: The principal holds roles that nobody may hold together
decisions contains decision if {
	some id in hidden
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "separation.roles",
		"message": "You hold roles that are kept apart, so you may change nothing.",
	}]}
}

# METADATA
# title: Changes by who holds roles that nobody may hold together; they would be denied whatever the call is
hidden contains id if {
	some conflict in data.handrail.separation.conflicts
	roles := conflict.roles
	every role in roles {
		role in input.principal.roles
	}
	some id, _ in data.handrail.manifest.changes
}

history := input.context.history if is_array(input.context.history)

# METADATA
# scope: document
# title: Each step with each act that it is kept apart from
conflicting contains pair if {
	some conflict in data.handrail.separation.conflicts
	some step in input.steps
	is_one(step, conflict.second)
	pair := [step.id, conflict.first]
}

conflicting contains pair if {
	some conflict in data.handrail.separation.conflicts
	conflict.both_ways == true
	some step in input.steps
	is_one(step, conflict.first)
	pair := [step.id, conflict.second]
}

# METADATA
# scope: document
# title: Whether an act was done before, or is asked for by another step of this round
done(_, act) if {
	some past in history
	is_one(past, act)
	not undone(past)
}

done(id, act) if {
	some step in input.steps
	step.id != id
	is_one(step, act)
}

# METADATA
# scope: document
# title: Whether a step of the history surely did nothing
undone(past) if past.effect == "deny"

undone(past) if past.status in {"denied", "expired", "skipped", "cancelled"}

is_one(step, act) if {
	step.hand == act.hand
	some action in act.actions
	action in {"*", step.action}
}
