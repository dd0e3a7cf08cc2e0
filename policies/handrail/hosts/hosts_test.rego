package handrail.hosts_test

import data.handrail.hosts

request(urls, labels) := {
	"steps": [{"id": "s", "hand": "web", "action": "get", "args": {"urls": urls, "note": "http://127.0.0.1/"}}],
	"hands": {"web": {"labels": labels, "actions": {"get": {"args": {"/urls/*": "url", "/note": "content"}}}}},
}

outcome(urls, labels, otherwise) := {[decision.effect, reason.code] |
	some decision in hosts.decisions with input as request(urls, labels)
		with data.handrail.hosts.otherwise as otherwise
		with data.handrail.hosts.hosts as {"mail": ["mail.example.org"]}
	some reason in decision.reasons
}

code(url) := found if {
	outcomes := outcome([url], ["blue"], "allow")
	some [_, found] in outcomes
	count(outcomes) == 1
} else := "fine"

test_plain_urls if {
	every url in [
		"https://example.com",
		"https://example.com/",
		"HTTPS://Example.COM/a/b?c=d&e=%20#f",
		"http://example.com:80/x",
		"https://example.com:443",
		"https://sub-domain.example.co.uk/@user/a:b",
		"https://1password.com/x",
		"www.example.com",
		"www.example.com/page?x=http://a.b",
		"example.com#part",
	] {
		code(url) == "fine"
	}
}

test_what_is_no_text if {
	every value in [null, 1, true, ["https://example.com"], {"url": "https://example.com"}, []] {
		code(value) == "hosts.not_text"
	}
}

test_characters_that_parsers_read_differently if {
	every url in [
		" https://example.com",
		"https://example.com ",
		"https://example.com\\@127.0.0.1/",
		"https:\\\\127.0.0.1",
		"https://exam\tple.com",
		"https://example.com\r\nHost: a",
		"https://example.com\u0000.evil.org",
		"https://ex\u00e4mple.com",
		"https://example\u3002com",
		"https://\uff11\uff12\uff17.0.0.1",
		"https://example.com/\u202e",
		"https://exam\u00adple.com",
		"<https://example.com>",
		"https://example.com/a\"b",
		"https://a.b https://127.0.0.1",
	] {
		code(url) == "hosts.characters"
	}
}

test_schemes if {
	every url in [
		"file:///etc/passwd",
		"FILE://localhost/etc/passwd",
		"ftp://example.com",
		"gopher://example.com:70/x",
		"jar:https://example.com!/x",
		"blob:https://example.com/x",
		"view-source:https://example.com",
		"ws://example.com",
		"unix:///var/run/docker.sock",
	] {
		code(url) == "hosts.scheme"
	}
}

test_schemes_without_slashes_are_no_hosts if {
	every url in ["javascript:alert(1)", "data:text/html,x", "mailto:x", "http:example.com", "tel:+49", "urn:a.b"] {
		code(url) == "hosts.port"
	}
	code("data:text/html;base64,x:y") == "hosts.port"
	code("http:/example.com") == "hosts.port"
}

test_user_names if {
	every url in [
		"https://example.com@127.0.0.1/",
		"https://user:pass@example.com",
		"https://example.com:443@evil.org",
		"https://@example.com",
		"mailto:alice@example.com",
		"//user@example.com@x",
	] {
		code(url) in {"hosts.userinfo", "hosts.name"}
	}
	code("https://example.com@127.0.0.1/") == "hosts.userinfo"
}

test_an_at_sign_in_the_path_is_no_user_name if code("https://example.com/@user") == "fine"

test_addresses_in_every_spelling if {
	every url in [
		"http://127.0.0.1/",
		"http://127.1",
		"http://2130706433/",
		"http://0177.0.0.1",
		"http://017700000001",
		"http://0x7f.0.0.1",
		"http://0x7f000001",
		"http://0X7F.1",
		"http://10.0.0.0x1",
		"http://169.254.169.254/latest/meta-data/",
		"http://0/",
		"http://00000000",
		"http://8.8.8.8",
		"http://1.1.1.1:443",
		"http://[::1]/",
		"http://[::ffff:127.0.0.1]/",
		"http://[0:0:0:0:0:ffff:7f00:1]",
		"http://[fe80::1%25eth0]/",
		"http://::1/",
		"127.0.0.1",
		"127.0.0.1:80/x",
	] {
		code(url) == "hosts.address"
	}
}

test_names_that_are_none if {
	every url in [
		"",
		"https://",
		"https:///path",
		"https://?x",
		"/etc/passwd",
		"//example.com/x",
		"./x",
		"https://example.com.",
		"https://example.com./x",
		"https://.example.com",
		"https://a..b",
		"https://.",
		"https://exa%6dple.com",
		"https://example.com%00.evil.org",
		"https://under_score.example.com",
		"https://a,b.example.com",
		"https://$(id).example.com",
	] {
		code(url) == "hosts.name"
	}
}

test_ports if {
	every url in [
		"https://example.com:",
		"https://example.com:22",
		"https://example.com:8443",
		"https://example.com:0443",
		"https://example.com:443x",
		"https://example.com:-1",
		"https://example.com:65979",
	] {
		code(url) == "hosts.port"
	}
}

test_punycode if {
	code("https://xn--exmple-cua.com") == "hosts.punycode"
	code("https://a.XN--exmple-cua.com") == "hosts.punycode"
}

test_private_names if {
	every url in [
		"http://localhost",
		"http://LOCALHOST:80/",
		"http://metadata",
		"http://metadata.google.internal/computeMetadata/v1/",
		"http://printer.local",
		"http://x.localhost",
		"http://127-0-0-1.nip.io",
		"http://app.127.0.0.1.sslip.io",
		"http://localtest.me",
		"http://1.0.0.127.in-addr.arpa",
		"data.txt:80",
	] {
		code(url) in {"hosts.private", "fine"}
	}
	code("http://metadata.google.internal/computeMetadata/v1/") == "hosts.private"
	code("http://localtest.me") == "hosts.private"
	code("http://localhost") == "hosts.private"
	code("http://app.127.0.0.1.sslip.io") == "hosts.private"
}

test_every_item_is_looked_at if {
	outcome(["https://example.com", "http://10.0.0.1"], [], "allow") == {["deny", "hosts.address"]}
}

listed(url) := outcome(
	[url], [
		"host:example.com",
		"host:*.Example.org",
		"host:127.0.0.1:8080",
		"host:localhost",
		"host:xn--exmple-cua.com",
		"host:api.example.com:8443",
	],
	"allow",
)

test_a_listed_host if {
	every url in [
		"https://example.com/x",
		"https://EXAMPLE.com",
		"https://a.example.org",
		"https://a.b.example.org",
		"http://127.0.0.1:8080/x",
		"http://localhost/",
		"https://xn--exmple-cua.com",
		"https://api.example.com:8443/",
	] {
		listed(url) == set()
	}
}

test_another_host_than_those_listed if {
	every url in [
		"https://example.org",
		"https://evilexample.org",
		"https://sub.example.com",
		"https://example.com.evil.net",
		"https://example.net",
	] {
		listed(url) == {["deny", "hosts.outside"]}
	}
	listed("http://127.0.0.1") == {["deny", "hosts.address"]}
	listed("http://127.0.0.1:9090") == {["deny", "hosts.port"]}
	listed("https://api.example.com") == {["deny", "hosts.outside"]}
	listed("https://localhost:444") == {["deny", "hosts.port"]}
	listed("https://a@example.com") == {["deny", "hosts.userinfo"]}
}

test_hosts_in_the_data if {
	found := {reason.code |
		some decision in hosts.decisions with input as request(["https://a.example.org", "https://b.example.org"], [])
			with data.handrail.hosts.hosts as {"web": ["A.example.org"]}
		some reason in decision.reasons
	}
	found == {"hosts.outside"}
}

test_hosts_that_nobody_listed if {
	outcome(["https://example.com"], [], "allow") == set()
	outcome(["https://example.com"], [], "ask") == {["ask", "hosts.unknown"]}
	outcome(["https://example.com"], [], "deny") == {["deny", "hosts.unlisted"]}
	outcome(["https://example.com"], [], "alow") == {["deny", "hosts.unlisted"]}
	outcome(["http://127.0.0.1"], [], "ask") == {["deny", "hosts.address"]}
}

test_another_role_is_not_a_url if outcome([], [], "deny") == set()

test_the_message_names_the_place_and_not_the_host if {
	some decision in hosts.decisions with input as request(["https://secret.internal/"], [])
	some reason in decision.reasons
	reason.message == "The argument /urls/* leads into a private network."
}
