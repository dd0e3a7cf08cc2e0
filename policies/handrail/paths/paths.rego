# METADATA
# title: Paths
# description: |
#   An argument with the role "path" must be one plain absolute path inside a root of its hand. Roots are the hand's
#   labels "root:/directory" (handrail.toml), and "directories" in data.json, by hand. Pointers that data.json lists as
#   "relative" for a hand may hold relative paths, which the tool resolves inside a root by itself. Links are the jail's
#   business: it binds nothing but the roots.
# custom:
#   severity: critical
#   controls: ["SOC2 CC6.1", "ISO27001 A.8.3", "GDPR 25"]
package handrail.paths

# METADATA
# title: A path argument must be one plain path inside a root of its hand
decisions contains decision if {
	some argument in arguments
	code := fault(argument)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": code,
		"message": sprintf("The argument %s %s.", [argument.pointer, complaints[code]]),
	}]}
}

# METADATA
# title: What is wrong with a path argument; undefined where nothing is
fault(argument) := "paths.not_text" if {
	value := argument.value
	not is_string(value)
} else := "paths.characters" if {
	ambiguous(argument.value)
} else := "paths.not_normal" if {
	closed := concat("", ["/", trim_prefix(argument.value, "/"), "/"])
	some part in ["//", "/./", "/../"]
	contains(closed, part)
} else := "paths.relative" if {
	value := argument.value
	not startswith(value, "/")
	hand := argument.hand
	pointer := argument.pointer
	not resolved_by_tool(hand, pointer)
} else := "paths.outside" if {
	value := argument.value
	startswith(value, "/")
	hand := argument.hand
	not inside(hand, value)
}

# METADATA
# title: Whether a text holds a character that some program reads as something else than a part of a name
ambiguous(value) if {
	encoded := urlquery.encode(value)
	encoded != replace(value, "/", "%2F")

	# Control characters, "%", "\\" and delete, as they are written in a URL.
	some mark in ["%0", "%1", "%25", "%5C", "%7F"]
	contains(encoded, mark)
}

complaints := {
	"paths.not_text": "must be a path",
	"paths.characters": "holds an escape, a backslash or a control character",
	"paths.not_normal": "is not a path in its plain form",
	"paths.relative": "must be an absolute path",
	"paths.outside": "lies outside of what the hand may touch",
}

# METADATA
# scope: document
# title: Every value in a place that the operator gave the role "path"
arguments contains argument if {
	some step in input.steps
	some pointer, role in data.handrail.manifest.actions[step.id].args
	role == "path"
	value := direct(step.args, pointer)
	value != absent
	argument := {"step": step.id, "hand": step.hand, "pointer": pointer, "value": value}
}

arguments contains argument if {
	some step in input.steps
	some pointer, role in data.handrail.manifest.actions[step.id].args
	role == "path"
	direct(step.args, pointer) == absent
	segments := split(trim_prefix(pointer, "/"), "/")
	walk(step.args, [place, value])
	leads_to(segments, place)
	argument := {"step": step.id, "hand": step.hand, "pointer": pointer, "value": value}
}

# METADATA
# title: What stands where a pointer of plain member names says; else `absent`, and the arguments are searched
direct(args, pointer) := object.get(args, split(trim_prefix(pointer, "/"), "/"), absent) if {
	not contains(pointer, "~")
} else := absent

absent := {"absent": true}

# METADATA
# title: Whether the segments of a pointer name a place
leads_to(segments, place) if {
	count(place) == count(segments)
	every index, segment in segments {
		names(segment, place[index])
	}
}

# METADATA
# scope: document
# title: Whether a segment of a pointer names a member or an item
names("*", key) if is_number(key)

names(segment, key) if {
	is_string(key)
	replace(replace(segment, "~1", "/"), "~0", "~") == key
}

names(segment, key) if {
	is_number(key)
	sprintf("%v", [key]) == segment
}

resolved_by_tool(hand, pointer) if pointer in data.handrail.paths.relative[hand]

# METADATA
# title: Whether a path is a root of the hand or below one
inside(hand, path) if {
	some root in roots[hand]
	startswith(concat("", [path, "/"]), root)
}

# METADATA
# title: The directories that each hand may touch, with one slash at the end; the root of the machine is none
roots[hand] := listed if {
	some hand, details in input.hands
	labelled := [trim_prefix(label, "root:") | some label in details.labels; startswith(label, "root:/")]
	configured := object.get(data.handrail.paths.directories, hand, [])
	listed := [concat("", [root, "/"]) |
		some directory in array.concat(labelled, configured)
		root := trim_right(directory, "/")
		root != ""
	]
}
