package handrail.secrets_test

import data.handrail.secrets

kinds(args) := [kind |
	some kind in secrets.found.s with input as {"steps": [{"id": "s", "args": args}]}
]

letters := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

some_of(length) := substring(letters, 0, length)

hex_of(length) := substring("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 0, length)

# The values are put together here, so that no scanner of this repository takes them for real ones.
aws := concat("", ["AK", "IA", "ABCDEFGHIJKLMNOP"])

pem := concat("", ["-----BEGIN ", "PRIVATE KEY", "-----\nabc"])

samples := {
	"a private key": [
		pem,
		concat("", ["-----BEGIN RSA ", "PRIVATE KEY", "-----\nabc"]),
		concat("", ["-----BEGIN PGP ", "PRIVATE KEY", " BLOCK-----\nabc"]),
		concat("", ["PuTTY-User-", "Key-File-3: ssh-ed25519"]),
	],
	"an AWS access key": [aws, concat("", ["AS", "IA", "ABCDEFGHIJKLMNOP"])],
	"a GitHub token": [
		concat("", ["gh", "p_", some_of(36)]),
		concat("", ["gh", "s_", some_of(36)]),
		concat("", ["github", "_pat_", some_of(22)]),
	],
	"a GitLab token": [concat("", ["gl", "pat-", some_of(20)]), concat("", ["gl", "rt-", some_of(20)])],
	"a Slack token or webhook": [
		concat("", ["xo", "xb-", "1234567890-abcdef"]),
		concat("", ["https://hooks.slack", ".com/services/T0001/B0001/", some_of(24)]),
	],
	"an API key": [concat("", ["s", "k-", some_of(24)]), concat("", ["s", "k-ant-api03-", some_of(24)])],
	"a bearer token": [concat("", ["ey", "JhbGciOiJFZDI1NTE5In0", ".ey", "JzdWIiOiJhbGljZSJ9", ".c2ln"])],
	"a Handrail API key": [concat("", ["h", "r_", hex_of(16), "_", some_of(43)])],
	"a Google key or token": [
		concat("", ["AI", "za", some_of(35)]),
		concat("", ["GOC", "SPX-", some_of(28)]),
		concat("", ["ya", "29.", some_of(30)]),
	],
	"a Stripe key": [
		concat("", ["s", "k_live_", some_of(24)]),
		concat("", ["r", "k_test_", some_of(24)]),
		concat("", ["wh", "sec_", some_of(32)]),
	],
	"an npm token": [concat("", ["np", "m_", some_of(36)])],
	"a PyPI token": [concat("", ["py", "pi-AgEIcHlwaS5vcmc", some_of(50)])],
	"a Hugging Face token": [concat("", ["h", "f_", some_of(34)])],
	"a DigitalOcean token": [concat("", ["do", "p_v1_", hex_of(64)])],
	"a Shopify token": [concat("", ["sh", "pat_", hex_of(32)])],
	"a Linear API key": [concat("", ["lin", "_api_", some_of(40)])],
	"a Pulumi token": [concat("", ["pu", "l-", hex_of(40)])],
	"a Vault token": [concat("", ["hv", "s.", some_of(24)])],
	"a SendGrid key": [concat("", ["S", "G.", some_of(22), ".", some_of(43)])],
	"a Databricks token": [concat("", ["da", "pi", hex_of(32)])],
	"an Azure storage or bus key": [
		concat("", ["Account", "Key=", some_of(60)]),
		concat("", ["SharedAccess", "Key=", some_of(44)]),
	],
	"an age secret key": [concat("", ["AGE-", "SECRET-KEY-1", substring(upper(letters), 0, 58)])],
}

test_every_kind_is_found if {
	every kind, values in samples {
		every value in values {
			kinds({"a": value}) == [kind]
		}
	}
}

test_every_kind_has_a_sample if {
	object.keys(samples) == {called | some called in data.handrail.secrets.called}
}

test_in_a_list_in_an_object if kinds({"a": [{"b": aws}]}) == ["an AWS access key"]

test_in_the_middle_of_a_text if {
	kinds({"a": sprintf("Authorization: Bearer %s", [samples["a bearer token"][0]])}) == ["a bearer token"]
	kinds({"a": sprintf("x%sx", [aws])}) == ["an AWS access key"]
	kinds({"a": sprintf("\u200b%s", [samples["a GitHub token"][0]])}) == ["a GitHub token"]
}

# Arguments are looked at as they are written, escapes and all: of a line end a letter stands right before the key.
before := [
	"", "a ", "a\n", "a\t", "a\r", "a\"", "a'", "a=",
	"a\\n", "a\\t", "a\\u2028", "a\u0007", "a\u000b", "a\u001b", "a\u200b", "a\u3000",
]

test_behind_whatever_a_secret_may_stand if {
	every kind, values in samples {
		every value in values {
			every text in before {
				kinds({"a": concat("", [text, value])}) == [kind]
			}
		}
	}
}

test_a_secret_as_the_name_of_a_member if kinds({"a": {aws: 1}}) == ["an AWS access key"]

test_words_that_only_begin_alike if {
	kinds({"a": "ask-me, AKIA, ghp_, xoxo, eyJ, hr_1, a PRIVATE KEY, sk_live_, npm_install, hf_x, SG.1, dapi"}) == []
	kinds({"branch": "task-1234-fix-the-parser-of-quoted-words"}) == []
	kinds({"text": "risk-assessment-of-the-whole-programme"}) == []
}

test_a_kind_without_a_pattern_is_found_by_its_part if {
	found := secrets.found.s with input as {"steps": [{"id": "s", "args": {"a": "our-token acme!1"}}]}
		with data.handrail.secrets.anywhere as {"acme!": "acme"}
		with data.handrail.secrets.patterns as {"other": "x"}
	found == {"a secret"}
}

test_only_the_step_that_holds_it if {
	found := {decision.step |
		some decision in secrets.decisions with input as {"steps": [
			{"id": "s", "args": {"a": aws}},
			{"id": "t", "args": {"a": "nothing"}},
		]}
	}
	found == {"s"}
}

test_every_kind_is_suspected_before_it_is_looked_for if {
	every values in samples {
		every value in values {
			denied({"a": value})
			denied({"a": [{"b": sprintf("x %s y", [value])}]})
		}
	}
}

denied(args) if {
	some decision in secrets.decisions with input as {"steps": [{"id": "s", "args": args}]}
	decision.effect == "deny"
}

test_a_find_denies_and_does_not_repeat_the_secret if {
	some decision in secrets.decisions with input as {"steps": [{"id": "s", "args": {"a": aws}}]}
	decision.effect == "deny"
	some reason in decision.reasons
	reason.code == "secrets.found"
	message := reason.message
	not contains(message, aws)
}
