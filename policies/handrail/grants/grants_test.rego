package handrail.grants_test

import data.handrail.grants

table := [
	{"roles": ["agent"], "hand": "git", "actions": ["commit"]},
	{"principals": ["alice"], "hand": "git", "actions": ["*"], "external": true},
]

request(principal, action) := {
	"tenant": "acme",
	"environment": "production",
	"plan": {"purpose": "billing"},
	"principal": principal,
	"steps": [{"id": "s", "hand": "git", "action": action, "args": {}}],
	"hands": {"git": {"actions": {
		"status": {"side_effects": "none"},
		"commit": {"side_effects": "reversible"},
		"reset": {"side_effects": "irreversible"},
		"push": {"side_effects": "external"},
	}}},
}

outcome(principal, action) := by(table, principal, action)

by(rows, principal, action) := {[decision.effect, reason.code] |
	some decision in grants.decisions with input as request(principal, action)
		with data.handrail.grants.table as rows
		with data.handrail.grants.readers as ["agent"]
		with data.handrail.grants.scopes as {
			"history": [{"hand": "git", "actions": ["commit", "reset"]}, {"hand": "files", "actions": ["*"]}],
			"everything": [{"hand": "git", "actions": ["*"]}],
		}
	some reason in decision.reasons
}

agent := {"id": "bot", "roles": ["agent"]}

stranger := {"id": "nobody", "roles": []}

alice := {"id": "alice", "roles": []}

granted := {["allow", "grants.granted"]}

missing := {["deny", "grants.missing"]}

test_a_reader_may_read if outcome(agent, "status") == {["allow", "grants.reader"]}

test_a_stranger_may_not_read if outcome(stranger, "status") == missing

test_a_role_in_the_table_may if outcome(agent, "commit") == granted

test_an_action_outside_of_the_table_may_not if outcome(agent, "push") == missing

test_a_principal_in_the_table_may_all if outcome(alice, "push") == granted

test_an_unknown_action_is_denied if outcome(agent, "erase") == {["deny", "grants.unknown"]}

test_a_name_in_other_letters_is_another_name if {
	by(table, agent, "Commit") == {["deny", "grants.unknown"]}
	outcome({"id": "Alice", "roles": []}, "push") == missing
	outcome({"id": "alice ", "roles": []}, "push") == missing
	outcome({"id": "x", "roles": ["Agent", "agent ", "*"]}, "commit") == missing
}

test_a_principal_of_another_shape_is_nobody if {
	every principal in [{}, {"id": null, "roles": []}, {"id": ["alice"]}, {"roles": [["agent"], {"agent": 1}]}] {
		outcome(principal, "commit") == missing
	}
}

test_a_scope_covers_its_actions if {
	rows := [{"roles": ["agent"], "scopes": ["history"]}]
	by(rows, agent, "commit") == granted
	by(rows, agent, "reset") == granted
	by(rows, agent, "push") == missing
	by(rows, stranger, "commit") == missing
}

test_a_scope_may_cover_every_action_of_a_hand if {
	by([{"roles": ["agent"], "scopes": ["everything"]}], agent, "push") == granted
}

test_a_scope_that_nobody_defined_covers_nothing if {
	by([{"roles": ["agent"], "scopes": ["histroy"]}], agent, "commit") == missing
}

limited(only) := by([{"roles": ["agent"], "hand": "git", "actions": ["*"], "only": only}], agent, "commit")

test_only_in_a_tenant if {
	limited({"tenants": ["acme"]}) == granted
	limited({"tenants": ["other"]}) == missing
}

test_only_in_an_environment if {
	limited({"environments": ["staging", "production"]}) == granted
	limited({"environments": ["staging"]}) == missing
}

test_only_for_a_purpose if {
	limited({"purposes": ["billing"]}) == granted
	limited({"purposes": ["marketing"]}) == missing
}

test_every_limit_must_hold if {
	limited({"tenants": ["acme"], "purposes": ["marketing"]}) == missing
	limited({"tenants": []}) == missing
	limited({}) == granted
}

test_a_plan_without_a_purpose_has_none_of_them if {
	found := {reason.code |
		some decision in grants.decisions with input as object.union(request(agent, "commit"), {"plan": {"purpose": null}})
			with data.handrail.grants.table as [{
				"roles": ["agent"], "hand": "git", "actions": ["*"],
				"only": {"purposes": ["billing"]},
			}]
		some reason in decision.reasons
	}
	found == {"grants.missing"}
}

test_a_limit_that_the_rule_does_not_know_never_holds if limited({"weekdays": ["Monday"]}) == missing

test_an_external_grant_is_told_apart if {
	found := grants.external with input as request(alice, "push") with data.handrail.grants.table as table
	found == {"s"}
}

test_an_ordinary_grant_is_not_external if {
	found := grants.external with input as request(agent, "commit") with data.handrail.grants.table as table
	found == set()
}

unattended(row, action) := found if {
	found := grants.unattended with input as request(agent, action)
		with data.handrail.grants.table as [object.union({"roles": ["agent"], "hand": "git", "actions": ["*"]}, row)]
}

test_without_the_word_a_person_is_needed if {
	unattended({}, "commit") == set()
	unattended({"unattended": false}, "commit") == set()
	unattended({"unattended": "true"}, "commit") == set()
	unattended({"external": true}, "push") == set()
}

test_unattended_is_said_of_what_stays_at_home if {
	unattended({"unattended": true}, "commit") == {"s"}
	unattended({"unattended": true}, "reset") == {"s"}
}

test_unattended_alone_lets_nothing_leave if unattended({"unattended": true}, "push") == set()

test_unattended_and_external_in_one_line if unattended({"unattended": true, "external": true}, "push") == {"s"}

test_two_lines_that_say_one_each_do_not_add_up if {
	found := grants.unattended with input as request(agent, "push")
		with data.handrail.grants.table as [
			{"roles": ["agent"], "hand": "git", "actions": ["*"], "external": true},
			{"roles": ["agent"], "hand": "git", "actions": ["*"], "unattended": true},
		]
	found == set()
}

test_without_a_table_nothing_is_granted if {
	some decision in grants.decisions with input as request(agent, "commit") with data.handrail.grants.table as []
	decision.effect == "deny"
}

# --- what is hidden from lists ---

hidden(rows, principal) := found if {
	steps := [{"id": action, "hand": "git", "action": action} | some action in ["status", "commit", "push", "erase"]]
	menu := object.remove(request(principal, "status"), ["plan"])
	found := grants.hidden with input as object.union(menu, {"steps": steps})
		with data.handrail.grants.table as rows
		with data.handrail.grants.readers as ["agent"]
}

test_what_no_line_covers_is_hidden if {
	hidden(table, agent) == {"push", "erase"}
	hidden(table, alice) == {"erase"}
	hidden(table, stranger) == {"status", "commit", "push", "erase"}
}

push_only(only) := hidden([{"roles": ["agent"], "hand": "git", "actions": ["push"], "only": only}], agent)

test_what_a_line_covers_for_some_purpose_is_not_hidden if {
	not "push" in push_only({"purposes": ["billing"]})
	not "push" in push_only({"purposes": ["x"], "tenants": ["acme"]})
	"push" in push_only({"purposes": []})
}

test_what_a_line_covers_elsewhere_alone_is_hidden if {
	"push" in push_only({"tenants": ["other"]})
	"push" in push_only({"environments": ["staging"], "purposes": ["billing"]})
	"push" in push_only({"weekdays": ["Monday"]})
}

test_lines_say_what_may_happen_for_some_purpose if {
	line := {"roles": ["agent"], "hand": "git", "actions": ["*"], "only": {"purposes": ["x"]}}
	rows := [object.union(line, {"external": true}), object.union(line, {"unattended": true})]
	external := grants.possibly_external with input as request(agent, "push") with data.handrail.grants.table as rows
	external == {"s"}
	alone := grants.possibly_unattended with input as request(agent, "push") with data.handrail.grants.table as rows
	alone == set()
	both := [object.union(line, {"external": true, "unattended": true})]
	found := grants.possibly_unattended with input as request(agent, "push") with data.handrail.grants.table as both
	found == {"s"}
}
