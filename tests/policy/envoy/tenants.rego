package envoy.authz

import rego.v1

default allow := false

# /tenants/TENANT/...
tenant := input.parsed_path[1] if input.parsed_path[0] == "tenants"

member if {
	some one in data.tenants[tenant].members
	one.id == input.attributes.request.http.headers["x-user"]
	input.attributes.request.http.method in methods[one.level]
}

methods := {
	"reader": {"GET", "HEAD"},
	"writer": {"GET", "HEAD", "POST", "PUT"},
	"owner": {"GET", "HEAD", "POST", "PUT", "DELETE"},
}

suspended if data.tenants[tenant].suspended

allow if {
	member
	not suspended
}
