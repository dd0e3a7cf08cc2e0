# METADATA
# description: |
#   Who may talk to the OPA server of docker-compose.yml: whoever holds the token, and anybody for its health.
#   It is OPA's own authorization, outside of the gateway's bundle, which may not fill this package.
package system.authz

# METADATA
# title: Whether a request may be answered
# entrypoint: true
default allow := false

allow if {
	token := opa.runtime().env.OPA_TOKEN
	count(token) >= 32
	input.identity == token
}

allow if {
	input.method == "GET"
	input.path == ["health"]
}
