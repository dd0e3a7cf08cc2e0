# METADATA
# title: Destructive SQL
# description: |
#   SQL that an agent wrote: arguments with the role "content" of hands labelled "sql" (handrail.toml), and the places
#   that "arguments" of data.json names. What is plainly understood passes: one statement that reads with functions that
#   data.json knows, inserts rows, or changes those whose columns equal given values. What destroys is denied, and all
#   the rest is held for a person, or denied ("otherwise"); so is an action of such a hand none of whose texts is known
#   to be SQL. It reads words and not the database: a view, an operator or a trigger may still do harm.
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
# title: Nobody said that what may be SQL is SQL
decisions contains decision if {
	hands := data.handrail.manifest.labelled.sql
	some step in input.steps
	step.hand in hands
	unmarked(step)
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
# title: Whether a step that has texts, but none that is known to be SQL, has one that is more than a name
unmarked(step) if {
	read := {one | some [one, _] in statements}
	id := step.id
	not id in read
	some text in texts(step.args)
	plain := {one | some one in texts(step.args); plain_name(step, one)}
	not text in plain
}

# Beside what is read as SQL, what begins as SQL does.
unmarked(step) if {
	read := texts([value | some [id, value] in statements; id == step.id])
	some text in texts(step.args)
	not text in read

	# regal ignore:line-length
	regex.match(`^(?:[^0-9A-Z_]|/[*][^*]*[*]+/|-{2}[^\n]*\n)*(?:SELECT|WITH|(?:INSERT|REPLACE|MERGE)[ \t\r\n]+INTO|UPDATE|DELETE|DROP|TRUNCATE|ALTER|CREATE|GRANT|REVOKE|EXEC|EXECUTE|COPY|ATTACH|EXPLAIN|PRAGMA|VACUUM|LOAD[ \t\r\n]+DATA|DO[ \t\r\n]*[$']|BEGIN[ \t\r\n]*;)[^0-9A-Z_]`, upper(text))
}

# A text whose place has a role is plain where it is one word that begins no statement.
plain_name(step, text) if {
	regex.match(`^[0-9A-Za-z_.:/@-]*$`, text)
	first := concat("", regex.find_n(`^[A-Z_]+`, upper(text), 1))
	begins := object.get(data.handrail.sql.words, first, "name")
	not begins in {"DESTROYS", "REFUSED"}
	some arguments in data.handrail.manifest.arguments
	some argument in arguments
	[argument.step, argument.value] == [step.id, text]
}

# METADATA
# title: The texts in some arguments; what is deeper than four levels is a text of its own that no rule accepts
texts(args) := found if {
	one := inside([args])
	two := inside(one)
	three := inside(two)
	four := inside(three)
	deep := [" " | count(inside(four)) > 0]
	found := [text | some depth in [one, two, three, four, deep]; some text in depth; is_string(text)]
}

inside(places) := [part |
	some place in places
	type_name(place) in {"array", "object"}
	some part in place
]

# METADATA
# scope: document
# title: What is to be said against a statement
verdicts(value) := {"sql.not_text"} if {
	not is_string(value)
} else := {"sql.unclear"} if {
	count(value) > data.handrail.sql.longest
} else := codes if {
	said := kinds(value)
	codes := {code |
		some [code, found] in [
			["sql.unclear", unclear(value, said)],
			["sql.everything", without_condition(said)],
			["sql.many", contains(said, " ; ")],
			["sql.destroys", contains(said, " DESTROYS ")],
			["sql.function", regex.match(` OUTSIDE (?:\(|text|\.)`, said)],
		]
		found == true
	}
}

# METADATA
# title: The kinds of a statement's words and signs, a space around each, without a semicolon at the end
# description: |
#   What may be a part of an expression is in small letters (name, name" in quotes, number, zero, text, parameter,
#   constant), so that a pattern can say [a-z"]+ of it; words that mean something are themselves.
kinds(value) := concat("", [trim_suffix(joined, " ;"), " "]) if {
	# regal ignore:line-length
	words := regex.find_n(`[A-Za-z_][0-9A-Za-z_]*|[0-9]+(?:\.[0-9]+)?|'(?:[^']|'')*'|"(?:[^"]|"")*"|\x60[^\x60]*\x60|\?|::|[:$][0-9A-Za-z_]+|%s|%\([0-9A-Za-z_]+\)s|[(),.;]|[-+*/<>=!|%#]+`, value, -1)
	joined := concat(" ", array.concat([""], [kind(word) | some word in words]))
}

kind(word) := "constant" if {
	data.handrail.sql.words[upper(trim(word, "\"`"))] == "hidden"
} else := object.get({"keyword": upper(word)}, known, known) if {
	known := data.handrail.sql.words[upper(word)]
} else := "OUTSIDE" if {
	reaches_outside(upper(trim(word, "\"`")))
} else := "zero" if {
	trim(word, "0.") == ""
} else := "parameter" if {
	startswith(word, "%(")
} else := object.get(beginnings, substring(word, 0, 1), "name")

# METADATA
# title: What a word is by how it begins, where it is not in the data
beginnings := object.union_n([
	{character: "number" | some character in split("0123456789", "")},
	{character: "UNKNOWN" | some character in split("-+*/<>=!|%#", "")},
	{"'": "text", "\"": "name\"", "`": "name\"", ":": "parameter", "$": "parameter"},
])

# A function by its name alone is a name; in quotes or with a prefix it is one still.
reaches_outside(name) if strings.any_prefix_match(name, data.handrail.sql.prefixes)

reaches_outside(name) if data.handrail.sql.words[name] == "OUTSIDE"

# METADATA
# title: Whether rows are changed or removed without any condition
without_condition(said) if {
	changes := regex.replace(said, ` (?:FOR|DO|DUPLICATE name) UPDATE`, "")
	regex.match(` (?:DELETE|UPDATE) `, changes)
	not contains(changes, " WHERE ")
} else := false

# METADATA
# title: Whether a statement is anything else than what is understood
unclear(value, said) := false if {
	plainly_written(value)
	capitals := upper(value)
	not of_the_database(capitals)
	understood(simple(trim_suffix(said, " ")))
} else := true

# METADATA
# title: Whether it is sure where words and quoted texts begin and end, whatever the dialect
# description: |
#   Words, numbers, quoted texts and names, and parameters, with a space or a sign between any two of them. No comment,
#   backslash, dollar quote, bracket, or sign that some program takes for a quote.
plainly_written(value) if {
	# regal ignore:line-length
	regex.match(`^(?:[ \t\r\n(),.;*/+<>=|%-]|::|!=)*(?:(?:[A-Za-z_][0-9A-Za-z_]*|[0-9]+(?:\.[0-9]+)?|'(?:[^'\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{02b9}\x{02bc}\x{02c8}\x{2032}\x{ff07}]|'')*'|"[A-Za-z_][0-9A-Za-z_ ]*"|\x60[A-Za-z_][0-9A-Za-z_ ]*\x60|\?|:[A-Za-z_][0-9A-Za-z_]*|\$[1-9][0-9]?|%s|%\([A-Za-z_][0-9A-Za-z_]*\)s)(?:[ \t\r\n(),.;*/+<>=|%-]|::|!=)+)*$`, concat("", [value, " "]))
}

# METADATA
# title: Whether what a database keeps about itself is written to
of_the_database(value) if {
	# regal ignore:line-length
	regex.match(`^[ \t\r\n]*(?:INSERT[ \t\r\n]+INTO|UPDATE|DELETE[ \t\r\n]+FROM)[ \t\r\n]+(?:["\x60]?[0-9A-Z_]+["\x60]?[ \t\r\n]*\.[ \t\r\n]*)*["\x60]?(?:PG_|SQLITE_|(?:INFORMATION_SCHEMA|MASTER|MSDB|MYSQL|PERFORMANCE_SCHEMA|SYS)["\x60]?[ \t\r\n]*\.)`, value)
}

# METADATA
# title: The kinds in fewer spellings
# description: |
#   CALL is a function that is understood with its bracket, value an expression, PART the SELECT of one part of a query.
simple(said) := parts if {
	locked := regex.replace(said, ` (?:FOR UPDATE|RETURNING(?: \*|(?: ,)? name"?)+)$`, "")
	given := regex.replace(locked, ` (text|parameter|number) :: type(?: \( number(?: , number)? \))?`, " $1")
	cast := regex.replace(given, ` :: type(?: \( number(?: , number)? \))?`, " + zero")
	casts := regex.replace(cast, ` AS type(?: \( number(?: , number)? \))?`, " TYPED")
	typed := regex.replace(casts, ` type text`, " value")
	calls := regex.replace(typed, ` (?:function|type) \(`, " CALL")
	plain := regex.replace(calls, ` (?:function|type|OUTSIDE)`, " name")
	dotted := regex.replace(plain, ` name"?(?: \. name"?){1,2}`, " name")
	starred := regex.replace(dotted, ` name"? \. \*`, " *")
	qualified := regex.replace(starred, ` name"? \. constant`, " value")
	called := regex.replace(qualified, ` AS name"?`, "")
	ordered := regex.replace(called, ` (?:ASC|DESC)( |$)`, "$1")
	joined := regex.replace(ordered, `(?: NATURAL)?(?: INNER| CROSS| (?:LEFT|RIGHT|FULL)(?: OUTER)?)? JOIN`, " JOIN")
	using := regex.replace(joined, ` USING \( name"?(?: , name"?)* \)`, " ON value")
	upserts := regex.replace(using, ` DO UPDATE| DUPLICATE name UPDATE`, " UPSERT")
	listed := regex.replace(upserts, `^ INSERT INTO name"?(?: [(,] (?:name"?|constant))+ \)`, " INSERT INTO name")

	# regal ignore:line-length
	grouped := regex.replace(listed, `^( INSERT INTO name"?)?(?: EXPLAIN(?: ANALYZE)?)? ((?:SELECT|WITH) .*)$`, "$1 ( $2 )")
	heads := regex.replace(grouped, ` SELECT(?: ALL| DISTINCT)?`, " SELECT")
	firsts := regex.replace(heads, ` \( SELECT`, " ( PART")
	parts := regex.replace(firsts, ` (?:UNION|INTERSECT|EXCEPT|MINUS)(?: ALL| DISTINCT)? SELECT`, " PART")
}

# METADATA
# title: Whether a statement is one that is understood
understood(text) if {
	shorter(text) == " query"
} else if {
	regex.match(`^ (?:SHOW(?: FROM)?(?: name)+|DESCRIBE name)$`, text)
} else if {
	startswith(text, " VALUES (")
	regex.match(`^ VALUES value(?: , value)*$`, shorter(text))
} else if {
	startswith(text, " INSERT INTO ")
	rows := regex.replace(shorter(text), ` VALUES value(?: , value)*`, " VALUES")

	# regal ignore:line-length
	whole := regex.replace(rows, ` VALUES ON(?: CONFLICT(?: value)?)?(?: DO name| UPSERT(?: SET)? value(?: , value)*)$`, " VALUES")
	regex.match(`^ INSERT INTO name"?(?: query| VALUES)$`, whole)
} else if {
	[before, condition] := split(text, " WHERE ")
	regex.match(`^(?:(?:^|AND )name = (?:text|parameter|(?:- )?number)(?: |$))+$`, condition)
	regex.match(`^ (?:DELETE FROM name"?(?: name"?)?|UPDATE name"?(?: name"?)? SET value(?: , value)*)$`, shorter(before))
}

# METADATA
# title: A statement with a sign for each expression and each query in brackets, from within, six deep
shorter(text) := operated(operated(level(level(level(level(level(level(text))))))))

level(text) := text if {
	not contains(text, " )")
} else := queries if {
	calls := regex.replace(operated(text), ` CALL(?: DISTINCT)?(?: \*| [a-z"]+(?: (?:,|FROM) [a-z"]+)*)? \)`, " value")
	changed := regex.replace(calls, ` CAST \( [a-z"]+ TYPED \)`, " value")
	lists := regex.replace(changed, ` \( [a-z"]+(?: , [a-z"]+)* \)`, " value")

	# regal ignore:line-length
	windows := regex.replace(lists, ` OVER \((?: PARTITION BY [a-z"]+(?: , [a-z"]+)*)?(?: ORDER BY [a-z"]+(?: , [a-z"]+)*)? \)`, "")
	after := regex.replace(windows, ` \( WITH(?: name"? AS query ,)* name"? AS query SELECT`, " ( PART")

	# regal ignore:line-length
	queries := regex.replace(after, ` \((?: PART(?: TOP [a-z"]+)?(?: \*| [a-z"]+(?: name"?| TYPED)?)(?: ,(?: \*| [a-z"]+(?: name"?| TYPED)?))*(?: FROM (?:name"?|query)(?: name"?)?(?: (?:,|JOIN) (?:name"?|query)(?: name"?)?(?: ON [a-z"]+)?)*)?(?: (?:WHERE|HAVING|OFFSET) [a-z"]+| (?:GROUP BY|ORDER BY|LIMIT) [a-z"]+(?: , [a-z"]+)*)*)+ \)`, " query")
}

# METADATA
# title: A statement with one sign for what operators join, and for a choice
operated(text) := chosen if {
	# regal ignore:line-length
	chains := regex.replace(text, ` [a-z"]+(?: (?:NOT )?(?:OPERATOR|AND|[-+*=])(?: (?:NOT|EXISTS|ANY|[-+]))* [a-z"]+)+`, " value")
	signed := regex.replace(chains, `( (?:[A-Z]+|[(,=]))(?: (?:NOT|EXISTS|ANY|[-+]))+ [a-z"]+`, "$1 value")
	chosen := regex.replace(signed, ` CASE(?: [a-z"]+)?(?: WHEN [a-z"]+ THEN [a-z"]+)+(?: ELSE [a-z"]+)? END`, " value")
}
