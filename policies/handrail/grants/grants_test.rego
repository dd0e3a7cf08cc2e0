package handrail.grants_test

import data.handrail.grants

table := [
	{"roles": ["agent"], "hand": "git", "actions": ["commit"]},
	{"principals": ["alice"], "hand": "git", "actions": ["*"], "external": true},
]

request(principal, action) := {
	"principal": principal,
	"steps": [{"id": "s", "hand": "git", "action": action, "args": {}}],
	"hands": {"git": {"actions": {
		"status": {"side_effects": "none"},
		"commit": {"side_effects": "reversible"},
		"push": {"side_effects": "external"},
	}}},
}

outcome(principal, action) := {[decision.effect, reason.code] |
	some decision in grants.decisions with input as request(principal, action)
		with data.handrail.grants.table as table
		with data.handrail.grants.readers as ["agent"]
	some reason in decision.reasons
}

agent := {"id": "bot", "roles": ["agent"]}

stranger := {"id": "nobody", "roles": []}

alice := {"id": "alice", "roles": []}

test_a_reader_may_read if outcome(agent, "status") == {["allow", "grants.reader"]}

test_a_stranger_may_not_read if outcome(stranger, "status") == {["deny", "grants.missing"]}

test_a_role_in_the_table_may if outcome(agent, "commit") == {["allow", "grants.granted"]}

test_an_action_outside_of_the_table_may_not if outcome(agent, "push") == {["deny", "grants.missing"]}

test_a_principal_in_the_table_may_all if outcome(alice, "push") == {["allow", "grants.granted"]}

test_an_unknown_action_is_denied if outcome(agent, "erase") == {["deny", "grants.unknown"]}

test_an_external_grant_is_told_apart if {
	found := grants.external with input as request(alice, "push") with data.handrail.grants.table as table
	found == {"s"}
}

test_an_ordinary_grant_is_not_external if {
	found := grants.external with input as request(agent, "commit") with data.handrail.grants.table as table
	found == set()
}

test_without_a_table_nothing_is_granted if {
	some decision in grants.decisions with input as request(agent, "commit") with data.handrail.grants.table as []
	decision.effect == "deny"
}
