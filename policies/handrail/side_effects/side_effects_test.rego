package handrail.side_effects_test

import data.handrail.side_effects

ask := {
	"reversible": {"approver_role": "approver", "quorum": 1},
	"external": {"approver_role": "approver", "quorum": 2},
}

outcome(kind, table) := {[decision.effect, reason.code] |
	some decision in side_effects.decisions with input as {
		"principal": {"id": "bot", "roles": ["agent"]},
		"steps": [{"id": "s", "hand": "h", "action": "a", "args": {}}],
		"hands": {"h": {"actions": {"a": {"side_effects": kind}}}},
	}
		with data.handrail.side_effects.ask as ask
		with data.handrail.grants.table as table
	some reason in decision.reasons
}

granted := [{"roles": ["agent"], "hand": "h", "actions": ["a"], "external": true}]

test_what_changes_nothing_needs_nobody if outcome("none", []) == set()

test_what_can_be_undone_is_held if outcome("reversible", []) == {["ask", "side_effects.approval"]}

test_without_an_approver_it_is_denied if outcome("irreversible", []) == {["deny", "side_effects.nobody"]}

test_external_is_denied if {
	outcome("external", []) == {["deny", "side_effects.external"], ["ask", "side_effects.approval"]}
}

test_external_with_a_grant_is_held if outcome("external", granted) == {["ask", "side_effects.approval"]}

test_an_unattended_grant_asks_nobody if {
	outcome("reversible", [{"roles": ["agent"], "hand": "h", "actions": ["a"], "unattended": true}]) == set()
	outcome("irreversible", [{"roles": ["agent"], "hand": "h", "actions": ["a"], "unattended": true}]) == set()
}

test_an_unattended_grant_alone_lets_nothing_leave if {
	unattended := [{"roles": ["agent"], "hand": "h", "actions": ["a"], "unattended": true}]
	outcome("external", unattended) == {["deny", "side_effects.external"], ["ask", "side_effects.approval"]}
}

test_an_unattended_external_grant_asks_nobody if {
	row := {"roles": ["agent"], "hand": "h", "actions": ["a"], "unattended": true, "external": true}
	outcome("external", [row]) == set()
}

caused(kind, principal) := {reason.code |
	some decision in side_effects.decisions with input as {
		"principal": principal,
		"steps": [{"id": "s", "hand": "h", "action": "a", "args": {}}],
		"hands": {"h": {"actions": {"a": {"side_effects": kind}}}},
	}
		with data.handrail.side_effects.ask as {kind: {"approver_role": "approver"}}
		with data.handrail.side_effects.roles as {"irreversible": ["operator"]}
	some reason in decision.reasons
}

test_a_kind_may_be_kept_to_some_roles if {
	caused("irreversible", {"id": "x", "roles": ["operator"]}) == {"side_effects.approval"}
	caused("irreversible", {"id": "x", "roles": ["agent"]}) == {"side_effects.approval", "side_effects.role"}
	caused("reversible", {"id": "x", "roles": ["agent"]}) == {"side_effects.approval"}
}

test_a_principal_without_roles_may_not if {
	every principal in [{}, {"id": "operator"}, {"roles": []}, {"roles": [["operator"]]}] {
		"side_effects.role" in caused("irreversible", principal)
	}
}

test_the_obligations_name_the_approver if {
	some decision in side_effects.decisions with input as {
		"steps": [{"id": "s", "hand": "h", "action": "a", "args": {}}],
		"hands": {"h": {"actions": {"a": {"side_effects": "reversible"}}}},
	}
		with data.handrail.side_effects.ask as ask
	decision.obligations == {"approver_role": "approver", "quorum": 1}
}

# --- what is hidden from lists ---

hidden(kind, line) if {
	found := side_effects.hidden with input as {
		"principal": {"id": "bot", "roles": ["agent"]},
		"steps": [{"id": "s", "hand": "h", "action": "a"}],
		"hands": {"h": {"actions": {"a": {"side_effects": kind}}}},
	}
		with data.handrail.side_effects.ask as ask
		with data.handrail.side_effects.roles as {"reversible": ["operator"]}
		with data.handrail.grants.table as [object.union({"roles": ["agent"], "hand": "h", "actions": ["a"]}, line)]
	found == {"s"}
}

test_reading_is_not_hidden if not hidden("none", {})

test_external_is_hidden_where_no_line_says_so_for_any_purpose if {
	hidden("external", {})
	hidden("external", {"external": true, "only": {"purposes": []}})
	not hidden("external", {"external": true})
	not hidden("external", {"external": true, "only": {"purposes": ["billing"]}})
}

test_what_none_of_the_roles_may_cause_is_hidden if hidden("reversible", {"unattended": true})

test_what_nobody_could_approve_is_hidden if {
	hidden("irreversible", {})
	not hidden("irreversible", {"unattended": true, "only": {"purposes": ["billing"]}})
}
