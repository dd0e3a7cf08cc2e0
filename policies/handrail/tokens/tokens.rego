# METADATA
# title: Tokens
# description: |
#   How many tokens of models, read and written, one context may use over all its plans, and one principal in a
#   minute, an hour and a day over all its contexts. A question to a model is denied once "most" of data.json were
#   used, and held for a person once "ask_over" were. What was used before is in context.spent; where it cannot be
#   read, what has a limit is denied. An answer counts when it is on record, so the last one may go beyond the
#   limit.
# custom:
#   severity: medium
#   controls: ["soc2:A1.1", "ai_act:15", "gdpr:5(1)(c)"]
package handrail.tokens

# METADATA
# title: As many tokens as may be were used
decisions contains decision if {
	some [code, used, limit] in limited
	most := limit.most
	not below(used, most)
	some id in questions
	decision := {"step": id, "effect": "deny", "reasons": [{"code": code, "message": messages[code]}]}
}

# METADATA
# title: So many tokens were used that a person must agree
decisions contains decision if {
	some [_, used, limit] in limited
	most := limit.ask_over
	not below(used, most)
	some id in questions
	decision := {"step": id, "effect": "ask", "reasons": [{
		"code": "tokens.ask",
		"message": "So many tokens were used that a person must approve more.",
	}]}
}

messages := {
	"tokens.context": "As many tokens were used as one context may use.",
	"tokens.principal": "As many tokens were used as you may use in this time.",
}

# METADATA
# title: The steps of this round that have a model answer
questions contains step.id if {
	some step in input.steps
	step.analysis.kind in {"message", "batch"}
}

# METADATA
# title: What is said where nothing is left of a limit, what was used before, and the limit
# scope: document
limited contains ["tokens.context", used, limit] if {
	limit := data.handrail.tokens.context
	used := object.get(input, ["context", "spent", "context", "tokens"], null)
}

limited contains ["tokens.principal", used, limit] if {
	some window, limit in data.handrail.tokens.principal
	used := object.get(input, ["context", "spent", "principal", window, "tokens"], null)
}

# METADATA
# title: Whether something is left of a limit; what is no number leaves nothing
below(used, most) if {
	is_number(used)
	used >= 0
	used < most
}
