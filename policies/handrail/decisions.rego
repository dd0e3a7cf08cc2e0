# METADATA
# title: Decisions
# description: |
#   What the gateway asks for: every rule's word on every step. The gateway merges them: deny beats ask beats allow,
#   and a step of which nobody speaks is denied. To add a rule, add its package here. The first line of some bodies asks
#   whether anything concerns the rule, which costs less than to ask the rule; where it cannot tell, the rule is asked.
# entrypoint: true
package handrail

# METADATA
# scope: document
# title: Hidden
# description: |
#   What the gateway asks for a list of tools: ids of steps, without arguments, of which each call by this principal
#   would be denied. A rule puts a step here only where it would deny it whatever the arguments, the purpose, the time
#   and the context are.
# entrypoint: true
hidden contains id if some id in data.handrail.grants.hidden

hidden contains id if {
	not data.handrail.manifest.changes == {}
	some id in data.handrail.side_effects.hidden
}

hidden contains id if {
	not data.handrail.separation.conflicts == []
	some id in data.handrail.separation.hidden
}

decisions contains decision if some decision in data.handrail.grants.decisions

decisions contains decision if some decision in data.handrail.limits.decisions

decisions contains decision if some decision in data.handrail.paths.decisions

decisions contains decision if {
	some role in data.handrail.provenance.roles
	data.handrail.manifest.arguments[role]
	some decision in data.handrail.provenance.decisions
}

decisions contains decision if {
	data.handrail.manifest.arguments.content
	not data.handrail.manifest.changes == {}
	some decision in data.handrail.provenance.decisions
}

decisions contains decision if some decision in data.handrail.secrets.decisions

decisions contains decision if {
	not data.handrail.manifest.changes == {}
	some decision in data.handrail.side_effects.decisions
}

decisions contains decision if {
	data.handrail.manifest.arguments.url
	some decision in data.handrail.hosts.decisions
}

decisions contains decision if {
	data.handrail.manifest.arguments.amount
	some decision in data.handrail.amounts.decisions
}

decisions contains decision if {
	not data.handrail.arguments.hands == {}
	some decision in data.handrail.arguments.decisions
}

decisions contains decision if {
	not data.handrail.budgets.most == {}
	some decision in data.handrail.budgets.decisions
}

decisions contains decision if {
	not data.handrail.rates.most == {}
	some decision in data.handrail.rates.decisions
}

decisions contains decision if {
	not data.handrail.tokens.context == {}
	some decision in data.handrail.tokens.decisions
}

decisions contains decision if {
	not data.handrail.tokens.principal == {}
	some decision in data.handrail.tokens.decisions
}

decisions contains decision if {
	not data.handrail.separation.conflicts == []
	some decision in data.handrail.separation.decisions
}

decisions contains decision if {
	not data.handrail.windows.windows == []
	some decision in data.handrail.windows.decisions
}

decisions contains decision if {
	not data.handrail.windows.freezes == []
	some decision in data.handrail.windows.decisions
}

decisions contains decision if {
	is_string(input.context.data_region)
	some decision in data.handrail.transfers.decisions
}

decisions contains decision if {
	not data.handrail.manifest.outward == set()
	some decision in data.handrail.personal_data.decisions
}

decisions contains decision if some decision in data.handrail.special_categories.decisions

decisions contains decision if {
	some step in input.steps
	step.analysis
	some decision in data.handrail.statements.decisions
}

decisions contains decision if {
	data.handrail.manifest.labelled.sql
	some decision in data.handrail.sql.decisions
}

decisions contains decision if {
	not data.handrail.sql.arguments == []
	some decision in data.handrail.sql.decisions
}
