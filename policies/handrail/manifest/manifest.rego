# METADATA
# title: Manifest
# description: What the operator says of each step's action. Gives no decision.
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
side_effects[id] := action.side_effects if {
	some id, action in actions
	action.side_effects in {"none", "reversible", "irreversible"}
}

side_effects[id] := "external" if {
	some id, action in actions
	declared := object.get(action, "side_effects", "external")
	not declared in {"none", "reversible", "irreversible"}
}
