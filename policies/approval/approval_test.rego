package postern.approval_test

import rego.v1

import data.postern.approval

request(method, segment) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": [segment],
}

obliged(method, segment) := result if {
	result := approval.result.obligations with input as request(method, segment)
}

test_a_read_needs_none if {
	obliged("GET", "documents") == set()
	obliged("HEAD", "signing") == set()
}

test_a_write_waits_for_a_person if {
	obliged("DELETE", "documents") == {{"kind": "approval", "reason": "DELETE below /documents"}}
}

test_some_wait_for_a_passkey if {
	obliged("POST", "signing") == {{"kind": "passkey", "reason": "POST below /signing"}}
}

test_a_free_segment_needs_none if {
	obliged("POST", "drafts") == set()
}

test_obligations_are_all_that_is_said if {
	approval.result == {"allowed": true, "obligations": set()} with input as request("GET", "documents")
}
