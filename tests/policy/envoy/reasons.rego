package envoy.authz

import rego.v1

# Every reason against a request; it is allowed when there is none.
deny contains "method" if not input.attributes.request.http.method in {"GET", "POST"}

deny contains "version" if not regex.match(`^/v[12]/`, input.attributes.request.http.path)

deny contains sprintf("parameter %s", [name]) if {
	some name, values in input.parsed_query
	count(values) > 1
}

deny contains "agent" if {
	agent := object.get(input.attributes.request.http.headers, "user-agent", "")
	some bad in ["sqlmap", "nikto"]
	contains(lower(agent), bad)
}

allow := {
	"allowed": count(deny) == 0,
	"http_status": 400,
	"body": concat(", ", deny),
	"headers": {"x-reasons": [reason | some reason in deny]},
}
