package handrail.special_categories_test

import data.handrail.special_categories

ground := {
	"category": "health",
	"basis": "9(2)(h)",
	"hands": ["clinic"],
	"roles": ["agent"],
	"purposes": ["treatment"],
}

request(roles, purpose) := {
	"principal": {"id": "bot", "roles": roles},
	"plan": {"purpose": purpose},
	"steps": [
		{"id": "s", "hand": "clinic", "action": "read", "args": {}},
		{"id": "t", "hand": "files", "action": "read", "args": {"text": "HIV"}},
	],
	"hands": {
		"clinic": {"labels": ["special:health"], "actions": {"read": {"side_effects": "none"}}},
		"files": {"labels": ["blue"], "actions": {"read": {"side_effects": "none"}}},
	},
}

outcome(roles, purpose, grounds) := {[decision.step, decision.effect, reason.code] |
	some decision in special_categories.decisions with input as request(roles, purpose)
		with data.handrail.special_categories.grounds as grounds
	some reason in decision.reasons
}

denied := {["s", "deny", "special_categories.ground"]}

test_without_a_ground_it_is_denied if outcome(["agent"], "treatment", []) == denied

test_with_a_ground if {
	outcome(["agent"], "treatment", [ground]) == set()
	outcome(["agent"], "treatment", [object.union(ground, {"hands": ["*"]})]) == set()
}

test_a_ground_for_others if {
	outcome(["author"], "treatment", [ground]) == denied
	outcome([], "treatment", [ground]) == denied
	outcome(["agent"], "marketing", [ground]) == denied
	outcome(["agent"], null, [ground]) == denied
	outcome(["agent"], "treatment", [object.union(ground, {"category": "religion"})]) == denied
	outcome(["agent"], "treatment", [object.union(ground, {"hands": ["files"]})]) == denied
}

words(text) := {[decision.effect, reason.code] |
	some decision in special_categories.decisions with input as {
		"steps": [{"id": "s", "hand": "mail", "action": "send", "args": {"body": text}}],
		"hands": {"mail": {"labels": [], "actions": {"send": {}}}},
	}
	some reason in decision.reasons
}

found := {["ask", "special_categories.words"]}

test_words_that_leave_the_organisation if {
	every text in [
		"The patient is HIV positive.",
		"hiv",
		"(HIV)",
		"H\u200bIV status",
		"ＨＩＶ",
		"Her DIAGNOSIS came on Monday",
		"She is pregnant.",
		"Er ist Mitglied der Gewerkschaft",
		"his\nsexual  orientation",
		"sexual-orientation: unknown",
		"Voir le dossier\u00a0médical — merci",
	] {
		words(text) == found
	}
}

test_words_that_only_hold_such_a_word if {
	every text in ["archive the hive", "shivering", "predisposed", "A union of two sets", "The church is old."] {
		words(text) == set()
	}
}

test_what_stays_at_home_is_not_searched if outcome(["agent"], "x", [object.union(ground, {"purposes": ["x"]})]) == set()

test_the_effect_is_data if {
	effects := {decision.effect |
		some decision in special_categories.decisions with input as {
			"steps": [{"id": "s", "hand": "mail", "action": "send", "args": {"body": "hiv"}}],
			"hands": {"mail": {"labels": [], "actions": {"send": {}}}},
		}
			with data.handrail.special_categories.effect as "deny"
	}
	effects == {"deny"}
}
