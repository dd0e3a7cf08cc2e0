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

import data.handrail.manifest

# METADATA
# title: A path argument is not a text
decisions contains decision if {
	some argument in arguments
	value := argument.value
	not is_string(value)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "paths.not_text",
		"message": sprintf("The argument %s must be a path.", [argument.pointer]),
	}]}
}

# METADATA
# title: A path holds a character that could be read as another path
decisions contains decision if {
	some argument in texts
	some character in ambiguous
	contains(argument.value, character)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "paths.characters",
		"message": sprintf("The path %s holds an escape, a backslash or a control character.", [argument.pointer]),
	}]}
}

# METADATA
# title: A path has empty segments, "." or ".."
decisions contains decision if {
	some argument in texts
	some segment in split(trim_prefix(argument.value, "/"), "/")
	segment in {"", ".", ".."}
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "paths.not_normal",
		"message": sprintf("The path %s is not written in its plain form.", [argument.pointer]),
	}]}
}

# METADATA
# title: A path is relative
decisions contains decision if {
	some argument in texts
	value := argument.value
	not startswith(value, "/")
	hand := argument.hand
	pointer := argument.pointer
	not resolved_by_tool(hand, pointer)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "paths.relative",
		"message": sprintf("The path %s must be absolute.", [pointer]),
	}]}
}

# METADATA
# title: A path lies outside of the hand's roots
decisions contains decision if {
	some argument in texts
	startswith(argument.value, "/")
	hand := argument.hand
	value := argument.value
	not inside(hand, value)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": "paths.outside",
		"message": sprintf("The path %s lies outside of what the hand %s may touch.", [argument.pointer, hand]),
	}]}
}

# METADATA
# title: Characters that no path needs and some program reads as something else
ambiguous := {
	"\\", "%", "\u007f",
	"\u0000", "\u0001", "\u0002", "\u0003", "\u0004", "\u0005", "\u0006", "\u0007",
	"\u0008", "\u0009", "\u000a", "\u000b", "\u000c", "\u000d", "\u000e", "\u000f",
	"\u0010", "\u0011", "\u0012", "\u0013", "\u0014", "\u0015", "\u0016", "\u0017",
	"\u0018", "\u0019", "\u001a", "\u001b", "\u001c", "\u001d", "\u001e", "\u001f",
}

# METADATA
# title: Every value in a place that the operator gave the role "path"
arguments contains argument if {
	some step in input.steps
	some pointer, role in manifest.actions[step.id].args
	role == "path"
	segments := split(trim_prefix(pointer, "/"), "/")
	walk(step.args, [place, value])
	leads_to(segments, place)
	argument := {"step": step.id, "hand": step.hand, "pointer": pointer, "value": value}
}

texts contains argument if {
	some argument in arguments
	is_string(argument.value)
}

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

inside(hand, path) if path in roots[hand]

inside(hand, path) if {
	some root in roots[hand]
	startswith(path, concat("", [root, "/"]))
}

# METADATA
# scope: document
# title: The directories that each hand may touch, without a slash at the end
roots[hand] contains root if {
	some hand, details in input.hands
	some label in details.labels
	startswith(label, "root:/")
	root := trim_right(trim_prefix(label, "root:"), "/")
	root != ""
}

roots[hand] contains root if {
	some hand, listed in data.handrail.paths.directories
	some directory in listed
	root := trim_right(directory, "/")
	root != ""
}
