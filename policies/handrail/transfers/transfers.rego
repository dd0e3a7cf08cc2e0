# METADATA
# title: Residency and transfers
# description: |
#   Where data may go. It is silent until the setting policy.data_region says where data lives; from then on a hand must
#   say its region (handrail.toml). The same area passes, and so does one with an adequacy decision in "adequate" of
#   data.json. Else a label of the hand must name a safeguard, or what "otherwise" says follows. The lists are a help
#   and no legal advice: they say when they were checked, and against what. Hold them against the European
#   Commission's own list before you rely on them: a decision may have been repealed, annulled or narrowed since.
# custom:
#   severity: high
#   controls: ["gdpr:44-49", "soc2:CC6.7", "iso:27001:A.5.14"]
package handrail.transfers

# METADATA
# title: Data would leave the area that it lives in
decisions contains decision if {
	home := area(input.context.data_region)
	some hand, details in input.hands
	code := verdict(home, object.get(details, "region", null), object.get(details, "labels", []))
	code != "transfers.fine"
	some step in input.steps
	step.hand == hand
	decision := {"step": step.id, "effect": object.get(effects, code, "deny"), "reasons": [{
		"code": code,
		"message": complaints[code],
	}]}
}

# METADATA
# title: What follows; a word that is not known denies
effects := {
	"transfers.unknown": strictness,
	"transfers.third_country": strictness,
	"transfers.expired": strictness,
	"transfers.condition": strictness,
	"transfers.derogation": "ask",
}

default strictness := "deny"

strictness := "ask" if data.handrail.transfers.otherwise == "ask"

complaints := {
	"transfers.unknown": "Nobody says in which region this hand keeps data.",
	"transfers.third_country": "Data would leave its area without an adequacy decision or a safeguard.",
	"transfers.expired": "The adequacy decision for the area of this hand has ended.",
	"transfers.condition": "The adequacy decision for the area of this hand has a condition that no label says is met.",
	"transfers.derogation": "Data would leave its area on a ground that a person must look at.",
}

# METADATA
# title: What stands against a region, or "transfers.fine"; a safeguard that a label names comes first
verdict(home, region, labels) := "transfers.fine" if {
	area(region) == home
} else := "transfers.fine" if {
	some label in labels
	data.handrail.transfers.safeguards[label].effect == "allow"
} else := "transfers.derogation" if {
	some label in labels
	data.handrail.transfers.safeguards[label].effect == "ask"
} else := "transfers.unknown" if {
	not is_string(region)
} else := verdict_on_decision(object.get(data.handrail.transfers.adequate, [home, area(region)], {}), labels)

# METADATA
# title: What stands against relying on an adequacy decision
verdict_on_decision(line, labels) := "transfers.third_country" if {
	line == {}
} else := "transfers.expired" if {
	until := line.until
	not today_is_before(until)
} else := "transfers.condition" if {
	label := line.needs
	not label in labels
} else := "transfers.fine"

today_is_before(date) if {
	is_string(input.now)
	regex.match(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T`, input.now)
	substring(input.now, 0, 10) < date
}

# METADATA
# title: The area of a region; a word that nobody listed is an area of its own
area(region) := object.get(data.handrail.transfers.regions, lower(region), upper(region)) if is_string(region)
