package envoy.authz

import rego.v1

default allow := false

allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path[0] == "reports"
	"analyst" in roles
}

roles := split(input.attributes.request.http.headers["x-roles"], ",")

headers["x-ext-authz"] := "checked"

headers["x-roles-count"] := format_int(count(roles), 10)

status_code := 200 if {
	allow
} else := 401 if {
	not input.attributes.request.http.headers["x-roles"]
} else := 403

body := "sign in first" if status_code == 401

body := "analysts only" if status_code == 403

result["allowed"] := allow

result["headers"] := headers

result["body"] := body

result["http_status"] := status_code
