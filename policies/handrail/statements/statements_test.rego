package handrail.statements_test

import data.handrail.statements

said(analysis) := {reason.code |
	some decision in statements.decisions with input as {"steps": [
		{"id": "s", "hand": "db", "action": "query", "args": {}, "analysis": object.union({"kind": "sql"}, analysis)},
		{"id": "t", "hand": "git", "action": "git_log", "args": {}},
	]}
		with data.handrail.statements.tables as {"db": {"read": ["public.users"], "update": ["public.users"]}}
		with data.handrail.statements.hidden as {"db": ["public.users.email"]}
		with data.handrail.statements.keyed as {"db": {"public.users": ["id"]}}
	decision.effect == "deny"
	decision.step == "s"
	some reason in decision.reasons
}

change(verb, where, equals) := {"verb": verb, "table": "public.users", "where": where, "equals": equals, "columns": []}

analysis(reads, columns, changes) := {"reads": reads, "columns": columns, "changes": changes}

test_what_is_listed_passes if {
	said(analysis(["public.users"], ["public.users.id"], [change("update", true, ["id"])])) == set()
}

test_another_table_is_denied if said(analysis(["public.secrets"], [], [])) == {"statements.table"}

test_another_change_is_denied if {
	said(analysis([], [], [change("delete", true, ["id"])])) == {"statements.change"}
	said(analysis([], [], [change("insert", null, [])])) == {"statements.change"}
}

test_a_change_without_a_condition_is_denied if {
	said(analysis([], [], [change("update", false, [])])) == {"statements.everything", "statements.keyed"}
	said(analysis([], [], [change("update", "yes", ["id"])])) == {"statements.everything"}
}

test_a_change_of_rows_that_are_not_named_by_their_key_is_denied if {
	said(analysis([], [], [change("update", true, ["name"])])) == {"statements.keyed"}
}

test_a_hidden_column_is_denied_and_so_is_every_column if {
	said(analysis([], ["public.users.email"], [])) == {"statements.hidden"}
	said(analysis([], ["public.users.*"], [])) == {"statements.hidden"}
	said(analysis([], ["public.USERS.Email"], [])) == {"statements.hidden"}
}

test_without_data_only_a_change_of_everything_is_denied if {
	found := {reason.code |
		some decision in statements.decisions with input as {"steps": [{
			"id": "s", "hand": "db", "action": "a", "args": {},
			"analysis": {"kind": "sql", "reads": ["x.y"], "columns": ["x.y.*"], "changes": [change("delete", false, [])]},
		}]}
		some reason in decision.reasons
	}
	found == {"statements.everything"}
}

test_another_kind_of_analysis_is_no_statement if {
	count(statements.decisions) == 0 with input as {"steps": [{"id": "s", "hand": "db", "analysis": {"kind": "other"}}]}
}

test_the_gateway_is_told if {
	some decision in data.handrail.decisions with input as {
		"principal": {"id": "bot", "roles": ["agent"]},
		"steps": [{
			"id": "s", "hand": "db", "action": "a", "args": {},
			"analysis": {"kind": "sql", "reads": [], "columns": [], "changes": [change("delete", false, [])]},
		}],
		"hands": {"db": {"labels": [], "actions": {"a": {"side_effects": "irreversible", "args": {}}}}},
	}
	decision.reasons[0].code == "statements.everything"
}
