package envoy.authz

import rego.v1

default allow := false

# A table by service, method and first segment, instead of a list of patterns.
allow if {
	rule := data.routes[input.attributes.request.http.host][input.attributes.request.http.method][input.parsed_path[0]]
	satisfied(rule)
}

satisfied(rule) if rule.public

satisfied(rule) if {
	not rule.public
	count(missing(rule)) == 0
}

missing(rule) := {scope | some scope in rule.scopes} - granted

granted := {scope | some scope in split(input.attributes.request.http.headers["x-scopes"], " ")}
