# METADATA
# title: Budgets
# description: |
#   How many steps and changes, and what amount, one context may come to over all its plans: "most" of data.json. What
#   was spent before is in context.spent.context; where it cannot be read, what has a budget is denied.
# custom:
#   severity: medium
#   controls: ["soc2:A1.1", "ai_act:15", "gdpr:5(1)(c)"]
package handrail.budgets

# METADATA
# title: The context's budget is used up
decisions contains decision if {
	some what, most in data.handrail.budgets.most
	before := object.get(input, ["context", "spent", "context", what], null)
	not data.handrail.spending.within(before, what, most)
	some id in data.handrail.spending.asked[what]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": codes[what],
		"message": sprintf("This goes beyond the %v that one context may come to.", [words[what]]),
	}]}
}

codes := {"steps": "budgets.steps", "changes": "budgets.changes", "amount": "budgets.amount"}

words := {"steps": "number of steps", "changes": "number of changes", "amount": "amount"}
