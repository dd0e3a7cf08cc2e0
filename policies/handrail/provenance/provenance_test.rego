package handrail.provenance_test

import data.handrail.provenance

roles := {"/to": "recipient", "/url": "url", "/body": "content", "/n": "amount"}

request(kind, args, traces, context) := {
	"principal": {"id": "bot", "roles": ["agent"]},
	"steps": [{"id": "s", "hand": "h", "action": "a", "args": args, "provenance": traces}],
	"hands": {"h": {"labels": [], "actions": {"a": {"side_effects": kind, "args": roles}}}},
	"context": context,
}

outcome(kind, args, traces, context) := {[decision.effect, reason.code] |
	some decision in provenance.decisions with input as request(kind, args, traces, context)
	some reason in decision.reasons
}

to(entry) := {"/to": [object.union({"role": "recipient"}, entry)]}

untrusted := {"source": "result", "hand": "web", "trust": "untrusted", "match": "contained"}

trusted := {"source": "result", "hand": "book", "trust": "trusted", "match": "exact"}

sent(entry, context) := outcome("external", {"to": "x", "body": "text"}, to(entry), context)

test_the_users_words_vouch if sent({"source": "request", "match": "contained"}, {}) == set()

test_the_operator_vouches if sent({"source": "operator", "match": "exact"}, {}) == set()

test_a_trusted_value_vouches if sent(trusted, {}) == set()

test_a_mention_in_a_trusted_text_is_asked if {
	sent(object.union(trusted, {"match": "contained"}), {}) == {["ask", "provenance.mentioned"]}
}

test_what_only_untrusted_results_mentioned_is_asked if sent(untrusted, {}) == {["ask", "provenance.untrusted"]}

test_a_result_without_trust_is_untrusted if {
	sent({"source": "result", "match": "exact"}, {}) == {["ask", "provenance.untrusted"]}
}

test_what_is_new_is_asked if sent({"source": "new", "match": "exact"}, {}) == {["ask", "provenance.new"]}

test_private_results_do_not_flow_to_a_planted_place if {
	sent(untrusted, {"private": [{"hand": "h", "action": "read"}]}) == {
		["ask", "provenance.untrusted"],
		["deny", "provenance.private"],
	}
}

test_a_call_without_content_carries_nothing_away if {
	found := outcome("none", {"url": "x"}, {"/url": [object.union({"role": "url"}, untrusted)]}, {"private": [1]})
	found == {["ask", "provenance.untrusted"]}
}

test_what_the_provenance_does_not_tell_of_is_new if {
	outcome("external", {"to": "x"}, {}, {}) == {["ask", "provenance.new"]}
}

test_other_roles_need_nobody if outcome("external", {"n": 5, "body": "text"}, {}, {}) == set()

test_a_step_without_such_arguments_is_silent if outcome("external", {"other": "x"}, {}, {}) == set()

approved(kind) := [
	object.union({"role": "recipient"}, untrusted),
	{"role": "recipient", "source": "approved", "side_effects": kind, "match": "exact"},
]

test_an_approved_recipient_is_asked_once if {
	outcome("reversible", {"to": "x"}, {"/to": approved("external")}, {}) == set()
}

test_an_approval_of_a_lesser_call_is_none if {
	outcome("external", {"to": "x"}, {"/to": approved("none")}, {}) == {["ask", "provenance.untrusted"]}
}

test_an_approval_of_one_content_is_none_of_another if {
	outcome("external", {"to": "x", "body": "b"}, {"/to": approved("external")}, {}) == {["ask", "provenance.untrusted"]}
}

carried(kind, entry, context) := outcome(
	kind,
	{"body": "see www.x.org"},
	{"/body": [object.union({"role": "content"}, entry)]},
	context,
)

test_a_planted_link_in_a_content_is_asked if {
	carried("external", untrusted, {}) == {["ask", "provenance.link"]}
	carried("none", untrusted, {}) == set()
}

test_a_new_link_is_asked_where_something_untrusted_was_read if {
	new := {"source": "new", "match": "contained"}
	carried("external", new, {}) == set()
	carried("external", new, {"taint": [1]}) == {["ask", "provenance.link"]}
	carried("external", new, {"principal_taint": [1]}) == {["ask", "provenance.link"]}
}

test_a_link_in_a_trusted_text_is_asked_and_a_trusted_link_is_not if {
	carried("external", object.union(trusted, {"match": "contained"}), {}) == {["ask", "provenance.link"]}
	carried("external", trusted, {}) == set()
}

test_what_a_trusted_hand_knows_too_is_asked_and_not_denied if {
	entries := [object.union({"role": "recipient"}, untrusted), object.union({"role": "recipient"}, trusted)]
	found := outcome("external", {"to": "x", "body": "b"}, {"/to": entries}, {"private": [1]})
	found == {["ask", "provenance.untrusted"]}
}

test_a_link_of_the_user_is_sent if {
	carried("external", {"source": "request", "match": "contained"}, {"taint": [1]}) == set()
}
