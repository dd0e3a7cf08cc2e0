package system.authz_test

import data.system.authz

token := "0123456789abcdef0123456789abcdef"

runtime := {"env": {"OPA_TOKEN": token}}

test_holder_of_the_token_may if {
	authz.allow with input as {"method": "PUT", "path": ["v1", "policies", "x"], "identity": token}
		with opa.runtime as runtime
}

test_nobody_else_may if {
	not authz.allow with input as {"method": "GET", "path": ["v1", "policies"]} with opa.runtime as runtime
	not authz.allow with input as {"method": "GET", "path": ["v1", "policies"], "identity": "guess"}
		with opa.runtime as runtime
}

test_empty_token_opens_nothing if {
	not authz.allow with input as {"method": "GET", "path": ["v1", "policies"], "identity": ""}
		with opa.runtime as {"env": {"OPA_TOKEN": ""}}
	not authz.allow with input as {"method": "GET", "path": ["v1", "policies"], "identity": ""}
		with opa.runtime as {"env": {}}
}

test_health_is_open if {
	authz.allow with input as {"method": "GET", "path": ["health"]} with opa.runtime as runtime
	not authz.allow with input as {"method": "PUT", "path": ["health"]} with opa.runtime as runtime
}
