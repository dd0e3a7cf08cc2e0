# METADATA
# title: Statements
# description: |
#   What the sql adapter says that a statement does ("analysis" of a step), and not its text. A change of rows without a
#   condition is denied. Where "tables" of data.json names a hand, its statements read and change the tables that are
#   listed there and no others; the columns of "hidden" are not read, and neither is all of a table that has one. With
#   "keyed", an update or a delete has to name its rows by the columns that are listed for the table.
# custom:
#   severity: critical
#   controls: ["soc2:CC6.1", "soc2:CC8.1", "gdpr:32", "iso:27001:A.8.3"]
package handrail.statements

# METADATA
# title: A statement does what it may not
decisions contains decision if {
	some step in input.steps
	step.analysis.kind == "sql"
	some code in verdicts(step)
	decision := {"step": step.id, "effect": "deny", "reasons": [{"code": code, "message": messages[code]}]}
}

messages := {
	"statements.everything": "This statement changes every row of a table: it has no condition on a column.",
	"statements.table": "This statement reads a table that this hand's statements may not read.",
	"statements.change": "This statement changes a table in a way that this hand's statements may not.",
	"statements.hidden": "This statement may read a column that is not to be read.",
	"statements.keyed": "This statement does not name the rows that it changes by their key.",
}

# METADATA
# title: What is to be said against a step's statement
verdicts(step) := {code |
	some [code, found] in [
		["statements.everything", everything(step.analysis)],
		["statements.table", reads_other(step)],
		["statements.change", changes_other(step)],
		["statements.hidden", reads_hidden(step)],
		["statements.keyed", unkeyed(step)],
	]
	found
}

default everything(_) := false

everything(analysis) if {
	some change in analysis.changes
	change.verb in {"update", "delete"}
	object.get(change, "where", false) != true
}

default reads_other(_) := false

reads_other(step) if {
	listed := data.handrail.statements.tables[step.hand]
	permitted := object.get(listed, "read", [])
	some table in step.analysis.reads
	not table in permitted
}

default changes_other(_) := false

changes_other(step) if {
	listed := data.handrail.statements.tables[step.hand]
	some change in step.analysis.changes
	permitted := object.get(listed, object.get(change, "verb", ""), [])
	table := object.get(change, "table", "")
	not table in permitted
}

default reads_hidden(_) := false

reads_hidden(step) if {
	read := {lower(column) | some column in step.analysis.columns}
	some column in data.handrail.statements.hidden[step.hand]
	parts := split(lower(column), ".")
	some last in [parts[2], "*"]
	concat(".", [parts[0], parts[1], last]) in read
}

default unkeyed(_) := false

unkeyed(step) if {
	some table, columns in data.handrail.statements.keyed[step.hand]
	some change in step.analysis.changes
	lower(change.table) == lower(table)
	change.verb in {"update", "delete"}
	some column in columns
	equals := object.get(change, "equals", [])
	not column in equals
}
