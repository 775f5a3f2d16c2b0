package envoy.authz

import rego.v1

default allow := false

# A user in two tiers has two limits, which is an error and no decision.
tier := "small" if input.attributes.request.http.headers["x-user"] in data.small

tier := "large" if input.attributes.request.http.headers["x-user"] in data.large

quota := {"small": 1, "large": 5}[tier]

allow if to_number(input.parsed_query.n[0]) <= quota

allow if {
	not tier
	input.parsed_query.n[0] == "0"
}
