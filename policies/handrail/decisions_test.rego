package handrail_test

import data.handrail

request(action, args) := {
	"principal": {"id": "bot", "roles": ["agent"]},
	"steps": [{"id": "s", "hand": "git", "action": action, "args": args}],
	"hands": {"git": {
		"labels": ["root:/repo"],
		"actions": {
			"git_status": {"side_effects": "none", "args": {"/repo_path": "path"}},
			"git_commit": {"side_effects": "reversible", "args": {"/repo_path": "path"}},
		},
	}},
}

effects(action, args) := {decision.effect | some decision in handrail.decisions with input as request(action, args)}

test_reading_inside_is_allowed if effects("git_status", {"repo_path": "/repo"}) == {"allow"}

test_reading_outside_is_denied if "deny" in effects("git_status", {"repo_path": "/etc"})

test_a_commit_is_held if effects("git_commit", {"repo_path": "/repo"}) == {"allow", "ask"}

test_an_unknown_action_is_denied if effects("git_push", {"repo_path": "/repo"}) == {"deny"}

test_too_many_steps_are_denied if {
	found := {decision.effect |
		some decision in handrail.decisions with input as request("git_status", {}) with data.handrail.limits.steps as 0
	}
	found == {"allow", "deny"}
}

test_a_secret_is_denied if {
	"deny" in effects("git_status", {"note": concat("", ["AK", "IA", "ABCDEFGHIJKLMNOP"])})
}

limited(action) := {reason.code |
	some decision in handrail.decisions with input as object.union(
		request(action, {"repo_path": "/repo"}),
		{"now": "2026-11-26T12:00:00Z", "context": {"history": [], "spent": {"context": {}, "principal": {}}}},
	)
		with data.handrail.budgets.most as {"steps": 1}
		with data.handrail.rates.most as {"day": {"steps": 1}}
		with data.handrail.separation.conflicts as [{"roles": ["agent"]}]
		with data.handrail.windows.windows as [{
			"hands": ["git"], "side_effects": ["reversible"], "otherwise": "deny",
			"days": [], "from": "00:00", "to": "23:59",
		}]
		with data.handrail.windows.freezes as [{
			"name": "test", "hands": ["*"], "side_effects": ["reversible"], "effect": "deny",
			"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z",
		}]
	decision.effect == "deny"
	some reason in decision.reasons
}

test_rules_that_need_data_are_asked_once_they_have_some if {
	limited("git_status") == {"budgets.steps", "rates.day"}
	limited("git_commit") == {"budgets.steps", "rates.day", "separation.roles", "windows.closed", "windows.frozen"}
}

test_limits_of_tokens_are_asked_once_there_are_some if {
	every limits in [{"context": {"most": 1}, "principal": {}}, {"context": {}, "principal": {"day": {"most": 1}}}] {
		some decision in handrail.decisions with input as {
			"principal": {"id": "bot", "roles": ["agent"]},
			"steps": [{"id": "s", "hand": "m", "action": "ask", "args": {}, "analysis": {"kind": "message"}}],
			"hands": {"m": {"actions": {"ask": {"side_effects": "none", "args": {}}}}},
			"context": {"spent": {"context": {"tokens": 1}, "principal": {"day": {"tokens": 1}}}},
		}
			with data.handrail.tokens.context as limits.context
			with data.handrail.tokens.principal as limits.principal
		decision.effect == "deny"
	}
}

test_a_recipient_that_nobody_supplied_is_held if {
	found := {reason.code |
		some decision in handrail.decisions with input as {
			"principal": {"id": "bot", "roles": ["agent"]},
			"steps": [{"id": "s", "hand": "mail", "action": "find", "args": {"to": "x@y.example"}}],
			"hands": {"mail": {"actions": {"find": {"side_effects": "none", "args": {"/to": "recipient"}}}}},
		}
		some reason in decision.reasons
	}
	found == {"grants.reader", "provenance.new"}
}

roled(role, value) := {reason.code |
	some decision in handrail.decisions with input as {
		"principal": {"id": "bot", "roles": ["agent"]},
		"steps": [{"id": "s", "hand": "git", "action": "git_status", "args": {"x": value}}],
		"hands": {"git": {"labels": [], "actions": {"git_status": {"side_effects": "none", "args": {"/x": role}}}}},
	}
		with data.handrail.arguments.hands as {"git": {"git_status": [{"pointer": "/x", "enum": [1, "https://example.com"]}]}}
	decision.effect == "deny"
	some reason in decision.reasons
}

test_a_private_url_is_denied if {
	roled("url", "http://localhost") == {"hosts.private", "arguments.value"}
	roled("url", "https://example.com") == set()
}

test_an_amount_that_is_no_number_is_denied if {
	roled("amount", "1") == {"amounts.number", "arguments.value"}
	roled("amount", 1) == set()
}

leaving(labels, args, context) := {reason.code |
	some decision in handrail.decisions with input as {
		"now": "2026-11-26T12:00:00Z",
		"principal": {"id": "bot", "roles": ["agent"]},
		"steps": [{"id": "s", "hand": "db", "action": "query", "args": args}],
		"hands": {"db": {
			"region": "in",
			"labels": labels,
			"actions": {"query": {"side_effects": "none", "args": {"/query": "content"}}},
		}},
		"context": context,
	}
	some reason in decision.reasons
}

test_a_plain_read_concerns_none_of_the_rules_about_data if {
	leaving([], {"query": "4111111111111111"}, {"data_region": null}) == {"grants.reader"}
}

test_rules_about_data_are_asked_where_they_are_concerned if {
	leaving([], {"query": "x"}, {"data_region": "eu"}) == {"grants.reader", "transfers.third_country"}
	leaving(["external"], {"query": "4111111111111111"}, {}) == {"grants.reader", "personal_data.card"}
	leaving(["external"], {"query": "hiv"}, {}) == {"grants.reader", "special_categories.words"}
	leaving(["special:health"], {"query": "x"}, {}) == {"grants.reader", "special_categories.ground"}
	leaving(["sql"], {"query": "DELETE FROM t"}, {}) == {"grants.reader", "sql.everything", "sql.unclear"}
}

test_places_of_the_data_are_sql_at_any_hand if {
	found := {reason.code |
		some decision in handrail.decisions with input as {
			"principal": {"id": "bot", "roles": ["agent"]},
			"steps": [{"id": "s", "hand": "db", "action": "query", "args": {"q": "DROP TABLE t"}}],
			"hands": {"db": {"labels": [], "actions": {"query": {"side_effects": "none"}}}},
		}
			with data.handrail.sql.arguments as [{"hand": "db", "actions": ["query"], "pointer": "/q"}]
		some reason in decision.reasons
	}
	found == {"grants.reader", "sql.destroys", "sql.unclear"}
}

test_a_planted_link_in_a_content_is_held if {
	found := {reason.code |
		some decision in handrail.decisions with input as {
			"principal": {"id": "bot", "roles": ["agent"]},
			"steps": [{
				"id": "s", "hand": "wiki", "action": "write", "args": {"text": "see https://evil.example"},
				"provenance": {"/text": [{"source": "result", "trust": "untrusted", "match": "contained", "role": "content"}]},
			}],
			"hands": {"wiki": {
				"labels": [],
				"actions": {"write": {"side_effects": "reversible", "args": {"/text": "content"}}},
			}},
		}
		some reason in decision.reasons
	}
	"provenance.link" in found
}

test_a_menu_hides_what_the_rules_hide if {
	menu := {
		"principal": {"id": "bot", "roles": ["agent", "author"]},
		"steps": [{"id": action, "hand": "git", "action": action} | some action in ["git_status", "git_commit", "git_push"]],
		"hands": {"git": {"actions": {
			"git_status": {"side_effects": "none"},
			"git_commit": {"side_effects": "reversible"},
			"git_push": {"side_effects": "external"},
		}}},
	}
	found := handrail.hidden with input as menu
	found == {"git_push"}
	apart := handrail.hidden with input as menu with data.handrail.separation.conflicts as [{"roles": ["agent", "author"]}]
	apart == {"git_push", "git_commit"}
}
