package handrail.secrets_test

import data.handrail.secrets

kinds(args) := found if {
	found := secrets.found with input as {"steps": [{"id": "s", "args": args}]}
}

# The values are put together here, so that no scanner of this repository takes them for real ones.
aws := concat("", ["AK", "IA", "ABCDEFGHIJKLMNOP"])

github := concat("", ["gh", "p_", "abcdefghijklmnopqrstuvwxyz0123456789"])

slack := concat("", ["xo", "xb-", "1234567890-abcdef"])

api := concat("", ["s", "k-", "abcdefghijklmnopqrstuvwx"])

bearer := concat("", ["ey", "JhbGciOiJFZDI1NTE5In0", ".ey", "JzdWIiOiJhbGljZSJ9", ".c2ln"])

handrail := concat("", ["h", "r_", "0123456789abcdef", "_", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"])

pem := concat("", ["-----BEGIN ", "PRIVATE KEY", "-----\nabc"])

test_a_private_key if kinds({"text": pem}) == {"s": {"a private key"}}

test_an_aws_key if kinds({"a": [{"b": aws}]}) == {"s": {"an AWS access key"}}

test_a_github_token if kinds({"a": github}) == {"s": {"a GitHub token"}}

test_a_slack_token if kinds({"a": slack}) == {"s": {"a Slack token"}}

test_an_api_key if kinds({"a": api}) == {"s": {"an API key"}}

test_a_bearer_token if kinds({"a": sprintf("Authorization: Bearer %s", [bearer])}) == {"s": {"a bearer token"}}

test_our_own_key if kinds({"a": handrail}) == {"s": {"a Handrail API key"}}

test_a_secret_as_the_name_of_a_member if kinds({"a": {aws: 1}}) == {"s": {"an AWS access key"}}

test_words_that_only_begin_alike if {
	kinds({"a": "ask-me, AKIA, ghp_, xoxo, eyJ, hr_1, a PRIVATE KEY"}) == {}
}

test_a_find_denies_and_does_not_repeat_the_secret if {
	some decision in secrets.decisions with input as {"steps": [{"id": "s", "args": {"a": aws}}]}
	decision.effect == "deny"
	some reason in decision.reasons
	reason.code == "secrets.found"
	message := reason.message
	not contains(message, aws)
}
