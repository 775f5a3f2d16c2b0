package postern.ratchet_test

import rego.v1

import data.postern.ratchet

request(method, segment, labels) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": [segment],
	"postern": {"taint": labels},
}

denied := {"allowed": false, "http_status": 403}

free := {"allowed": true, "obligations": set()}

test_a_source_marks_the_session if {
	result := ratchet.result with input as request("GET", "web", [])
	result == {"allowed": true, "obligations": {{"kind": "taint", "label": "web"}}}
}

test_what_was_read_closes_what_could_leak_it if {
	ratchet.result == free with input as request("POST", "documents", [])
	ratchet.result == denied with input as request("POST", "documents", ["web"])
	ratchet.result == free with input as request("GET", "documents", ["web"])
	ratchet.result == free with input as request("POST", "documents", ["pii"])
	ratchet.result == denied with input as request("GET", "mail", ["pii"])
}

test_labels_add_up_and_none_opens_anything if {
	ratchet.result == denied with input as request("POST", "documents", ["pii", "web"])
	ratchet.result == denied with input as request("GET", "mail", ["pii", "web"])
	ratchet.result == free with input as request("GET", "mail", ["other"])
}

test_the_label_of_the_request_itself_counts if {
	ratchet.result == denied with input as request("POST", "web", [])
}
