# METADATA
# title: Hosts
# description: |
#   An argument with the role "url" must be one plain URL to a public host. Addresses in any spelling, names of private
#   networks, user names, unusual ports and punycode are denied, unless the hand lists exactly that host: as a label
#   "host:NAME", "host:*.NAME" or "host:NAME:PORT" (handrail.toml), or in "hosts" of data.json. A hand that lists hosts
#   reaches no other. "otherwise" says what becomes of public hosts at hands that list none: allow, ask or deny.
#   The rule reads text: what a name resolves to is checked where the gateway connects.
# custom:
#   severity: high
#   controls: ["soc2:CC6.1", "soc2:CC6.7", "iso:27001:A.8.12", "gdpr:32"]
package handrail.hosts

# METADATA
# title: A URL must lead to a host that the hand may reach
decisions contains decision if {
	some argument in data.handrail.manifest.arguments.url
	code := verdict(argument.value, object.get(lists, argument.hand, []))
	code != "hosts.fine"
	decision := {"step": argument.step, "effect": object.get(effects, code, "deny"), "reasons": [{
		"code": code,
		"message": sprintf("The argument %v %v.", [argument.pointer, complaints[code]]),
	}]}
}

# Every other code denies.
effects := {"hosts.unknown": "ask"}

complaints := {
	"hosts.not_text": "must be a URL",
	"hosts.characters": "holds characters that a URL writes as %-escapes",
	"hosts.scheme": "has a scheme that is not allowed",
	"hosts.userinfo": "holds a user name before the host",
	"hosts.name": "holds no plain host name",
	"hosts.address": "leads to an address instead of a name",
	"hosts.punycode": "leads to a name in punycode",
	"hosts.private": "leads into a private network",
	"hosts.port": "leads to a port that is not allowed",
	"hosts.outside": "leads to a host that the hand may not reach",
	"hosts.unlisted": "leads to a host, and the hand lists none that it may reach",
	"hosts.unknown": "leads to a host that nobody listed, so a person must look at it",
}

# METADATA
# title: The first thing that is wrong with a URL, or "hosts.fine"; `entries` are the hosts that the hand lists
verdict(value, entries) := "hosts.not_text" if {
	not is_string(value)
} else := "hosts.characters" if {
	trim(value, plain) != ""
} else := "hosts.scheme" if {
	scheme := split_scheme(value).scheme
	count([allowed | some allowed in data.handrail.hosts.schemes; allowed == scheme]) == 0
} else := "hosts.userinfo" if {
	contains(authority(value), "@")
} else := "hosts.address" if {
	contains(authority(value), "[")
} else := verdict_on_place(split(lower(authority(value)), ":"), entries)

# Everything that RFC 3986 lets stand in a URI.
plain := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?#[]@!$&'()*+,;=%"

# METADATA
# title: The scheme in lower case, and what follows it; a URL that has none has the scheme ""
split_scheme(value) := {"scheme": lower(scheme), "rest": substring(value, at + 3, -1)} if {
	at := indexof(value, "://")
	at >= 0
	scheme := substring(value, 0, at)
	trim(scheme, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.:") == ""
} else := {"scheme": "", "rest": value}

authority(value) := split(until_query, "#")[0] if {
	until_path := split(split_scheme(value).rest, "/")[0]
	until_query := split(until_path, "?")[0]
}

# METADATA
# title: The first thing that is wrong with a host and its port
verdict_on_place(place, entries) := "hosts.address" if {
	count(place) > 2
} else := "hosts.name" if {
	trim(place[0], "abcdefghijklmnopqrstuvwxyz0123456789-.") != ""
} else := "hosts.name" if {
	contains(concat("", [".", place[0], "."]), "..")
} else := "hosts.port" if {
	trim(place[1], "0123456789") != ""
} else := "hosts.port" if {
	place[1] == ""
} else := "hosts.fine" if {
	some entry in entries
	names(entry, target(place))
} else := verdict_on_name(place[0], entries) if {
	target(place) == place[0]
} else := "hosts.port"

# METADATA
# title: A host, with its port where that is no usual one
target(place) := place[0] if {
	count(place) == 1
} else := place[0] if {
	place[1] in data.handrail.hosts.ports
} else := concat(":", place)

# METADATA
# scope: document
# title: Whether an entry of a list names a host
names(entry, host) if entry == host

names(entry, host) if {
	startswith(entry, "*.")
	endswith(host, substring(entry, 1, -1))
}

# METADATA
# title: The first thing that is wrong with a host that no entry names
verdict_on_name(host, entries) := "hosts.address" if {
	labels := split(host, ".")
	last := labels[count(labels) - 1]
	trim_left(last, "0123456789") != last
} else := "hosts.punycode" if {
	contains(concat("", [".", host]), ".xn--")
} else := "hosts.private" if {
	not contains(host, ".")
} else := "hosts.private" if {
	strings.any_suffix_match(concat("", [".", host]), data.handrail.hosts.private)
} else := "hosts.outside" if {
	count(entries) > 0
} else := "hosts.fine" if {
	data.handrail.hosts.otherwise == "allow"
} else := "hosts.unknown" if {
	data.handrail.hosts.otherwise == "ask"
} else := "hosts.unlisted"

# METADATA
# title: The hosts that each hand lists
lists[hand] := entries if {
	some hand, details in input.hands
	labelled := [lower(trim_prefix(label, "host:")) | some label in details.labels; startswith(label, "host:")]
	configured := [lower(entry) | some entry in object.get(data.handrail.hosts.hosts, hand, [])]
	entries := array.concat(labelled, configured)
}
