# METADATA
# title: Special categories of personal data
# description: |
#   Data on health, religion and the like (GDPR 9). A hand that holds such data bears a label "special:CATEGORY"
#   (handrail.toml), and each of its steps needs a line in "grounds" of data.json that names the category, the roles and
#   the purposes of a plan that it is for, and the paragraph of GDPR 9 that it rests on; without one it is denied.
#   Arguments that leave the organisation are searched for the "words" of each category.
# custom:
#   severity: critical
#   controls: ["gdpr:9", "gdpr:5(1)(b)", "ccpa:1798.121", "iso:27001:A.5.34"]
package handrail.special_categories

# METADATA
# title: A hand holds data of a special category, and there is no ground to use it
decisions contains decision if {
	some label, hands in data.handrail.manifest.labelled
	startswith(label, "special:")
	category := trim_prefix(label, "special:")
	some step in input.steps
	step.hand in hands
	count([ground | some ground in data.handrail.special_categories.grounds; covers(ground, category, step.hand)]) == 0
	decision := {"step": step.id, "effect": "deny", "reasons": [{
		"code": "special_categories.ground",
		"message": sprintf("This hand holds data of a special category (%v), and no ground covers you.", [category]),
	}]}
}

# METADATA
# title: Arguments that leave the organisation speak of a special category
decisions contains decision if {
	some id, text in data.handrail.outward.texts
	some category in mentioned(text)
	decision := {"step": id, "effect": data.handrail.special_categories.effect, "reasons": [{
		"code": "special_categories.words",
		"message": sprintf("An argument that leaves the organisation seems to speak of %v.", [category]),
	}]}
}

# METADATA
# title: Whether a ground is about a category at a hand, and for this principal and this plan
covers(ground, category, hand) if {
	ground.category == category
	input.plan.purpose in ground.purposes
	some listed in ground.hands
	listed in {"*", hand}
	some role in input.principal.roles
	role in ground.roles
}

# METADATA
# title: The categories of which a text holds a word; a word that ends in "*" stands for all that begin with it
mentioned(text) := {category |
	words := concat("", [" ", separate(lower(text)), " "])
	some category, listed in data.handrail.special_categories.words
	some word in listed
	contains(words, trim_suffix(word, "*"))
	contains(words, needle(word))
}

# METADATA
# title: The words of a text in lower case, with a space between them
separate(text) := regex.replace(text, `[\x00-\x2f\x3a-\x60\x7b-\x7f]+`, " ") if {
	data.handrail.outward.ascii(text)
} else := regex.replace(text, `[^\p{L}\p{N}]+`, " ")

needle(word) := concat("", [" ", trim_suffix(word, "*")]) if {
	endswith(word, "*")
} else := concat("", [" ", word, " "])
