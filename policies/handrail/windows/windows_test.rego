package handrail.windows_test

import data.handrail.windows

changes := ["reversible", "irreversible", "external"]

office := {
	"hands": ["erp"],
	"side_effects": changes,
	"otherwise": "deny",
	"days": ["Monday", "Tuesday"],
	"from": "08:00",
	"to": "18:00",
}

night := object.union(office, {"from": "22:00", "to": "04:00", "days": ["Friday"]})

request(now) := {
	"now": now,
	"environment": "production",
	"steps": [
		{"id": "book", "hand": "erp", "action": "book", "args": {}},
		{"id": "read", "hand": "erp", "action": "read", "args": {}},
		{"id": "post", "hand": "post", "action": "send", "args": {}},
	],
	"hands": {
		"erp": {"actions": {"book": {"side_effects": "reversible"}, "read": {"side_effects": "none"}}},
		"post": {"actions": {"send": {"side_effects": "external"}}},
	},
}

by(lines, freezes, now) := {[decision.step, decision.effect, reason.code] |
	some decision in windows.decisions with input as request(now)
		with data.handrail.windows.windows as lines
		with data.handrail.windows.freezes as freezes
	some reason in decision.reasons
}

closed := {["book", "deny", "windows.closed"]}

# 2026-11-23 is a Monday.
test_inside_a_window if {
	every now in ["2026-11-23T08:00:00Z", "2026-11-24T17:59:59Z"] {
		by([office], [], now) == set()
	}
}

test_outside_of_a_window if {
	every now in [
		"2026-11-23T07:59:59Z",
		"2026-11-23T18:00:00Z",
		"2026-11-22T12:00:00Z",
		"2026-11-25T12:00:00Z",
		"2026-11-23T00:00:00Z",
	] {
		by([office], [], now) == closed
	}
}

# 2026-11-27 is a Friday.
test_a_window_over_midnight if {
	every now in ["2026-11-27T22:00:00Z", "2026-11-27T23:59:59Z", "2026-11-28T00:00:00Z", "2026-11-28T03:59:59Z"] {
		by([night], [], now) == set()
	}
	every now in ["2026-11-27T03:00:00Z", "2026-11-28T04:00:00Z", "2026-11-28T22:00:00Z", "2026-11-27T21:59:59Z"] {
		by([night], [], now) == closed
	}
}

test_any_open_window_is_enough if by([office, night], [], "2026-11-27T23:00:00Z") == set()

test_until_the_end_of_a_day if {
	by([object.union(office, {"to": "24:00"})], [], "2026-11-23T23:59:59Z") == set()
}

test_a_window_without_time_is_never_open if {
	by([object.union(office, {"to": "08:00"})], [], "2026-11-23T08:00:00Z") == closed
}

test_a_window_may_ask_instead if {
	found := by([object.union(office, {"otherwise": "ask"})], [], "2026-11-22T12:00:00Z")
	found == {["book", "ask", "windows.closed"]}
}

test_a_window_of_every_hand if {
	by([object.union(office, {"hands": ["*"]})], [], "2026-11-22T12:00:00Z") == {
		["book", "deny", "windows.closed"],
		["post", "deny", "windows.closed"],
	}
}

test_a_window_of_other_changes_or_places if {
	by([object.union(office, {"side_effects": ["irreversible"]})], [], "2026-11-22T12:00:00Z") == set()
	by([object.union(office, {"environments": ["staging"]})], [], "2026-11-22T12:00:00Z") == set()
	by([object.union(office, {"environments": ["production"]})], [], "2026-11-22T12:00:00Z") == closed
}

freeze := {
	"name": "end of the year",
	"hands": ["*"],
	"side_effects": ["reversible"],
	"effect": "deny",
	"from": "2026-12-20T00:00:00Z",
	"to": "2027-01-03T00:00:00Z",
}

test_a_freeze_while_it_lasts if {
	every now in ["2026-12-20T00:00:00Z", "2026-12-31T12:00:00Z", "2027-01-02T23:59:59Z"] {
		by([], [freeze], now) == {["book", "deny", "windows.frozen"]}
	}
	every now in ["2026-12-19T23:59:59Z", "2027-01-03T00:00:00Z"] {
		by([], [freeze], now) == set()
	}
}

test_a_freeze_counts_inside_a_window_too if {
	by([office], [object.union(freeze, {"effect": "ask"})], "2026-12-21T12:00:00Z") == {["book", "ask", "windows.frozen"]}
}

test_a_time_that_cannot_be_read if {
	every now in [
		null,
		0,
		1700000000,
		"",
		"2026-11-23",
		"2026-11-23T12:00:00+05:00",
		"2026-11-23T12:00:00.5Z",
		"2026-11-23t12:00:00z",
	] {
		["book", "deny", "windows.clock"] in by([office], [], now)
		["book", "deny", "windows.clock"] in by([], [freeze], now)
	}
}

test_without_a_time_nothing_is_open if {
	found := {reason.code |
		some decision in windows.decisions with input as object.remove(request("x"), ["now"])
			with data.handrail.windows.windows as [office]
		some reason in decision.reasons
	}
	found == {"windows.clock", "windows.closed"}
}

test_without_lines_no_time_is_needed if by([], [], null) == set()
