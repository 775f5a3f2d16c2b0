package envoy.authz

import rego.v1

import input.attributes.request.http as http_request

default allow := false

# Anybody may ask whether the service is well.
allow if http_request.path == "/health"

allow if {
	some role in data.users[user]
	some grant in data.grants[role]
	grant.method == http_request.method
	grant.path == input.parsed_path[0]
}

user := name if {
	[_, encoded] := split(http_request.headers.authorization, " ")
	[name, _] := split(base64.decode(encoded), ":")
}
