# Scopes: the first segment of the path and the method say which ones a request needs.
#
# Reads data.routes[segment][method], a list of scopes, and data.catalogue, which says of
# every scope what it is called and how much may go wrong with it. A scope that the
# catalogue does not have is never granted; a caller without scopes has the default ones.
package postern.scopes

import rego.v1

default allow := false

# A route that nobody wrote down needs no scope, and is denied.
allow if {
	count(needed) > 0
	count(missing) == 0
}

needed := {scope | some scope in data.routes[input.parsed_path[0]][input.attributes.request.http.method]}

granted := {scope | some scope in written; data.catalogue.scopes[scope]}

written := input.postern.scopes if count(input.postern.scopes) > 0
else := data.catalogue["default"]

missing := needed - granted

# The highest risk class of what the request needs.
risk := [class | some class in ["critical", "high", "medium", "low"]; class in risks][0]

risks := {data.catalogue.scopes[scope].risk | some scope in needed}

# The decision with its reason in a field of the answer.
result := {"allowed": true, "headers": {"x-risk": risk}} if allow
else := {"allowed": false, "http_status": 403, "headers": {"x-missing-scopes": concat(" ", missing)}}
