package handrail.tokens_test

import data.handrail.tokens

request(spent) := {
	"steps": [
		{"id": "q", "hand": "m", "action": "model.messages", "args": {}, "analysis": {"kind": "message", "model": "x"}},
		{"id": "b", "hand": "m", "action": "batches.create", "args": {}, "analysis": {"kind": "batch", "requests": []}},
		{"id": "c", "hand": "m", "action": "model.count_tokens", "args": {}, "analysis": {"kind": "count", "model": "x"}},
		{"id": "l", "hand": "m", "action": "models.list", "args": {}, "analysis": {}},
		{"id": "t", "hand": "h", "action": "read", "args": {}},
	],
	"context": {"spent": spent},
}

outcome(spent, context, principal) := {[decision.step, decision.effect, reason.code] |
	some decision in tokens.decisions with input as request(spent)
		with data.handrail.tokens.context as context
		with data.handrail.tokens.principal as principal
	some reason in decision.reasons
}

spent := {
	"context": {"steps": 8, "changes": 0, "amount": 0, "tokens": 1000},
	"principal": {"minute": {"tokens": 10}, "hour": {"tokens": 500}, "day": {"tokens": 5000}},
}

both(effect, code) := {["q", effect, code], ["b", effect, code]}

test_what_has_no_limit if outcome(spent, {}, {}) == set()

test_up_to_each_limit if {
	outcome(spent, {"most": 1001, "ask_over": 1001}, {"minute": {"most": 11}, "day": {"ask_over": 5001}}) == set()
}

test_a_context_that_used_all_asks_no_model if outcome(spent, {"most": 1000}, {}) == both("deny", "tokens.context")

test_a_principal_that_used_all_asks_no_model if {
	outcome(spent, {}, {"hour": {"most": 500}, "day": {"most": 5001}}) == both("deny", "tokens.principal")
}

test_a_person_is_asked_for_more if {
	outcome(spent, {"ask_over": 999, "most": 2000}, {}) == both("ask", "tokens.ask")
	outcome(spent, {}, {"day": {"ask_over": 5000}}) == both("ask", "tokens.ask")
}

test_a_limit_of_nothing if {
	outcome({"context": {"tokens": 0}}, {"most": 0}, {}) == both("deny", "tokens.context")
}

test_what_cannot_be_read_denies if {
	every wrong in [null, "8", [], {}, true, -1] {
		outcome({"context": {"tokens": wrong}}, {"most": 100}, {}) == both("deny", "tokens.context")
		outcome({"context": wrong}, {"most": 100}, {}) == both("deny", "tokens.context")
		outcome(wrong, {}, {"day": {"most": 100}}) == both("deny", "tokens.principal")
	}
}

test_without_a_context_nothing_is_left if {
	found := {decision.step |
		some decision in tokens.decisions with input as object.remove(request(spent), ["context"])
			with data.handrail.tokens.context as {"most": 1000000}
	}
	found == {"q", "b"}
}
