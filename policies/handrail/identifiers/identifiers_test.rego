package handrail.identifiers_test

found(kind, text) := data.handrail.identifiers.found(kind, text)

test_a_remainder_of_seventy_digits if {
	data.handrail.identifiers.remainder("1") == 1
	data.handrail.identifiers.remainder("97") == 0
	data.handrail.identifiers.remainder("3214282912345698765432161182") == 1
}

test_two_cards_in_one_run if {
	count(found("card", "4111111111111111 5555555555554444")) >= 2
}

test_a_run_of_digits_without_end_is_cut if {
	zeros := concat("", ["0" | some _ in numbers.range(1, 184)])
	found("card", concat("", [zeros, "4111111111111111"])) != []
	found("card", concat("", [zeros, "0", "4111111111111111"])) == []
}

test_no_text_at_all if {
	every kind in ["email", "phone", "iban", "card", "national_id"] {
		found(kind, "") == []
	}
}
