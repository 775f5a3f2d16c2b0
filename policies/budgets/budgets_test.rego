package postern.budgets_test

import rego.v1

import data.postern.budgets

request(method, segment, body, left) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": [segment],
	"parsed_body": body,
	"postern": {"budget": {"calls": left}},
}

test_a_model_counts_in_its_class if {
	result := budgets.result with input as request("POST", "v1", {"model": "large"}, 60)
	result == {"allowed": true, "obligations": {{"kind": "rate", "class": "model:large"}}}
}

test_a_model_that_nobody_wrote_down_has_no_class if {
	result := budgets.result with input as request("POST", "v1", {"model": "other"}, 60)
	result == {"allowed": true, "obligations": set()}
}

test_exports_are_bulk if {
	result := budgets.result with input as request("GET", "exports", null, 60)
	result == {"allowed": true, "obligations": {{"kind": "rate", "class": "bulk"}}}
}

test_writes_leave_a_reserve_to_reads if {
	denied := {"allowed": false, "http_status": 429, "headers": {"retry-after": "1"}}
	budgets.result == denied with input as request("POST", "documents", {}, 10)
	budgets.result == {"allowed": true, "obligations": set()} with input as request("GET", "documents", null, 10)
	budgets.result == {"allowed": true, "obligations": set()} with input as request("POST", "documents", {}, 11)
}
