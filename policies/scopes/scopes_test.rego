package postern.scopes_test

import rego.v1

import data.postern.scopes

request(method, segment, granted) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": [segment, "1"],
	"postern": {"scopes": granted},
}

test_a_granted_scope_is_enough if {
	scopes.allow with input as request("GET", "documents", ["documents:read"])
}

test_every_scope_is_needed if {
	not scopes.allow with input as request("POST", "pages", ["pages:publish"])
	scopes.allow with input as request("POST", "pages", ["pages:publish", "documents:read"])
}

test_without_scopes_only_the_default_is_granted if {
	scopes.allow with input as request("GET", "documents", [])
	not scopes.allow with input as request("POST", "documents", [])
}

test_a_scope_beside_the_default_replaces_it if {
	not scopes.allow with input as request("GET", "documents", ["comments:read"])
}

test_a_scope_that_nobody_knows_grants_nothing if {
	not scopes.allow with input as request("GET", "documents", ["*", "documents:*", "admin"])
}

test_a_route_that_nobody_wrote_down_is_denied if {
	not scopes.allow with input as request("GET", "secrets", ["admin:write"])
	not scopes.allow with input as request("PATCH", "documents", ["documents:write"])
}

test_the_highest_risk_counts if {
	scopes.risk == "critical" with input as request("PUT", "signatures", [])
	scopes.risk == "high" with input as request("POST", "pages", [])
	scopes.risk == "low" with input as request("GET", "documents", [])
}

test_a_refusal_names_what_is_missing if {
	result := scopes.result with input as request("POST", "pages", ["tap:read"])
	result == {"allowed": false, "http_status": 403, "headers": {"x-missing-scopes": "documents:read pages:publish"}}
}

test_every_scope_has_a_label_and_a_class if {
	every scope, about in data.catalogue.scopes {
		count(about.label) > 0
		about.risk in {"low", "medium", "high", "critical"}
		contains(scope, ":")
	}
}

test_every_route_needs_known_scopes if {
	every methods in data.routes {
		every needed in methods {
			count(needed) > 0
			every scope in needed { data.catalogue.scopes[scope] }
		}
	}
}
