# METADATA
# title: Arguments
# description: |
#   What arguments may hold, by hand, action and JSON pointer: listed values, a pattern, a range, a length, or nothing.
#   The lines of an action all apply, and those of "*" to every action of the hand. A line says what is allowed: what it
#   cannot be held against is denied. A line with "required" also denies where nothing stands.
# custom:
#   severity: high
#   controls: ["soc2:CC6.3", "gdpr:25", "gdpr:5(1)(c)", "iso:27001:A.8.3"]
package handrail.arguments

# METADATA
# title: An argument is not what the policy allows there
decisions contains decision if {
	some [step, line] in constrained
	some value in data.handrail.manifest.values(step.args, line.pointer)
	some kind, bound in line
	code := codes[kind]
	not holds(kind, bound, value)
	decision := {"step": step.id, "effect": "deny", "reasons": [{
		"code": code,
		"message": sprintf("The argument %v %v.", [line.pointer, complaints[code]]),
	}]}
}

# METADATA
# title: An argument that the policy requires is missing
decisions contains decision if {
	some [step, line] in constrained
	line.required == true
	data.handrail.manifest.values(step.args, line.pointer) == []
	decision := {"step": step.id, "effect": "deny", "reasons": [{
		"code": "arguments.missing",
		"message": sprintf("The policy requires the argument %v.", [line.pointer]),
	}]}
}

# METADATA
# scope: document
# title: Each step with each line that is about it
constrained contains [step, line] if {
	some step in input.steps
	some line in data.handrail.arguments.hands[step.hand][step.action]
}

constrained contains [step, line] if {
	some step in input.steps
	some line in data.handrail.arguments.hands[step.hand]["*"]
}

codes := {
	"forbidden": "arguments.forbidden",
	"enum": "arguments.value",
	"pattern": "arguments.pattern",
	"min": "arguments.range",
	"max": "arguments.range",
	"max_bytes": "arguments.length",
	"max_items": "arguments.length",
}

complaints := {
	"arguments.forbidden": "may not be given",
	"arguments.value": "is not one of the values that the policy allows",
	"arguments.pattern": "is not of the form that the policy allows",
	"arguments.range": "is not a number in the range that the policy allows",
	"arguments.length": "is longer than the policy allows",
}

# METADATA
# scope: document
# title: Whether a value is within one bound; what it cannot be held against is not
holds("forbidden", false, _) := true

holds("enum", bound, value) if value in bound

# A match of the whole text: an alternative or a line that matches is not enough.
holds("pattern", bound, value) if {
	is_string(value)
	regex.find_n(data.handrail.arguments.patterns[bound], value, 1) == [value]
}

holds("min", bound, value) if {
	is_number(value)
	value >= bound
}

holds("max", bound, value) if {
	is_number(value)
	value <= bound
}

holds("max_bytes", bound, value) if {
	is_string(value)

	# Two digits a byte. Engines count characters differently.
	count(hex.encode(value)) <= bound * 2
}

holds("max_items", bound, value) if {
	is_array(value)
	count(value) <= bound
}
