# METADATA
# title: Personal data
# description: |
#   Arguments that leave the organisation are searched for e-mail addresses, phone numbers, account numbers (IBAN), card
#   numbers and national identifiers (DE, ES, FR, GB, IT, PL, US); checksums are computed where there are any. "effects"
#   of data.json says for each kind what follows: off, ask or deny. What a role lets one expect, such as an address as a
#   recipient, is no finding. Only plain text is found: what is encoded or spelled out is not.
# custom:
#   severity: high
#   controls: ["gdpr:5(1)(c)", "gdpr:25", "iso:27001:A.5.34", "iso:27001:A.8.12", "soc2:C1.1"]
package handrail.personal_data

# METADATA
# title: An argument that leaves the organisation holds personal data
decisions contains decision if {
	some id, text in data.handrail.outward.texts
	seen := data.handrail.identifiers.digits(text)
	some kind, code in codes
	effect := data.handrail.personal_data.effects[kind]
	effect != "off"
	data.handrail.identifiers.enough(seen, data.handrail.identifiers.fewest[kind])
	count(unexpected(kind, text, id, seen)) > 0
	decision := {"step": id, "effect": effect, "reasons": [{
		"code": code,
		"message": sprintf("An argument that leaves the organisation holds what looks like %v.", [called[kind]]),
	}]}
}

codes := {
	"email": "personal_data.email",
	"phone": "personal_data.phone",
	"iban": "personal_data.iban",
	"card": "personal_data.card",
	"national_id": "personal_data.national_id",
}

called := {
	"email": "an e-mail address",
	"phone": "a phone number",
	"iban": "an account number (IBAN)",
	"card": "a card number",
	"national_id": "a national identifier",
}

# METADATA
# title: What was found and no role lets one expect
unexpected(kind, text, id, seen) := [match |
	matches := data.handrail.identifiers.found(kind, text, seen)
	matches != []
	roles := object.get(data.handrail.personal_data.expected, kind, [])
	there := data.handrail.outward.expected(id, roles)
	expected := data.handrail.identifiers.found(kind, there, data.handrail.identifiers.digits(there))
	known := {data.handrail.identifiers.squeeze(match) | some match in expected}
	some match in matches
	squeezed := data.handrail.identifiers.squeeze(match)
	count([same | some same in known; same == squeezed]) == 0
]
