# METADATA
# title: Paths
# description: |
#   An argument with the role "path" must be one plain absolute path inside a root of its hand. Roots are the hand's
#   labels "root:/directory" (handrail.toml), and "directories" in data.json, by hand. Pointers that data.json lists as
#   "relative" for a hand may hold relative paths, which the tool resolves inside a root by itself. Links are the jail's
#   business: it binds nothing but the roots.
# custom:
#   severity: critical
#   controls: ["soc2:CC6.1", "iso:27001:A.8.3", "gdpr:25"]
package handrail.paths

# METADATA
# title: A path argument must be one plain path inside a root of its hand
decisions contains decision if {
	some argument in data.handrail.manifest.arguments.path
	code := fault(argument)
	decision := {"step": argument.step, "effect": "deny", "reasons": [{
		"code": code,
		"message": sprintf("The argument %v %v.", [argument.pointer, complaints[code]]),
	}]}
}

# METADATA
# title: What is wrong with a path argument; undefined where nothing is
fault(argument) := "paths.not_text" if {
	value := argument.value
	not is_string(value)
} else := flaw(argument, concat("", ["/", trim_prefix(argument.value, "/"), "/"]))

# METADATA
# title: What is wrong with a path; `closed` is it between two slashes
flaw(argument, closed) := "paths.characters" if {
	trim(closed, plain) != ""
	regex.match(`[\x00-\x1f%\\\x7f]`, closed)
} else := "paths.not_normal" if {
	contains(replace(replace(closed, "/./", "//"), "/../", "//"), "//")
} else := "paths.outside" if {
	startswith(argument.value, "/")
	listed := roots[argument.hand]
	not strings.any_prefix_match(closed, listed)
} else := "paths.relative" if {
	value := argument.value
	not startswith(value, "/")
	hand := argument.hand
	pointer := argument.pointer
	not resolved_by_tool(hand, pointer)
}

# Of what most paths are made, so that few of them have to be matched against a pattern, which costs as much as all else
# here together.
plain := "/._-+=,:@ abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

complaints := {
	"paths.not_text": "must be a path",
	"paths.characters": "holds an escape, a backslash or a control character",
	"paths.not_normal": "is not a path in its plain form",
	"paths.relative": "must be an absolute path",
	"paths.outside": "lies outside of what the hand may touch",
}

resolved_by_tool(hand, pointer) if pointer in data.handrail.paths.relative[hand]

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
