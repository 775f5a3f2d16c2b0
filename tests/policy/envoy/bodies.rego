package envoy.authz

import rego.v1

default allow := false

allow if {
	input.attributes.request.http.method == "POST"
	not input.truncated_body
	payment
}

payment if {
	order := input.parsed_body
	total := sum([(line.price * line.count) | some line in order.lines])
	total == order.total
	total <= limit
	every line in order.lines { line.count > 0 }
}

limit := data.limits[input.attributes.request.http.headers["x-tier"]]
