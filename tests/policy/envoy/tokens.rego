package envoy.authz

import rego.v1

default allow := {"allowed": false, "http_status": 403}

token := payload if {
	authorization := input.attributes.request.http.headers.authorization
	startswith(authorization, "Bearer ")
	[_, payload, _] := io.jwt.decode(substring(authorization, count("Bearer "), -1))
}

is_token_valid if {
	token.aud == "people"
	token.nbf < 1750000000
	1750000000 < token.exp
}

action_allowed if {
	input.attributes.request.http.method == "GET"
	token.role in {"guest", "admin"}
	glob.match("/people/*", ["/"], input.attributes.request.http.path)
}

action_allowed if {
	input.attributes.request.http.method == "POST"
	token.role == "admin"
	glob.match("/people", ["/"], input.attributes.request.http.path)
	lower(input.parsed_body.firstname) != base64url.decode(token.sub)
}

allow := response if {
	is_token_valid
	action_allowed
	response := {
		"allowed": true,
		"headers": {"x-current-user": token.name},
		"request_headers_to_remove": ["x-debug"],
	}
}
