package handrail.sql_test

import data.handrail.sql

request(statement) := {
	"steps": [
		{"id": "s", "hand": "db", "action": "query", "args": {"query": statement, "note": "Call me."}},
		{"id": "t", "hand": "mail", "action": "send", "args": {"body": "DROP TABLE x"}},
	],
	"hands": {
		"db": {"labels": ["sql"], "actions": {"query": {"args": {"/query": "content"}}}},
		"mail": {"labels": [], "actions": {"send": {"args": {"/body": "content"}}}},
	},
}

outcome(statement) := {[decision.effect, reason.code] |
	some decision in sql.decisions with input as request(statement)
	some reason in decision.reasons
}

denied(statement) if {
	some ["deny", _] in outcome(statement)
}

asked(statement) if outcome(statement) == {["ask", "sql.unclear"]}

test_reading if {
	every statement in [
		"SELECT 1",
		"select * from t where name = 'O''Brien' and x <> 'a;b--c/*d' order by 1 limit 5;",
		"SELECT \"drop\", \u0060delete\u0060 FROM t",
		"WITH a AS (SELECT 1) SELECT a.x, count(*) FROM a JOIN b ON a.id = b.id WHERE a.y > 1.5",
		"SELECT updated_at, deleted, drop_off FROM t",
		"EXPLAIN SELECT 1",
		"SELECT 'M\u00fcller 😀'",
		"SELECT x FROM t FOR UPDATE",
		"VALUES (1), (2)",
		"SELECT a->b FROM t WHERE c = %s AND d = :d",
	] {
		outcome(statement) == set()
	}
}

test_writing_that_is_understood if {
	every statement in [
		"INSERT INTO t (a, b) VALUES ('x', 1)",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2",
		"INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE b = 2",
		"UPDATE t SET a = 'x' WHERE id = 5",
		"update s.t set a = a + 1 where s.t.id = ? and kind = 'y';",
		"DELETE FROM t WHERE id = '7'",
		"DELETE FROM t WHERE id = -1.5",
	] {
		outcome(statement) == set()
	}
}

test_what_destroys if {
	every statement in [
		"DROP TABLE t",
		"drop table t",
		"DrOp\tTaBlE\nt",
		"DROP/**/TABLE t",
		"/*!50000 DROP*/ TABLE t",
		"SELECT 1; DROP TABLE t",
		"SELECT 1;DROP TABLE t;--",
		"TRUNCATE t",
		"EXPLAIN ANALYZE TRUNCATE t",
		"ALTER TABLE t DROP COLUMN a",
		"GRANT ALL ON t TO PUBLIC",
		"WITH x AS (SELECT 1) DROP TABLE t",
		"(DROP TABLE t)",
		"\"a'b\"; DROP TABLE x; \"c'd\"",
		"CREATE RULE r AS ON SELECT TO t DO INSTEAD DROP TABLE t",
		"SELECT 1 WHERE 1=1;\u00a0DROP TABLE t",
	] {
		denied(statement)
	}
}

test_every_row_at_once if {
	every statement in [
		"DELETE FROM t",
		"delete from t;",
		"DELETE\nFROM t",
		"UPDATE t SET a = 1",
		"UPDATE t SET a = 'WHERE id = 1'",
		"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
		"EXPLAIN ANALYZE DELETE FROM t",
	] {
		denied(statement)
	}
}

test_a_comment_is_no_condition if {
	every statement in [
		"DELETE FROM t -- WHERE id = 1",
		"DELETE FROM t /* WHERE id = 1 */",
		"DELETE FROM t # WHERE id = 1",
	] {
		not outcome(statement) == set()
	}
}

test_conditions_that_hold_everywhere_are_asked_about if {
	every statement in [
		"DELETE FROM t WHERE 1=1",
		"DELETE FROM t WHERE true",
		"DELETE FROM t WHERE TRUE = 1",
		"DELETE FROM t WHERE id = id",
		"DELETE FROM t WHERE id = 1 OR 1=1",
		"DELETE FROM t WHERE 'a' = 'a'",
		"UPDATE t SET a = 1 WHERE id IS NOT NULL",
		"UPDATE t SET a = 1 WHERE id > 0",
		"UPDATE t SET a = (SELECT 1 WHERE id = 1)",
		"DELETE FROM t WHERE id = 1 AND 1",
		"DELETE FROM t WHERE id IN (SELECT id FROM t)",
		"WITH x AS (SELECT 1) DELETE FROM t WHERE id = 1",
	] {
		asked(statement)
	}
}

test_what_is_not_understood_is_asked_about if {
	every statement in [
		"",
		";",
		"CREATE TABLE t (a int)",
		"CALL cleanup()",
		"EXEC sp_who",
		"DO $$ BEGIN NULL; END $$",
		"PRAGMA writable_schema = 1",
		"SET ROLE admin",
		"MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DO NOTHING",
		"COPY t TO STDOUT",
		"SELECT * INTO copied FROM t",
		"SELECT 1 -- a comment",
		"SELECT 1 /* a comment */",
		"SELECT 1 # a comment",
		"SELECT [a] FROM t",
		"SELECT '\\' FROM t",
		"SELECT E'a'",
		"SELECT q'(')' FROM t",
		"SELECT 'open FROM t",
		"SELECT \uff11",
		"\uff33ELECT 1",
		"SEL\u200bECT 1",
		"SELECT a\u0001b",
		"SELECT \u0000",
		"INSERT INTO t SELECT 1 INTO x",
	] {
		not outcome(statement) == set()
	}
}

test_quotes_that_hide_a_statement_are_seen if {
	every statement in [
		"SELECT q'(')' ; DROP TABLE x; SELECT q'(')'",
		"SELECT [a'b]; DROP TABLE x; SELECT [c'd]",
		"SELECT $$ ' $$; DROP TABLE x; SELECT $$ ' $$",
		"SELECT 1 -- it's\n; DROP TABLE x; --'",
		"SELECT '\\'; DROP TABLE x; SELECT '\\'",
	] {
		not outcome(statement) == set()
	}
}

test_several_statements if {
	["deny", "sql.many"] in outcome("SELECT 1; SELECT 2")
	["deny", "sql.many"] in outcome("SELECT 1;;SELECT 2")
	outcome("SELECT ';'") == set()
}

test_functions_that_reach_outside if {
	every statement in [
		"SELECT pg_read_file('/etc/passwd')",
		"SELECT pg_catalog.pg_read_file('/etc/passwd')",
		"SELECT LOAD_FILE ('/etc/passwd')",
		"SELECT a FROM t INTO OUTFILE '/tmp/x'",
		"SELECT * FROM dblink('host=x','select 1') AS t(a int)",
	] {
		["deny", "sql.function"] in outcome(statement)
	}
}

test_what_is_no_text if {
	every value in [null, 1, true, ["SELECT 1"], {"sql": "SELECT 1"}] {
		outcome(value) == {["deny", "sql.not_text"]}
	}
}

test_otherwise_may_deny if {
	found := {decision.effect |
		some decision in sql.decisions with input as request("CREATE TABLE t (a int)")
			with data.handrail.sql.otherwise as "deny"
	}
	found == {"deny"}
}

test_places_of_the_data if {
	found := {decision.step |
		some decision in sql.decisions with input as request("SELECT 1")
			with data.handrail.sql.arguments as [{"hand": "mail", "actions": ["*"], "pointer": "/body"}]
	}
	found == {"t"}
}

unmarked(args, roles) := {[decision.effect, reason.code] |
	some decision in sql.decisions with input as {
		"steps": [{"id": "s", "hand": "db", "action": "query", "args": args}],
		"hands": {"db": {"labels": ["sql"], "actions": {"query": {"args": roles}}}},
	}
	some reason in decision.reasons
}

test_an_action_whose_arguments_nobody_marked if {
	unmarked({"query": "SELECT 1"}, {}) == {["ask", "sql.unmarked"]}
	unmarked({"query": "wipe"}, {}) == {["ask", "sql.unmarked"]}
	unmarked({}, {}) == set()
	unmarked({"limit": 5, "all": true, "after": null}, {}) == set()
}

test_roles_that_are_not_content_do_not_hide_a_statement if {
	unmarked({"query": "DROP TABLE x", "limit": 5}, {"/limit": "amount"}) == {["ask", "sql.unmarked"]}
	unmarked({"query": "DROP TABLE x"}, {"/query": "resource"}) == {["ask", "sql.unmarked"]}
	unmarked({"query": "SHUTDOWN"}, {"/query": "resource"}) == {["ask", "sql.unmarked"]}
	unmarked({"query": "begin"}, {"/query": "resource"}) == {["ask", "sql.unmarked"]}
	unmarked({"table": "t;DROP"}, {"/table": "resource"}) == {["ask", "sql.unmarked"]}
	unmarked({"table": "t", "more": "x"}, {"/table": "resource"}) == {["ask", "sql.unmarked"]}
}

test_a_name_with_a_role_is_no_statement if {
	unmarked({"table": "t"}, {"/table": "resource"}) == set()
	unmarked({"table": "public.users_2", "limit": 5}, {"/table": "resource"}) == set()
	unmarked({"tables": ["a", "b"]}, {"/tables/*": "resource"}) == set()
}

test_a_role_of_a_place_that_is_empty_does_not_hide_a_statement if {
	unmarked({"sql": "DROP TABLE x"}, {"/query": "content"}) == {["ask", "sql.unmarked"]}
	unmarked({"sql": {"text": ["DROP TABLE x"]}}, {"/query": "content"}) == {["ask", "sql.unmarked"]}
	unmarked({"a": {"b": {"c": {"d": {"e": "x"}}}}}, {"/query": "content"}) == {["ask", "sql.unmarked"]}
}

test_beside_a_statement_only_what_begins_as_one_is_asked_about if {
	every text in [
		"DROP TABLE x",
		" select\n1",
		"(SELECT 1)",
		"/**/delete/**/from t",
		"insert  into t",
		";UPDATE t",
		"\u00c9DROP x",
		"/* x */ DROP TABLE t",
		"-- x\nDROP TABLE t",
		"COPY t TO PROGRAM 'sh -c id'",
		"ATTACH 'x' AS y",
		"EXPLAIN ANALYZE DELETE FROM t",
		"DO $$BEGIN END$$",
		"BEGIN; DROP TABLE t",
	] {
		unmarked({"query": "SELECT 1", "then": text}, {"/query": "content"}) == {["ask", "sql.unmarked"]}
	}
	every text in ["", "Ann", "A longer note.", "updated", "5 selected", "O'Brien", "insert coin", "Do call"] {
		unmarked({"query": "SELECT 1", "then": [text]}, {"/query": "content"}) == set()
	}
}

test_a_long_statement_is_not_read if {
	found := outcome("SELECT 1") with data.handrail.sql.longest as 5
	found == {["ask", "sql.unclear"]}
}

test_messages_do_not_repeat_the_statement if {
	messages := {reason.message |
		some decision in sql.decisions with input as request("DROP TABLE secret_name")
		some reason in decision.reasons
	}
	count(messages) == 2
	every message in messages {
		not contains(message, "secret_name")
	}
}
