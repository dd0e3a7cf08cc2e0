# METADATA
# title: Manifest
# description: |
#   What the operator says of each step's action, computed once for every rule. Gives no decision. A rule looks here
#   first whether anything concerns it: a look-up of what is not there costs almost nothing.
package handrail.manifest

# METADATA
# title: The action of each step, by the step's id; a step of an unknown hand or action is not in it
actions[step.id] := action if {
	some step in input.steps
	action := input.hands[step.hand].actions[step.action]
}

# METADATA
# scope: document
# title: What each step's action changes; what is not declared, or is not a known word, counts as the worst
side_effects[id] := declared if {
	some id, action in actions
	declared := action.side_effects
	declared in {"none", "reversible", "irreversible"}
}

side_effects[id] := "external" if {
	some id, action in actions
	declared := object.get(action, "side_effects", "external")
	not declared in {"none", "reversible", "irreversible"}
}

# METADATA
# title: What is changed, by the steps whose actions change something; empty for a plan that only reads
changes[id] := kind if {
	some id, kind in side_effects
	kind != "none"
}

# METADATA
# title: The hands of this plan that bear each label
labelled[label] := bearers if {
	some label in {given | some details in input.hands; some given in details.labels}
	bearers := {hand | some hand, details in input.hands; label in details.labels}
}

# METADATA
# title: Every value in a place that the operator gave a role, by role
arguments[role] contains argument if {
	some step in input.steps
	some pointer, role in actions[step.id].args
	some value in values(step.args, pointer)
	argument := {"step": step.id, "hand": step.hand, "action": step.action, "pointer": pointer, "value": value}
}

# METADATA
# scope: document
# title: Steps whose arguments leave the organisation
# description: Their effect is external, or their hand bears the label "external" (others' service, that is only read).
outward contains id if {
	some id, kind in changes
	kind == "external"
}

outward contains step.id if {
	hands := labelled.external
	some step in input.steps
	step.hand in hands
}

# METADATA
# title: The values in a place of the arguments
# description: |
#   `pointer` is a JSON pointer, `*` in it any item of an array. A place of plain member names is looked up; any other
#   is searched level by level. What is deeper than 6 levels cannot be searched: it is a value that no rule accepts.
values(args, pointer) := [value] if {
	not contains(pointer, "~")
	not contains(pointer, "*")

	# What stands before the first slash names the whole.
	value := object.get({"": args}, split(pointer, "/"), absent)
	value != absent
} else := [] if {
	plain_and_flat(pointer)
} else := search([args], array.slice(segments, 1, count(segments))) if {
	segments := split(pointer, "/")
}

# No value of a JSON text equals a set.
absent := {"absent"}

# What such a pointer names was looked up, so it is not there.
plain_and_flat(pointer) if {
	count(split(pointer, "/")) == 2
	not pointer == "/*"
	not contains(pointer, "~")
}

search(places, segments) := below(places, segments[0]) if {
	count(segments) == 1
} else := below(below(places, segments[0]), segments[1]) if {
	count(segments) == 2
} else := below(below(below(places, segments[0]), segments[1]), segments[2]) if {
	count(segments) == 3
} else := below(search_three(places, segments), segments[3]) if {
	count(segments) == 4
} else := below(below(search_three(places, segments), segments[3]), segments[4]) if {
	count(segments) == 5
} else := below(below(below(search_three(places, segments), segments[3]), segments[4]), segments[5]) if {
	count(segments) == 6
} else := [absent]

search_three(places, segments) := below(below(below(places, segments[0]), segments[1]), segments[2])

# METADATA
# title: What a segment of a pointer names in each of some places
below(places, segment) := [value |
	some place in places
	some value in named(place, segment)
]

# Where a pointer leads on and the arguments do not, what is there is judged as it is: a text where a list was expected
# must not go unseen.
named(place, segment) := place if {
	is_array(place)
	segment == "*"
} else := items if {
	is_array(place)
	trim(segment, "0123456789") == ""
	items := [value | some index, value in place; sprintf("%v", [index]) == segment]
} else := [value] if {
	is_object(place)
	segment != "*"
	value := object.get(place, replace(replace(segment, "~1", "/"), "~0", "~"), absent)
	value != absent
} else := [] if {
	is_object(place)
	segment != "*"
} else := [] if {
	is_null(place)
} else := [place]
