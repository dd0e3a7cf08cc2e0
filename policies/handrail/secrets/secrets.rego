# METADATA
# title: Secrets
# description: |
#   An argument that looks like a key or a token is denied: an agent holds no secrets, so one in its arguments is either
#   a leak or a theft. Patterns are tried only where some argument holds the plain beginning of one, because a pattern
#   costs more than everything else here together.
# custom:
#   severity: critical
#   controls: ["GDPR 32", "SOC2 CC6.1", "SOC2 C1.1", "ISO27001 A.8.12"]
package handrail.secrets

# METADATA
# title: An argument holds something that looks like a secret
decisions contains decision if {
	suspect
	some id, kinds in found
	some kind in kinds
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "secrets.found",
		"message": sprintf("An argument holds what looks like %s.", [kind]),
	}]}
}

# METADATA
# title: The arguments of each step as one text, names of members included
texts[step.id] := text if {
	some step in input.steps
	text := sprintf("%v", [step.args])
}

# METADATA
# title: Whether anything in the plan holds the beginning of a secret; where nothing does, nobody looks closer
suspect if {
	everything := sprintf("%v", [[step.args | some step in input.steps]])
	some beginning in [
		"PRIVATE KEY-----",
		"AKIA",
		"ASIA",
		"ghp_",
		"gho_",
		"ghu_",
		"ghs_",
		"ghr_",
		"github_pat_",
		"xox",
		"sk-",
		"eyJ",
		"hr_",
	]
	contains(everything, beginning)
}

# METADATA
# scope: document
# title: What the arguments of each step look like
found[id] contains "a private key" if {
	some id, text in texts
	contains(text, "PRIVATE KEY-----")
}

found[id] contains "an AWS access key" if {
	some id, text in texts
	regex.match(`A[KS]IA[0-9A-Z]{16}`, text)
}

found[id] contains "a GitHub token" if {
	some id, text in texts
	regex.match(`gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{22}`, text)
}

found[id] contains "a Slack token" if {
	some id, text in texts
	regex.match(`xox[abeoprs]-[0-9A-Za-z-]{10}`, text)
}

found[id] contains "an API key" if {
	some id, text in texts
	regex.match(`sk-[0-9A-Za-z_-]{20}`, text)
}

found[id] contains "a bearer token" if {
	some id, text in texts
	regex.match(`eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.`, text)
}

found[id] contains "a Handrail API key" if {
	some id, text in texts
	regex.match(`hr_[0-9a-f]{16}_[0-9A-Za-z_-]{43}`, text)
}
