# METADATA
# title: Secrets
# description: |
#   An argument that looks like a key or a token is denied: an agent holds no secrets, so one in its arguments is either
#   a leak or a theft. data.json has the published formats. A pattern is tried only where a plain part of its kind is
#   seen, because a pattern costs more than everything else here together.
# custom:
#   severity: critical
#   controls: ["gdpr:32", "soc2:CC6.1", "soc2:C1.1", "iso:27001:A.8.12"]
package handrail.secrets

# METADATA
# title: An argument holds something that looks like a secret
decisions contains decision if {
	suspect(everything)
	some id, kinds in found
	some kind in kinds
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "secrets.found",
		"message": sprintf("An argument holds what looks like %v.", [kind]),
	}]}
}

# METADATA
# title: The arguments of each step as one text, names of members included
texts[step.id] := text if {
	some step in input.steps
	text := sprintf("%v", [step.args])
}

everything := sprintf("%v", [[step.args | some step in input.steps]])

# METADATA
# scope: document
# title: Whether a text holds a part of a secret; where nothing does, nobody looks closer
suspect(text) if {
	some separator, parts in data.handrail.secrets.parts
	strings.any_suffix_match(split(text, separator), object.keys(parts))
}

suspect(text) if {
	some part, _ in data.handrail.secrets.anywhere
	contains(text, part)
}

# METADATA
# scope: document
# title: The kinds of secrets of which a part is seen
seen contains kind if {
	some separator, parts in data.handrail.secrets.parts
	some part, kind in parts
	contains(everything, concat("", [part, separator]))
}

seen contains kind if {
	some part, kind in data.handrail.secrets.anywhere
	contains(everything, part)
}

# METADATA
# scope: document
# title: What the arguments of each step look like
found[id] contains called if {
	some kind in seen
	some id, text in texts
	looks_like(kind, text)
	called := object.get(data.handrail.secrets.called, kind, "a secret")
}

looks_like(kind, text) if regex.match(data.handrail.secrets.patterns[kind], text)

looks_like(kind, _) if not data.handrail.secrets.patterns[kind]
