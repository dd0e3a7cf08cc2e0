# METADATA
# title: Provenance
# description: |
#   A recipient, a URL or an account is vouched for by the user's words, by the operator, or by a result of a trusted
#   hand whose whole value it is. One that only untrusted results have mentioned, or that nobody supplied (encoded,
#   split, invented), needs a person. So does a link in a content that is sent. Where results that are not for
#   everybody were read, no content goes to a place that only untrusted results have mentioned. "roles" in data.json
#   are those that must be vouched for. No tool is known by name: what counts is what the operator said of it.
# custom:
#   severity: critical
#   controls: ["soc2:CC6.7", "soc2:C1.1", "iso:27001:A.8.12", "gdpr:25", "ai_act:9"]
package handrail.provenance

# METADATA
# title: What nobody vouches for is not done by itself
decisions contains decision if {
	some [id, code] in faults
	said := verdicts[code]
	decision := {"step": id, "effect": said.effect, "reasons": [{"code": code, "message": said.message}]}
}

verdicts := {
	"provenance.private": {
		"effect": "deny",
		"message": "Content would go to a place that only untrusted results have mentioned, after private ones were read.",
	},
	"provenance.untrusted": {
		"effect": "ask",
		"message": "Only untrusted results have mentioned the recipient, URL or account.",
	},
	"provenance.mentioned": {
		"effect": "ask",
		"message": "A trusted result only mentions the recipient, URL or account in a longer text.",
	},
	"provenance.new": {
		"effect": "ask",
		"message": "Neither the user nor any result has supplied the recipient, URL or account.",
	},
	"provenance.link": {
		"effect": "ask",
		"message": "The content holds a link or address that nobody vouches for.",
	},
}

# METADATA
# scope: document
# title: What is wrong with the origin of each step's arguments
faults contains [id, code] if {
	some [id, standing] in unvouched
	code := concat(".", ["provenance", standing])
}

faults contains [id, "provenance.private"] if {
	count(private) > 0
	some id in planted
	id in carrying
	data.handrail.manifest.changes[id]
}

faults contains [id, "provenance.link"] if {
	some argument in data.handrail.manifest.arguments.content
	id := argument.step
	data.handrail.manifest.changes[id]
	some entries in traces[id]
	some entry in entries
	entry.role == "content"
	suspicious(entry)
}

# METADATA
# scope: document
# title: How the arguments of each step stand that nobody vouches for
unvouched contains [id, standing] if {
	some [role, argument] in sensitive
	id := argument.step
	some entries in traces[id]
	entries[0].role == role
	not vouched(id, entries)
	standing := standing_of(entries[0])
}

unvouched contains [id, "new"] if {
	some [role, argument] in sensitive
	is_string(argument.value)
	id := argument.step
	seen := told(id)
	not seen[role]
}

# METADATA
# title: The arguments that must be vouched for, each with its role
sensitive := [[role, argument] |
	some role in data.handrail.provenance.roles
	some argument in data.handrail.manifest.arguments[role]
]

# METADATA
# title: Steps with such an argument that nobody but untrusted results has ever mentioned
planted contains id if {
	some [id, standing] in unvouched
	standing == "untrusted"
	some entries in traces[id]
	entries[0].role in data.handrail.provenance.roles
	every entry in entries {
		standing_of(entry) == "untrusted"
	}
}

# METADATA
# title: The roles of which a step's provenance says anything
told(id) := {entries[0].role | some entries in traces[id]}

traces[step.id] := origins if {
	some step in input.steps
	origins := object.get(step, "provenance", {})
}

# METADATA
# scope: document
# title: Whether the first source of an argument may vouch for it, or a person approved it for as grave a call
vouched(_, entries) if entries[0].source in {"request", "operator"}

vouched(_, entries) if {
	entries[0].source == "result"
	entries[0].trust == "trusted"
	entries[0].match in {"exact", "normalised"}
}

vouched(id, entries) if {
	not carrying[id]
	some entry in entries
	entry.source == "approved"
	rank[data.handrail.manifest.side_effects[id]] <= rank[entry.side_effects]
}

rank := {"none": 0, "reversible": 1, "irreversible": 2, "external": 3}

standing_of(entry) := "untrusted" if {
	entry.source == "result"
	object.get(entry, "trust", "untrusted") != "trusted"
} else := "mentioned" if {
	entry.source == "result"
} else := "new"

# METADATA
# title: Steps that carry a content; what a person approved of such a call says nothing of another content
carrying contains id if {
	some argument in data.handrail.manifest.arguments.content
	id := argument.step
}

# METADATA
# scope: document
# title: Whether a link in a content may have been planted
suspicious(entry) if standing_of(entry) == "untrusted"

# A mention in a trusted text is none of the tool's: people name channels and documents.
suspicious(entry) if {
	standing_of(entry) == "mentioned"
	object.get(entry, "match", "contained") == "contained"
}

suspicious(entry) if {
	entry.source == "new"
	tainted
}

tainted if {
	some taint in ["taint", "principal_taint"]
	count(object.get(input, ["context", taint], [])) > 0
}

private := object.get(input, ["context", "private"], [])
