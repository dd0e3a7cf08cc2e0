# METADATA
# title: Rates
# description: |
#   How many steps and changes, and what amount, one principal may come to in a minute, an hour and a day, over all its
#   contexts: "most" of data.json. What was spent before is in context.spent.principal; where it cannot be read, what
#   has a rate is denied.
# custom:
#   severity: medium
#   controls: ["soc2:A1.1", "ai_act:15", "gdpr:32"]
package handrail.rates

# METADATA
# title: The principal has had as much as it may have in this time
decisions contains decision if {
	some window, limits in data.handrail.rates.most
	some what, most in limits
	before := object.get(input, ["context", "spent", "principal", window, what], null)
	not data.handrail.spending.within(before, what, most)
	some id in data.handrail.spending.asked[what]
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": codes[window],
		"message": sprintf("This goes beyond the %v that you may come to in one %v.", [words[what], window]),
	}]}
}

codes := {"minute": "rates.minute", "hour": "rates.hour", "day": "rates.day"}

words := {"steps": "number of steps", "changes": "number of changes", "amount": "amount"}
