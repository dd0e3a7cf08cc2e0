# METADATA
# title: Amounts
# description: |
#   An argument with the role "amount" must be a number from 0 to 2^53 - 1: what cannot be counted is denied. "limits"
#   of data.json says how much one argument may be, by hand and action, and above what a person must look at it.
# custom:
#   severity: high
#   controls: ["soc2:CC6.3", "ai_act:14", "gdpr:22(3)"]
package handrail.amounts

# METADATA
# title: An amount must be a number that can be counted
decisions contains decision if {
	some argument in data.handrail.manifest.arguments.amount
	value := argument.value
	not countable(value)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "amounts.number",
		"message": sprintf("The argument %v must be a number from 0 to 9007199254740991.", [argument.pointer]),
	}]}
}

# METADATA
# title: An amount is larger than it may be
decisions contains decision if {
	some [argument, limit] in limited
	value := argument.value
	most := limit.most
	not at_most(value, most)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "amounts.limit",
		"message": sprintf("The argument %v is larger than the policy allows.", [argument.pointer]),
	}]}
}

# METADATA
# title: An amount is so large that a person must look at it
decisions contains decision if {
	some [argument, limit] in limited
	value := argument.value
	most := limit.ask_over
	not at_most(value, most)
	decision := {"step": argument.step, "effect": "ask", "reasons": [{
		"code": "amounts.ask",
		"message": sprintf("The argument %v is so large that a person must approve it.", [argument.pointer]),
	}]}
}

# METADATA
# title: What this round asks for, each amount rounded up to a whole number
total := sum([rounded |
	some argument in data.handrail.manifest.arguments.amount
	countable(argument.value)
	rounded := ceil(argument.value)
])

# METADATA
# title: Each amount with each limit that is about it
limited contains [argument, limit] if {
	some argument in data.handrail.manifest.arguments.amount
	some limit in data.handrail.amounts.limits
	limit.hand in {"*", argument.hand}
	some action in limit.actions
	action in {"*", argument.action}
}

countable(value) if {
	is_number(value)
	value >= 0
	value <= 9007199254740991
}

at_most(value, most) if {
	is_number(value)
	value <= most
}
