package envoy.authz

import rego.v1

default allow := false

client := trim_space(split(input.attributes.request.http.headers["x-forwarded-for"], ",")[0])

in_office if {
	some range in data.office
	net.cidr_contains(range, client)
}

blocked if net.cidr_contains(data.blocked[_], client)

allow if {
	in_office
	not blocked
}
