package postern.approval_test

import rego.v1

import data.postern.approval

request(method, segment) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": [segment],
}

test_a_read_needs_none if {
	approval.result == {"allowed": true} with input as request("GET", "documents")
}

test_a_write_waits_for_a_person if {
	result := approval.result with input as request("DELETE", "documents")
	result == {"allowed": false, "http_status": 428, "body": "DELETE below /documents"}
}

test_a_free_segment_needs_none if {
	approval.result == {"allowed": true} with input as request("POST", "drafts")
}

test_an_obligation_says_what_it_is if {
	found := approval.obligations with input as request("POST", "documents")
	found == {{"kind": "approval", "reason": "POST below /documents"}}
}
