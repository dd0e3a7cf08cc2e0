# METADATA
# title: Outward
# description: |
#   What leaves the organisation, as text that rules can search. Gives no decision. Every text, number and name of a
#   member counts, at any depth; characters that are invisible or only look like others are made plain.
package handrail.outward

# METADATA
# title: Everything that the arguments of each step that leaves the organisation say, each piece on a line of its own
texts[step.id] := text if {
	outward := data.handrail.manifest.outward
	some step in input.steps
	step.id in outward
	text := plain(concat("\n", pieces(step.args)))
}

# METADATA
# title: The values in places that have one of some roles, in each of those steps
expected(id, roles) := plain(concat("\n", [text |
	some role in roles
	some argument in data.handrail.manifest.arguments[role]
	argument.step == id
	some text in pieces(argument.value)
]))

# Eight levels are searched one by one; what is deeper is searched as one text. Most arguments have one level.
pieces(value) := said if {
	one := children([value])
	children(one) == []
	said := [text |
		some part in array.concat([value], one)
		text := spoken(part)
	]
} else := array.concat(said, deep) if {
	one := children([value])
	two := children(one)
	three := children(two)
	four := children(three)
	five := children(four)
	six := children(five)
	seven := children(six)
	said := [text |
		some level in [[value], one, two, three, four, five, six, seven]
		some part in level
		text := spoken(part)
	]
	deep := [sprintf("%v", [part]) | some part in seven; not spoken(part)]
}

children(places) := [part |
	some place in places
	some part in inside(place)
]

# METADATA
# title: The values of a list or an object, and the names of an object
inside(place) := place if {
	is_array(place)
} else := parts if {
	is_object(place)
	parts := [part | some name, value in place; some part in [name, value]]
} else := []

# METADATA
# title: A text or a number as a text
# description: |
#   A whole number is written without an exponent, which one engine writes where another does not; of one with more than
#   21 digits the first 16, in which the engines agree.
spoken(part) := part if {
	is_string(part)
} else := substring(format_int(part, 10), 0, 16) if {
	is_number(part)
	abs(part) >= 1000000000000000000000
} else := format_int(part, 10) if {
	is_number(part)
	floor(part) == part
} else := sprintf("%v", [part]) if {
	is_number(part)
}

# METADATA
# title: A text without invisible characters, with ASCII for digits, letters and signs that look like it
plain(text) := text if {
	ascii(text)
} else := narrow(dashed) if {
	seen := regex.replace(text, `[\x{00ad}\x{034f}\x{061c}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{3164}]`, "")
	printed := regex.replace(seen, `[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{feff}\x{ffa0}]`, "")
	visible := regex.replace(printed, `[\x{fe00}-\x{fe0f}\x{fff0}-\x{fffb}\x{1d173}-\x{1d17a}\x{e0000}-\x{e0fff}]`, "")
	spaced := regex.replace(visible, `[\x{00a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]`, " ")
	dashed := regex.replace(spaced, `[\x{2010}-\x{2015}\x{2212}\x{fe58}\x{fe63}\x{ff0d}]`, "-")
}

# METADATA
# title: Whether a text holds nothing but printable ASCII and line ends
ascii(text) if trim(text, printable) == ""

# METADATA
# title: Digits of any script, and full-width letters and signs, as ASCII; where there are none, nothing is searched
narrow(text) := text if {
	not regex.match(`[\x{ff08}\x{ff09}\x{ff0b}\x{ff0e}-\x{ff20}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}]`, text)
	not regex.match(`[\x{0660}-\x{0fff}\x{1040}-\x{1099}\x{1d7ce}-\x{1d7ff}]`, text)
} else := narrowed if {
	narrowed := concat("", [object.get(narrow_forms, character, character) | some character in split(text, "")])
}

narrow_forms[character] := letter if {
	some index, character in split(
		concat("", [
			"（）＋．／０１２３４５６７８９：；＜＝＞？＠",
			"ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ",
			"ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ",
		]),
		"",
	)
	letter := substring("()+./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", index, 1)
}

narrow_forms[character] := digit if {
	some script in [
		"٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "߀߁߂߃߄߅߆߇߈߉", "०१२३४५६७८९", "০১২৩৪৫৬৭৮৯", "੦੧੨੩੪੫੬੭੮੯", "૦૧૨૩૪૫૬૭૮૯", "୦୧୨୩୪୫୬୭୮୯",
		"௦௧௨௩௪௫௬௭௮௯", "౦౧౨౩౪౫౬౭౮౯", "೦೧೨೩೪೫೬೭೮೯", "൦൧൨൩൪൫൬൭൮൯", "๐๑๒๓๔๕๖๗๘๙", "໐໑໒໓໔໕໖໗໘໙", "༠༡༢༣༤༥༦༧༨༩", "၀၁၂၃၄၅၆၇၈၉",
		"𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "𝟘𝟙𝟚𝟛𝟜𝟝𝟞𝟟𝟠𝟡", "𝟢𝟣𝟤𝟥𝟦𝟧𝟨𝟩𝟪𝟫", "𝟬𝟭𝟮𝟯𝟰𝟱𝟲𝟳𝟴𝟵", "𝟶𝟷𝟸𝟹𝟺𝟻𝟼𝟽𝟾𝟿",
	]
	some index, character in split(script, "")
	digit := format_int(index, 10)
}

printable := concat("", [
	" \t\r\n!\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~",
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
])
