# METADATA
# title: Secrets
# description: |
#   An argument that looks like a key or a token is denied: an agent holds no secrets, so one in its arguments is either
#   a leak or a theft. Each pattern is tried only on texts that hold its plain beginning, because a pattern costs more
#   than everything else here together.
# custom:
#   severity: critical
#   controls: ["GDPR 32", "SOC2 CC6.1", "SOC2 C1.1", "ISO27001 A.8.12"]
package handrail.secrets

# METADATA
# title: An argument holds something that looks like a secret
decisions contains decision if {
	some id, kinds in found
	some kind in kinds
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "secrets.found",
		"message": sprintf("An argument holds what looks like %s.", [kind]),
	}]}
}

# METADATA
# scope: document
# title: Every text in the arguments of each step, names of members included
texts[step.id] contains text if {
	some step in input.steps
	walk(step.args, [_, text])
	is_string(text)
}

texts[step.id] contains text if {
	some step in input.steps
	walk(step.args, [place, _])
	count(place) > 0
	text := place[count(place) - 1]
	is_string(text)
}

# METADATA
# scope: document
# title: What the texts of each step look like
found[id] contains "a private key" if {
	some id, values in texts
	some value in values
	contains(value, "PRIVATE KEY-----")
}

found[id] contains "an AWS access key" if {
	some id, values in texts
	some value in values
	some beginning in ["AKIA", "ASIA"]
	contains(value, beginning)
	regex.match(`A[KS]IA[0-9A-Z]{16}`, value)
}

found[id] contains "a GitHub token" if {
	some id, values in texts
	some value in values
	some beginning in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"]
	contains(value, beginning)
	regex.match(`gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{22}`, value)
}

found[id] contains "a Slack token" if {
	some id, values in texts
	some value in values
	contains(value, "xox")
	regex.match(`xox[abeoprs]-[0-9A-Za-z-]{10}`, value)
}

found[id] contains "an API key" if {
	some id, values in texts
	some value in values
	contains(value, "sk-")
	regex.match(`sk-[0-9A-Za-z_-]{20}`, value)
}

found[id] contains "a bearer token" if {
	some id, values in texts
	some value in values
	contains(value, "eyJ")
	regex.match(`eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.`, value)
}

found[id] contains "a Handrail API key" if {
	some id, values in texts
	some value in values
	contains(value, "hr_")
	regex.match(`hr_[0-9a-f]{16}_[0-9A-Za-z_-]{43}`, value)
}
