package postern.rbac_test

import rego.v1

import data.postern.rbac

request(roles, method, organisation, kind) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": ["organisations", organisation, kind],
	"postern": {"roles": roles, "organisation": "acme"},
}

test_a_role_allows_what_it_has if {
	rbac.allow with input as request(["DEVELOPER"], "POST", "acme", "agents")
	rbac.allow with input as request(["ADMIN"], "PUT", "acme", "policies")
	rbac.allow with input as request(["AGENT"], "POST", "acme", "calls")
}

test_a_role_allows_nothing_else if {
	not rbac.allow with input as request(["AGENT"], "POST", "acme", "agents")
	not rbac.allow with input as request(["DEVELOPER"], "PUT", "acme", "settings")
	not rbac.allow with input as request(["ADMIN"], "PUT", "acme", "providers")
	not rbac.allow with input as request([], "POST", "acme", "calls")
	not rbac.allow with input as request(["ROOT"], "POST", "acme", "calls")
}

test_roles_add_up if {
	rbac.allow with input as request(["AGENT", "ADMIN"], "GET", "acme", "users")
}

test_a_role_ends_at_its_organisation if {
	not rbac.allow with input as request(["ADMIN"], "PUT", "globex", "settings")
	rbac.allow with input as request(["PLATFORM"], "PUT", "globex", "settings")
}
