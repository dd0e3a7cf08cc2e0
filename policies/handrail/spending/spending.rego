# METADATA
# title: Spending
# description: What this round asks for, and whether it fits into what is left. Gives no decision.
package handrail.spending

# METADATA
# title: The steps of this round that count towards each kind of limit
asked := {
	"steps": {step.id | some step in input.steps},
	"changes": object.keys(data.handrail.manifest.changes),
	"amount": {argument.step | some argument in data.handrail.manifest.arguments.amount},
}

# METADATA
# title: How much this round asks for
now := {
	"steps": count(input.steps),
	"changes": count(data.handrail.manifest.changes),
	"amount": data.handrail.amounts.total,
}

# METADATA
# title: Whether this round fits into a limit after what was spent before; what is no number fits into nothing
within(before, what, most) if {
	is_number(before)
	before >= 0
	ceil(before) + now[what] <= most
}
