package postern.breakglass_test

import rego.v1

import data.postern.breakglass

windows := {"ada": {"from": "2026-11-26T08:00:00Z", "until": "2026-11-26T10:00:00Z"}}

within := 1795683600000000000

request(user, roles, reason) := {
	"attributes": {"request": {"http": {"headers": {"x-break-glass-reason": reason}}}},
	"parsed_path": ["vault"],
	"postern": {"roles": roles, "identity": {"user": user}},
}

denied := {"allowed": false, "http_status": 403}

decided(user, roles, reason, now) := result if {
	result := breakglass.result with input as request(user, roles, reason)
		with data.breakglass.windows as windows
		with data.postern.breakglass.now as now
}

test_the_time_of_these_tests_is_in_the_window if {
	within == time.parse_rfc3339_ns("2026-11-26T10:00:00Z") - 3600000000000
}

test_with_role_reason_and_window_it_opens_and_says_so if {
	decided("ada", ["PLATFORM"], "incident 4711", within) == {
		"allowed": true,
		"headers": {"x-break-glass": "ada"},
		"obligations": [{"kind": "alarm", "reason": "break-glass"}],
	}
}

test_each_of_them_is_needed if {
	decided("ada", ["ADMIN"], "incident 4711", within) == denied
	decided("bob", ["PLATFORM"], "incident 4711", within) == denied
	decided("ada", ["PLATFORM"], "", within) == denied
	decided("ada", ["PLATFORM"], "         x ", within) == denied
	long := concat("", ["x" | some i in numbers.range(1, 201); i > 0])
	decided("ada", ["PLATFORM"], long, within) == denied
}

test_the_window_ends if {
	decided("ada", ["PLATFORM"], "incident 4711", time.parse_rfc3339_ns("2026-11-26T10:00:00Z")) == denied
	decided("ada", ["PLATFORM"], "incident 4711", time.parse_rfc3339_ns("2026-11-26T07:59:59Z")) == denied
}

test_a_window_that_is_too_long_or_has_no_end_opens_nothing if {
	long := {"ada": {"from": "2026-11-26T08:00:00Z", "until": "2026-11-26T13:00:00Z"}}
	endless := {"ada": {"from": "2026-11-26T08:00:00Z"}}
	some wrong in [long, endless]
	breakglass.result == denied with input as request("ada", ["PLATFORM"], "incident 4711")
		with data.breakglass.windows as wrong
		with data.postern.breakglass.now as within
}

test_what_is_not_closed_is_not_this_policys if {
	breakglass.result == {"allowed": true} with input as object.union(
		request("bob", [], ""),
		{"parsed_path": ["documents"]},
	)
}
