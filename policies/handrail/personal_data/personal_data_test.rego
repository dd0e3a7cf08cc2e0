package handrail.personal_data_test

import data.handrail.personal_data

every_kind := {"email": "ask", "phone": "ask", "iban": "ask", "card": "deny", "national_id": "ask"}

request(args) := {
	"steps": [{"id": "s", "hand": "mail", "action": "send", "args": args}],
	"hands": {"mail": {"labels": [], "actions": {"send": {"args": {"/to": "recipient", "/account": "account"}}}}},
}

by(args, effects) := {[decision.effect, reason.code] |
	some decision in personal_data.decisions with input as request(args)
		with data.handrail.personal_data.effects as effects
	some reason in decision.reasons
}

kinds(text) := {trim_prefix(code, "personal_data.") | some [_, code] in by({"body": text}, every_kind)}

test_nothing_personal if {
	every text in ["", "Hello, the build of 2026-11-26 passed in 1234 s.", "v1.2.3 @ head", "+1", "DE", "12345678"] {
		kinds(text) == set()
	}
}

test_e_mail_addresses if {
	every text in [
		"alice@example.com",
		"Write to <Alice.B+x@mail.example.co.uk>!",
		"ALICE@EXAMPLE.COM",
		"alice\u200b@exam\u00adple.com",
		"ａｌｉｃｅ＠ｅｘａｍｐｌｅ．ｃｏｍ",
	] {
		kinds(text) == {"email"}
	}
}

test_card_schemes if {
	every text in [
		"4111111111111111",
		"5555555555554444",
		"378282246310005",
		"30569309025904",
		"3530111333300000",
		"6200000000000005",
		"6759649826438453",
		"4222222222222",
		"4000000000000000006",
	] {
		"card" in kinds(text)
	}
}

test_numbers_of_other_lengths_are_no_cards_as_a_part_of_others if {
	not "card" in kinds("1764137000000000000")
	not "card" in kinds("94222222222222")
}

test_cards_behind_what_is_not_seen_and_between_any_signs if {
	every sign in ["\u2066", "\ufe0f", "\u034f", "\u180e", "\u200b", "\t", "|", ":", "   ", " - ", ";"] {
		"card" in kinds(concat(sign, ["4111", "1111", "1111", "1111"]))
	}
}

test_cards_in_digits_of_other_scripts if {
	"card" in kinds("٤١١١ ١١١١ ١١١١ ١١١١")
	"card" in kinds("𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏")
	"card" in kinds("४१११ ११११ ११११ ११११")
}

test_national_identifiers_beside_letters_and_between_dots if {
	"national_id" in kinds("SSN078-05-1120")
	"national_id" in kinds("078.05.1120")
	"national_id" in kinds("12.345.678-Z")
}

test_account_numbers_over_tabs_and_lines if {
	"iban" in kinds("DE89\t3704\t0044\t0532\t0130\t00")
	"iban" in kinds("DE89 3704 0044\n0532 0130 00")
	"iban" in kinds("DE89:3704:0044:0532:0130:00")
	"iban" in kinds("DE89,3704,0044,0532,0130,00")
}

test_an_address_that_is_a_part_of_a_recipient_is_none if {
	found := by({"to": "nada@example.com", "body": "ada@example.com"}, every_kind)
	found == {["ask", "personal_data.email"]}
	by({"to": "Ada <ada@example.com>, Bob", "body": "Dear ada@example.com"}, every_kind) == set()
}

test_phone_numbers if {
	every text in ["+49 30 901820", "call 0049-30-90182-0", "+1 (212) 555-0123", "212-555-0123", "＋４９ ３０ ９０１８２０"] {
		"phone" in kinds(text)
	}
}

test_account_numbers if {
	every text in [
		"DE89370400440532013000",
		"IBAN: DE89 3704 0044 0532 0130 00 please pay",
		"de89-3704-0044-0532-0130-00",
		"GB29NWBK60161331926819",
		"NO9386011117947",
		"AA11 DE89 3704 0044 0532 0130 00",
		"xDE89370400440532013000x",
		"DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000",
	] {
		"iban" in kinds(text)
	}
}

test_account_numbers_with_a_wrong_checksum if {
	every text in ["DE88370400440532013000", "DE8937040044053201300", "XX89370400440532013000"] {
		not "iban" in kinds(text)
	}
}

test_card_numbers if {
	every text in [
		"4111111111111111",
		"4111 1111 1111 1111",
		"4111-1111-1111-1111",
		"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
		"4111.1111.1111.1111",
		"card 4111111111111111 12/29",
		"0004111111111111111",
		"378282246310005",
		"5555 5555 5555 4444",
		"4111\u200b1111\u200b1111\u200b1111",
		"４１１１１１１１１１１１１１１１",
		"30569309025904",
	] {
		"card" in kinds(text)
	}
}

test_a_card_number_as_a_number_or_a_name if {
	["deny", "personal_data.card"] in by({"n": 4111111111111111}, every_kind)
	["deny", "personal_data.card"] in by({"4111111111111111": true}, every_kind)
	["deny", "personal_data.card"] in by({"a": [{"b": [["4111111111111111"]]}]}, every_kind)
}

test_digits_that_are_no_card_number if {
	every text in ["4111111111111112", "1234567890123456", "0000000000000000", "411111111111111"] {
		not "card" in kinds(text)
	}
}

test_national_identifiers if {
	every text in [
		"078-05-1120",
		"SSN 078 05 1120.",
		"QQ123456C is not one, AB123456C is",
		"ab 12 34 56 c",
		"RSSMRA85T10A562S",
		"12345678Z",
		"x1234567l",
		"X-1234567-L or X1234567-L",
		"1 84 12 76 451 089 46",
		"44051401359",
		"36574261809",
		"Steuer-ID: 36 574 261 809.",
		"IdNr 12345678995,",
		"11213456783",
	] {
		"national_id" in kinds(text)
	}
}

test_digits_that_are_no_national_identifier if {
	every text in ["000-12-3456", "666-12-3456", "978-05-1120", "078-00-1120", "078-05-0000", "12345678A", "44051401358"] {
		not "national_id" in kinds(text)
	}
	every text in ["36574261808", "36 554 266 806", "01234567888", "11223456785"] {
		not "national_id" in kinds(text)
	}
}

test_what_a_role_lets_one_expect if {
	by({"to": "alice@example.com", "body": "Hi"}, every_kind) == set()
	by({"to": "Alice <alice@example.com>", "body": "Hi alice@example.com"}, every_kind) == set()
	by({"account": "DE89 3704 0044 0532 0130 00"}, {"iban": "ask"}) == set()
	by({"to": "alice@example.com", "body": "bob@example.com"}, every_kind) == {["ask", "personal_data.email"]}
	by({"to": "4111111111111111"}, {"card": "deny"}) == {["deny", "personal_data.card"]}
}

test_a_kind_that_is_off_is_not_looked_for if {
	by({"body": "alice@example.com 4111111111111111"}, {"email": "off", "card": "ask"}) == {["ask", "personal_data.card"]}
	by({"body": "alice@example.com"}, {}) == set()
}

test_what_stays_at_home_is_not_searched if {
	found := personal_data.decisions with input as object.union(
		request({"body": "4111111111111111"}),
		{"hands": {"mail": {"actions": {"send": {"side_effects": "irreversible"}}}}},
	)
	found == set()
}

test_a_read_at_an_external_hand_is_searched if {
	found := {reason.code |
		some decision in personal_data.decisions with input as {
			"steps": [{"id": "s", "hand": "search", "action": "find", "args": {"query": "4111111111111111"}}],
			"hands": {"search": {"labels": ["external"], "actions": {"find": {"side_effects": "none"}}}},
		}
		some reason in decision.reasons
	}
	found == {"personal_data.card"}
}

test_the_message_does_not_repeat_what_was_found if {
	some decision in personal_data.decisions with input as request({"body": "4111111111111111"})
		with data.handrail.personal_data.effects as every_kind
	some reason in decision.reasons
	reason.message == "An argument that leaves the organisation holds what looks like a card number."
}
