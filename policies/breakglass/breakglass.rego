# Break-glass: for a time, and with a reason, somebody may do what he otherwise may not.
#
# Reads data.breakglass.paths[segment], which only break-glass opens, and
# data.breakglass.windows[user] with `from` and `until` (RFC 3339): who may, and when. The
# caller has to hold the role PLATFORM and to say why in x-break-glass-reason, in 10 to 200
# characters. The upstream is told who gets through (x-break-glass), and the gate counts it in
# postern.gate.alarmed.total, over which deploy/prometheus has the alarm PosternBreakGlass.
package postern.breakglass

import rego.v1

closed if data.breakglass.paths[input.parsed_path[0]] == true

reason := input.attributes.request.http.headers["x-break-glass-reason"]

window := data.breakglass.windows[input.postern.identity.user]

# Of a decision, in nanoseconds; a rule, so that tests can set it.
now := time.now_ns()

# A window without an end is none.
open if {
	time.parse_rfc3339_ns(window.from) <= now
	now < time.parse_rfc3339_ns(window.until)
	time.parse_rfc3339_ns(window.until) - time.parse_rfc3339_ns(window.from) <= longest
}

# Four hours, in nanoseconds.
longest := 14400000000000

reasoned if {
	count(trim_space(reason)) >= 10
	count(reason) <= 200
}

broken if {
	"PLATFORM" in input.postern.roles
	open
	reasoned
}

default result := {"allowed": false, "http_status": 403}

result := {"allowed": true} if not closed

result := {
	"allowed": true,
	"headers": {"x-break-glass": input.postern.identity.user},
	"obligations": [{"kind": "alarm", "reason": "break-glass"}],
} if {
	closed
	broken
}
