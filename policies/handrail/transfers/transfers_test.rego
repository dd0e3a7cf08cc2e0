package handrail.transfers_test

import data.handrail.transfers

request(home, region, labels) := {
	"now": "2026-11-26T12:00:00Z",
	"steps": [{"id": "s", "hand": "h", "action": "read", "args": {}}, {"id": "t", "hand": "near", "action": "read"}],
	"hands": {"h": {"region": region, "labels": labels}, "near": {"region": home, "labels": []}},
	"context": {"data_region": home},
}

outcome(home, region, labels) := {[decision.step, decision.effect, reason.code] |
	some decision in transfers.decisions with input as request(home, region, labels)
	some reason in decision.reasons
}

third := {["s", "deny", "transfers.third_country"]}

test_the_same_area if {
	every region in ["eu", "EU", "de", "DE", "is", "no", "eu-central-1", "westeurope", "europe-west3"] {
		outcome("eu", region, []) == set()
	}
	outcome("mars", "Mars", []) == set()
	outcome("us-east-1", "us", []) == set()
}

test_a_region_that_is_called_european_and_is_not if {
	outcome("eu", "eu-west-2", []) == set()
	outcome("eu", "europe", []) == third
	outcome("eu", "eu ", []) == third
	outcome("eu", "eu-southeast-9", []) == third
}

test_an_adequate_country if {
	every region in ["ch", "jp", "GB", "uk", "br", "nz", "eu-central-2"] {
		outcome("de", region, []) == set()
	}
}

test_another_country if {
	every region in ["in", "cn", "ru", "moon", ""] {
		outcome("eu", region, []) == third
	}
}

test_a_decision_for_some_recipients if {
	outcome("eu", "us", []) == {["s", "deny", "transfers.condition"]}
	outcome("eu", "us-east-1", ["adequacy:dpf"]) == set()
	outcome("eu", "us", ["Adequacy:DPF", "adequacy:pipeda"]) == {["s", "deny", "transfers.condition"]}
}

test_a_decision_that_has_ended if {
	found := {reason.code |
		some decision in transfers.decisions with input as object.union(
			request("eu", "gb", []),
			{"now": "2031-12-27T00:00:00Z"},
		)
		some reason in decision.reasons
	}
	found == {"transfers.expired"}
}

test_a_decision_with_an_end_and_no_date_to_hold_against_it if {
	every now in [null, 0, "soon", ""] {
		found := {reason.code |
			some decision in transfers.decisions with input as object.union(request("eu", "gb", []), {"now": now})
			some reason in decision.reasons
		}
		found == {"transfers.expired"}
	}
}

test_a_safeguard if {
	every label in ["safeguard:scc", "safeguard:bcr"] {
		outcome("eu", "in", ["blue", label]) == set()
	}
	outcome("eu", null, ["safeguard:scc"]) == set()
	outcome("eu", "in", ["safeguard:hope"]) == third
}

test_a_derogation_asks_a_person if {
	outcome("eu", "in", ["derogation:consent"]) == {["s", "ask", "transfers.derogation"]}
}

test_a_hand_that_does_not_say_its_region if {
	every region in [null, 1, ["eu"], {"eu": true}] {
		outcome("eu", region, []) == {["s", "deny", "transfers.unknown"]}
	}
}

test_adequacy_is_seen_from_where_data_lives if {
	outcome("us", "ch", []) == third
	outcome("us", "eu", []) == third
}

test_otherwise_may_ask if {
	found := {decision.effect |
		some decision in transfers.decisions with input as request("eu", "in", [])
			with data.handrail.transfers.otherwise as "ask"
	}
	found == {"ask"}
}

test_a_word_that_is_not_known_denies if {
	found := {decision.effect |
		some decision in transfers.decisions with input as request("eu", "in", [])
			with data.handrail.transfers.otherwise as "allow"
	}
	found == {"deny"}
}

test_nobody_said_where_data_lives if {
	outcome(null, "in", []) == set()
}
