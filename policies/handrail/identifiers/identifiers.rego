# METADATA
# title: Identifiers
# description: |
#   How addresses, numbers and identifiers of people look in text, with their checksums. Gives no decision. A pattern is
#   compiled each time it is used, which takes longer than all else here, so what a text must hold is looked for first.
package handrail.identifiers

# METADATA
# scope: document
# title: What a text holds of one kind of personal data; `seen` are its digits
found("email", text, _) := [match |
	contains(text, "@")
	some match in regex.find_n(`[0-9A-Za-z._%+-]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)+`, text, -1)
]

found("phone", text, _) := array.concat(
	regex.find_n(`(?:\+|00)[1-9](?:[ ()./-]{0,2}[0-9]){6,14}`, text, -1),
	regex.find_n(`\(?[2-9][0-9]{2}\)?[ ./-]{1,2}[2-9][0-9]{2}[ .-][0-9]{4}`, text, -1),
)

found("iban", text, _) := [candidate |
	lines := replace(replace(replace(squeeze(text), "\t", ""), "\n", ""), "\r", "")
	squeezed := replace(replace(replace(replace(lines, ":", ""), ",", ""), ";", ""), "|", "")
	some start in iban_starts(squeezed)
	length := data.handrail.identifiers.iban_lengths[substring(start, 0, 2)]
	some number, tail in split(squeezed, start)
	number > 0
	candidate := substring(concat("", [start, tail]), 0, length)
	iban(candidate, length)
]

found("card", text, _) := [match |
	some run in runs(text)
	some match in cards(run)
]

found("national_id", text, seen) := [match |
	some country, least in national_digits
	enough(seen, least)
	some match in national(country, upper(text))
]

# METADATA
# title: How many digits a text must hold before a kind is worth looking for
fewest := {
	"email": {"all": 0, "together": 0, "groups": 0},
	"phone": {"all": 7, "together": 7, "groups": 1},
	"iban": {"all": 2, "together": 2, "groups": 1},
	"card": {"all": 12, "together": 12, "groups": 1},
	"national_id": {"all": 6, "together": 3, "groups": 1},
}

# METADATA
# title: Whether a text holds as many digits
enough(seen, least) if {
	seen.all >= least.all
	seen.together >= least.together
	seen.groups >= least.groups
}

# METADATA
# title: How many digits a text holds, how many of them together, whatever signs group them, and in how many places
digits(text) := {"all": 0, "together": 0, "groups": 0} if {
	trim(text, signs) == ""
} else := {"all": sum(counts), "together": max(counts), "groups": count(counts) - 1} if {
	groups := regex.find_n(`[0-9][0-9 \t().,:;|/_-]*`, text, -1)
	counts := array.concat([0], [count(trim_group(group)) | some group in groups])
}

trim_group(group) := replace(replace(replace(replace(ungrouped, "\t", ""), ":", ""), ";", ""), "|", "") if {
	ungrouped := replace(replace(replace(squeeze(group), "(", ""), ")", ""), ",", "")
}

# ASCII without digits.
signs := " \t\r\n!\"#$%&'()*+,-./:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

# METADATA
# title: A text in capitals, without the signs that people group numbers by
squeeze(text) := replace(replace(replace(replace(replace(upper(text), " ", ""), ".", ""), "/", ""), "_", ""), "-", "")

# METADATA
# title: What account numbers may begin with in a text, country and check digits
iban_starts(squeezed) := {start |
	some begun in regex.find_n(`[A-Z]{2}[0-9]`, squeezed, -1)
	data.handrail.identifiers.iban_lengths[substring(begun, 0, 2)]
	some digit in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
	start := concat("", [begun, digit])
	contains(squeezed, start)
}

# METADATA
# title: Runs of at least 12 digits, however they are grouped on one line
runs(text) := [digits |
	some run in regex.find_n(`[0-9](?:[ \t.,:;|/_-]{0,3}[0-9]){11,}`, text, -1)
	digits := regex.replace(run, `[^0-9]+`, "")
]

# METADATA
# scope: document
# title: Card numbers in a run of digits
# description: |
#   The usual lengths are looked for anywhere in the run, the others only as the whole of it: in any long number some
#   part of some length has a good checksum. A run that is too long to be looked through counts as one.
cards(run) := [substring(run, 0, 16)] if {
	count(run) > 1000
} else := array.concat(parts, whole) if {
	parts := [window |
		some shape in card_shapes
		last := count(run) - shape.length
		last >= 0
		some at in numbers.range(0, last)
		window := substring(run, at, shape.length)
		strings.any_prefix_match(window, shape.beginnings)
		luhn(window)
	]
	whole := [run |
		count(run) in {12, 13, 17, 18, 19}
		strings.any_prefix_match(run, ["4", "50", "56", "57", "58", "6"])
		luhn(run)
	]
}

card_shapes := [
	{
		"length": 16,
		"beginnings": [
			"4", "51", "52", "53", "54", "55", "22", "23", "24", "25", "26", "27",
			"35", "60", "62", "64", "65", "67",
		],
	},
	{"length": 15, "beginnings": ["34", "37"]},
	{"length": 14, "beginnings": ["30", "36", "38"]},
]

# METADATA
# title: The checksum of card numbers (ISO/IEC 7812-1, annex B)
luhn(digits) if {
	values := [value |
		some place, digit in split(digits, "")
		doubled := (count(digits) - place) % 2
		value := luhn_values[doubled][digit]
	]
	sum(values) % 10 == 0
}

# The last digit counts as it is, the one before doubled, and so on.
luhn_values := {
	1: {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9},
	0: {"0": 0, "1": 2, "2": 4, "3": 6, "4": 8, "5": 1, "6": 3, "7": 5, "8": 7, "9": 9},
}

# METADATA
# title: The checksum of account numbers (ISO 13616-1, ISO/IEC 7064 MOD 97-10)
iban(candidate, length) if {
	count(candidate) == length
	trim(candidate, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
	moved := concat("", [substring(candidate, 4, -1), substring(candidate, 0, 4)])
	remainder(concat("", [object.get(letters, character, character) | some character in split(moved, "")])) == 1
}

letters[letter] := format_int(index + 10, 10) if {
	some index, letter in split("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
}

# METADATA
# title: What is left of a number of at most 70 digits divided by 97, seven digits at a time
remainder(digits) := sum([part |
	zeros := "0000000000000000000000000000000000000000000000000000000000000000000000"
	padded := concat("", [substring(zeros, 0, 70 - count(digits)), digits])
	some index, weight in [52, 16, 87, 79, 84, 93, 51, 53, 76, 1]
	chunk := to_number(concat("", ["1", substring(padded, index * 7, 7)])) - 10000000
	part := chunk * weight
]) % 97

national_digits := {
	"american": {"all": 9, "together": 9, "groups": 1},
	"british": {"all": 6, "together": 6, "groups": 1},
	"french": {"all": 15, "together": 15, "groups": 1},
	"german": {"all": 11, "together": 11, "groups": 1},
	"italian": {"all": 7, "together": 3, "groups": 3},
	"polish": {"all": 11, "together": 11, "groups": 1},
	"spanish": {"all": 7, "together": 7, "groups": 1},
}

# METADATA
# scope: document
# title: National identifiers of one country in a text in capitals
# description: Those of the United States without areas and groups that are never given.
national("american", text) := [match |
	some match in regex.find_n(`(?:^|[^0-9])[0-8][0-9]{2}[ .-][0-9]{2}[ .-][0-9]{4}`, text, -1)
	not contains(match, "000-")
	not contains(match, "666-")
	not contains(match, "-00-")
	not endswith(match, "0000")
]

# National insurance numbers of the United Kingdom
national("british", text) := regex.find_n(
	`(?:^|[^0-9A-Z])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]`,
	text,
	-1,
)

# Tax codes of Italy
national("italian", text) := regex.find_n(`[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]`, text, -1)

# Identity numbers of Spain (DNI, NIE), whose letter is a checksum
national("spanish", text) := [match |
	some match in regex.find_n(`[0-9XYZ]-?[0-9]{7}-?[A-Z]`, replace(text, ".", ""), -1)
	plain := replace(match, "-", "")
	first := object.get({"X": "0", "Y": "1", "Z": "2"}, substring(plain, 0, 1), substring(plain, 0, 1))
	number := to_number(concat("", ["1", first, substring(plain, 1, 7)])) - 100000000
	substring("TRWAGMYFPDXBNJZSQVHLCKE", number % 23, 1) == substring(plain, 8, 1)
]

# Social security numbers of France with their key, but for those that begin in Corsica
national("french", text) := [digits |
	some match in regex.find_n(`[12](?:[ .-]?[0-9]){14}`, text, -1)
	digits := regex.replace(match, `[^0-9]+`, "")
	substring(digits, 3, 1) in {"0", "1", "2", "3", "4", "5"}
	key := to_number(concat("", ["1", substring(digits, 13, 2)])) - 100
	97 - remainder(substring(digits, 0, 13)) == key
]

# Personal numbers of Poland (PESEL), whose last digit is a checksum
national("polish", text) := [run |
	some run in regex.find_n(`[0-9]+`, text, -1)
	count(run) == 11
	weighted := [value |
		some place, weight in [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]
		value := to_number(substring(run, place, 1)) * weight
	]
	sum(weighted) % 10 == 0
	substring(run, 2, 1) in {"0", "1", "2", "3", "8", "9"}
]

# Tax identifiers of Germany (section 139b AO), whole or in groups: of the first ten digits one stands there twice or
# three times and no other does, and the last is a checksum (ISO/IEC 7064 MOD 11,10).
national("german", text) := [run |
	whole := regex.find_n(`[0-9]+`, text, -1)
	grouped := [replace(group, " ", "") | some group in regex.find_n(`[0-9 ]+`, text, -1)]
	some run in array.concat(whole, grouped)
	count(run) == 11
	substring(run, 0, 1) != "0"
	one_repeats(substring(run, 0, 10))
	mod_11_10([to_number(digit) | some digit in split(run, "")])
]

one_repeats(digits) if {
	distinct := {digit | some digit in split(digits, "")}
	count(distinct) == 9
}

one_repeats(digits) if {
	distinct := {digit | some digit in split(digits, "")}
	count(distinct) == 8
	some digit in distinct
	count(split(digits, digit)) == 4
}

mod_11_10(values) if {
	five := after(after(after(after(after(10, values[0]), values[1]), values[2]), values[3]), values[4])
	ten := after(after(after(after(after(five, values[5]), values[6]), values[7]), values[8]), values[9])
	(11 - ten) % 10 == values[10]
}

# A sum of nothing counts as ten.
after(before, digit) := ([10, 1, 2, 3, 4, 5, 6, 7, 8, 9][(before + digit) % 10] * 2) % 11
