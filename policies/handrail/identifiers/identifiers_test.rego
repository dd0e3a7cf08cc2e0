package handrail.identifiers_test

found(kind, text) := data.handrail.identifiers.found(kind, text, seen) if {
	seen := data.handrail.identifiers.digits(text)
}

test_a_remainder_of_seventy_digits if {
	data.handrail.identifiers.remainder("1") == 1
	data.handrail.identifiers.remainder("97") == 0
	data.handrail.identifiers.remainder("3214282912345698765432161182") == 1
}

test_two_cards_in_one_run if {
	count(found("card", "4111111111111111 5555555555554444")) >= 2
}

test_a_card_at_the_end_of_a_long_run if {
	zeros := concat("", ["0" | some _ in numbers.range(1, 984)])
	found("card", concat("", [zeros, "4111111111111111"])) == ["4111111111111111"]
	found("card", zeros) == []
}

test_a_run_too_long_to_be_looked_through_counts_as_a_card if {
	zeros := concat("", ["0" | some _ in numbers.range(1, 1001)])
	count(found("card", zeros)) == 1
}

test_no_text_at_all if {
	every kind in ["email", "phone", "iban", "card", "national_id"] {
		found(kind, "") == []
	}
}
