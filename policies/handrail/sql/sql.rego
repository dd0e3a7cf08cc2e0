# METADATA
# title: Destructive SQL
# description: |
#   SQL that an agent wrote: arguments with the role "content" of hands labelled "sql" (handrail.toml), and the places
#   that "arguments" of data.json names. One statement that is understood passes; what destroys is denied; what is not
#   understood is held for a person, or denied ("otherwise"), and so is an action of such a hand whose arguments have no
#   roles. It reads words and not the database: a view, a function or a trigger may still do harm.
# custom:
#   severity: critical
#   controls: ["soc2:CC6.1", "soc2:CC8.1", "gdpr:32", "iso:27001:A.8.3"]
package handrail.sql

# METADATA
# title: A statement destroys, or is not understood
decisions contains decision if {
	some [id, value] in statements
	some code in verdicts(value)
	decision := {"step": id, "effect": object.get(effects, code, "deny"), "reasons": [{
		"code": code,
		"message": messages[code],
	}]}
}

# METADATA
# title: Nobody said which arguments of an SQL hand's action are SQL
decisions contains decision if {
	hands := data.handrail.manifest.labelled.sql
	some step in input.steps
	step.hand in hands
	step.args != {}
	object.get(data.handrail.manifest.actions[step.id], "args", {}) == {}
	decision := {"step": step.id, "effect": effects["sql.unmarked"], "reasons": [{
		"code": "sql.unmarked",
		"message": messages["sql.unmarked"],
	}]}
}

effects := {
	"sql.destroys": "deny",
	"sql.everything": "deny",
	"sql.many": "deny",
	"sql.not_text": "deny",
	"sql.function": "deny",
	"sql.unclear": strictness,
	"sql.unmarked": strictness,
}

default strictness := "deny"

strictness := "ask" if data.handrail.sql.otherwise == "ask"

messages := {
	"sql.destroys": "This statement removes or redefines what is stored, or who may reach it.",
	"sql.everything": "This statement changes every row: it has no condition.",
	"sql.many": "Only one statement may be given at a time.",
	"sql.not_text": "A statement must be a text.",
	"sql.function": "This statement calls a function that reaches outside of the tables.",
	"sql.unclear": "This statement is not plain enough to be judged without a person.",
	"sql.unmarked": "Nobody said which arguments of this action are SQL.",
}

# METADATA
# scope: document
# title: Everything that is SQL
statements contains statement if {
	hands := data.handrail.manifest.labelled.sql
	some argument in data.handrail.manifest.arguments.content
	argument.hand in hands
	statement := [argument.step, argument.value]
}

statements contains statement if {
	some place in data.handrail.sql.arguments
	some step in input.steps
	step.hand == place.hand
	some action in place.actions
	action in {"*", step.action}
	some value in data.handrail.manifest.values(step.args, place.pointer)
	statement := [step.id, value]
}

# METADATA
# scope: document
# title: What is to be said against a statement
verdicts(value) := {"sql.not_text"} if {
	not is_string(value)
} else := codes if {
	opaque := hidden(value)
	words := separate(opaque)
	codes := {code |
		some [code, found] in [
			["sql.unclear", doubtful(value, opaque)],
			["sql.unclear", unknown(words)],
			["sql.unclear", unsure_of_rows(words)],
			["sql.everything", without_condition(words)],
			["sql.many", contains(words, " ; ")],
			["sql.destroys", holds_any(words, data.handrail.sql.destroys)],
			["sql.function", holds_any(words, data.handrail.sql.functions)],
		]
		found == true
	}
}

# METADATA
# title: A statement with one sign in place of each quoted text and name, found from left to right
hidden(value) := regex.replace(value, `'(?:[^']|'')*'|"(?:[^"]|"")*"|\x60[^\x60]*\x60`, "\u0001")

# METADATA
# title: The words and signs of a statement in capitals, a space around each, without a semicolon at the end
separate(opaque) := concat("", [" ", trim_suffix(trim_space(plain), " ;"), " "]) if {
	apart := regex.replace(upper(opaque), `([^0-9A-Z_ ])`, " $1 ")
	spaced := regex.replace(apart, `[ \t\r\n]+`, " ")
	plain := regex.replace(spaced, ` (?:FOR|DO|KEY) UPDATE(?: |$)`, " UPSERT ")
}

# METADATA
# title: Whether quotes, comments and characters leave a doubt about where words begin and end
doubtful(value, opaque) if {
	trim(opaque, plain_characters) != ""
} else if {
	some sign in ["--", "/*", "*/"]
	contains(opaque, sign)
} else if {
	some sign in ["\\", "\u0001"]
	contains(value, sign)
} else if {
	regex.match(`[0-9A-Za-z_&]\x01`, opaque)
} else := false

# Neither quotes, which are gone where they come in pairs, nor brackets, "#" and "$", which quote or comment somewhere.
plain_characters := " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_\t\r\n!%&()*+,-./:;<=>?@^|~\u0001"

# METADATA
# title: Whether a statement begins with a word that is not understood, or writes elsewhere while it reads
unknown(words) if {
	first := split(words, " ")[1]
	count([word | some word in data.handrail.sql.understood; word == first]) == 0
} else if {
	not startswith(words, " INSERT INTO ")
	contains(words, " INTO ")
} else if {
	count(split(words, " INTO ")) > 2
} else := false

# METADATA
# title: Whether rows are changed or removed without any condition
without_condition(words) if {
	changes_rows(words)
	not contains(words, " WHERE ")
} else := false

changes_rows(words) if contains(words, " DELETE ")

changes_rows(words) if contains(words, " UPDATE ")

# METADATA
# title: Whether it is unsure which rows are changed, because the condition is more than columns that equal values
unsure_of_rows(words) if {
	changes_rows(words)
	not sure_of_rows(words)
} else := false

sure_of_rows(words) if {
	regex.match(`^ (?:DELETE FROM|UPDATE) `, words)
	count(split(words, " DELETE ")) + count(split(words, " UPDATE ")) == 3
	parts := split(words, " WHERE ")
	count(parts) == 2
	conditions := split(parts[1], " AND ")
	every condition in conditions {
		column_equals_value(trim_space(condition))
	}
}

column_equals_value(condition) if {
	sides := split(condition, " = ")
	count(sides) == 2
	regex.match(`^[A-Z_][0-9A-Z_]*(?: \. [A-Z_][0-9A-Z_]*)*$`, sides[0])
	regex.match(`^(?:\x01|(?:- )?[0-9]+(?: \. [0-9]+)?|\?|: [A-Z_][0-9A-Z_]*|% S)$`, sides[1])
	column := sides[0]
	not column in {"TRUE", "FALSE", "NULL", "NOT", "ALL", "ANY"}
}

holds_any(words, listed) if {
	some word in listed
	contains(words, concat("", [" ", word, " "]))
} else := false
