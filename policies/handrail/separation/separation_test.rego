package handrail.separation_test

import data.handrail.separation

pair := {"first": {"hand": "erp", "actions": ["enter"]}, "second": {"hand": "erp", "actions": ["release", "pay"]}}

request(actions, context) := {
	"principal": {"id": "bot", "roles": ["agent", "author"]},
	"steps": [{"id": action, "hand": "erp", "action": action, "args": {}} | some action in actions],
	"hands": {"erp": {"actions": {
		"read": {"side_effects": "none"},
		"enter": {"side_effects": "reversible"},
		"release": {"side_effects": "irreversible"},
		"pay": {"side_effects": "external"},
	}}},
	"context": context,
}

by(conflict, actions, history) := {[decision.step, decision.effect, reason.code] |
	some decision in separation.decisions with input as request(actions, {"history": history})
		with data.handrail.separation.conflicts as [conflict]
	some reason in decision.reasons
}

outcome(actions, history) := by(pair, actions, history)

past(action, effect, status) := {"hand": "erp", "action": action, "effect": effect, "status": status, "seconds_ago": 9}

entered := past("enter", "allow", "succeeded")

test_the_second_act_of_who_did_the_first if {
	outcome(["release"], [entered]) == {["release", "deny", "separation.conflict"]}
	outcome(["pay"], [past("read", "allow", "succeeded"), entered]) == {["pay", "deny", "separation.conflict"]}
}

test_the_second_act_of_who_did_not if outcome(["release"], [past("read", "allow", "succeeded")]) == set()

test_the_first_act_after_the_second if outcome(["enter"], [past("pay", "allow", "succeeded")]) == set()

test_both_ways if {
	found := by(object.union(pair, {"both_ways": true}), ["enter"], [past("pay", "allow", "succeeded")])
	found == {["enter", "deny", "separation.conflict"]}
}

test_both_acts_in_one_round if {
	outcome(["enter", "release"], []) == {["release", "deny", "separation.conflict"]}
	by(object.union(pair, {"both_ways": true}), ["enter", "release"], []) == {
		["enter", "deny", "separation.conflict"],
		["release", "deny", "separation.conflict"],
	}
}

test_an_act_that_may_have_happened_counts if {
	every status in ["running", "held", "failed", "ambiguous", "released", "succeeded", null] {
		outcome(["release"], [past("enter", "ask", status)]) == {["release", "deny", "separation.conflict"]}
	}
	outcome(["release"], [{"hand": "erp", "action": "enter"}]) == {["release", "deny", "separation.conflict"]}
}

test_an_act_that_surely_did_not_happen_does_not_count if {
	every status in ["denied", "expired", "skipped", "cancelled"] {
		outcome(["release"], [past("enter", "ask", status)]) == set()
	}
	outcome(["release"], [past("enter", "deny", "denied")]) == set()
}

test_one_act_kept_apart_from_itself_is_done_once if {
	once := {"first": {"hand": "erp", "actions": ["pay"]}, "second": {"hand": "erp", "actions": ["pay"]}}
	by(once, ["pay"], []) == set()
	by(once, ["pay"], [past("pay", "allow", "succeeded")]) == {["pay", "deny", "separation.conflict"]}
}

test_every_action_of_a_hand if {
	wide := {"first": {"hand": "erp", "actions": ["*"]}, "second": {"hand": "bank", "actions": ["*"]}, "both_ways": true}
	by(wide, ["read"], [{"hand": "bank", "action": "x"}]) == {["read", "deny", "separation.conflict"]}
	by(wide, ["read"], [{"hand": "post", "action": "x"}]) == set()
}

test_a_first_act_pushed_out_of_the_history_by_reads if {
	full := [past("read", "allow", "succeeded") | some _ in numbers.range(1, 64)]
	outcome(["release"], full) == {["release", "ask", "separation.forgotten"]}
	outcome(["read"], full) == set()
}

test_a_history_that_cannot_be_read if {
	every context in [{}, {"history": null}, {"history": "none"}, {"history": {}}] {
		found := {reason.code |
			some decision in separation.decisions with input as request(["release"], context)
				with data.handrail.separation.conflicts as [pair]
			some reason in decision.reasons
		}
		found == {"separation.unreadable"}
	}
}

test_roles_that_are_kept_apart if {
	both := {"roles": ["agent", "author"]}
	by(both, ["read", "enter"], []) == {["enter", "deny", "separation.roles"]}
	by({"roles": ["agent", "approver"]}, ["enter"], []) == set()
}

test_changes_by_roles_that_are_kept_apart_are_hidden if {
	found := separation.hidden with input as request(["read", "enter"], {})
		with data.handrail.separation.conflicts as [pair, {"roles": ["agent", "author"]}]
	found == {"enter"}
}
