# METADATA
# title: Windows and freezes
# description: |
#   When something may be changed. A step that "windows" of data.json are about passes inside any of them; a step that a
#   freeze is about does not pass while it lasts. All times are UTC: days and clock times of windows, and the ends of
#   freezes, which are written with a Z.
# custom:
#   severity: medium
#   controls: ["soc2:CC8.1", "iso:27001:A.8.32"]
package handrail.windows

# METADATA
# title: No window for this change is open
decisions contains decision if {
	some id, windows in about
	count([window | some window in windows; open(window)]) == 0
	some window in windows
	decision := {"step": id, "effect": window.otherwise, "reasons": [{
		"code": "windows.closed",
		"message": sprintf("This may be changed %v from %v to %v UTC.", [concat(", ", window.days), window.from, window.to]),
	}]}
}

# METADATA
# title: Changes are frozen
decisions contains decision if {
	some freeze in data.handrail.windows.freezes
	some id in concerned(freeze)
	input.now >= freeze.from
	input.now < freeze.to
	decision := {"step": id, "effect": freeze.effect, "reasons": [{
		"code": "windows.frozen",
		"message": sprintf("Changes are frozen until %v (%v).", [freeze.to, freeze.name]),
	}]}
}

# METADATA
# title: The time cannot be read
decisions contains decision if {
	count(timed) > 0 # first: reading the time takes an engine longer than all else that is here
	not readable
	some id in timed
	decision := {"step": id, "effect": "deny", "reasons": [{
		"code": "windows.clock",
		"message": "The time cannot be read, so nothing may be changed that depends on it.",
	}]}
}

timed contains id if {
	some line in array.concat(data.handrail.windows.windows, data.handrail.windows.freezes)
	some id in concerned(line)
}

readable if {
	is_string(input.now)
	regex.match(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`, input.now)
}

# METADATA
# title: The windows that are about each step
about[id] contains window if {
	some window in data.handrail.windows.windows
	some id in concerned(window)
}

# METADATA
# title: The changes that a line of the data is about
concerned(line) := {step.id |
	some step in input.steps
	some hand in line.hands
	hand in {"*", step.hand}
	data.handrail.manifest.changes[step.id] in line.side_effects
	here(line)
}

# METADATA
# scope: document
# title: Whether a line of the data is about this environment
here(line) if not line.environments

here(line) if input.environment in line.environments

# METADATA
# scope: document
# title: Whether a window is open now; one that ends before it begins ends on the next day
open(window) if {
	readable
	clock := substring(input.now, 11, 5)
	window.from <= clock
	clock < window.to
	today in window.days
}

open(window) if {
	readable
	window.from > window.to
	window.from <= substring(input.now, 11, 5)
	today in window.days
}

open(window) if {
	readable
	window.from > window.to
	substring(input.now, 11, 5) < window.to
	before[today] in window.days
}

today := time.weekday(time.parse_rfc3339_ns(input.now)) if readable

before := {
	"Monday": "Sunday",
	"Tuesday": "Monday",
	"Wednesday": "Tuesday",
	"Thursday": "Wednesday",
	"Friday": "Thursday",
	"Saturday": "Friday",
	"Sunday": "Saturday",
}
