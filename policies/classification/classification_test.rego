package postern.classification_test

import rego.v1

import data.postern.classification

request(segment, clearance, platform) := {
	"parsed_path": [segment],
	"postern": {"clearance": clearance, "identity": {"platform": platform}},
}

denied := {"allowed": false, "http_status": 403}

test_the_clearance_of_the_path_is_needed if {
	classification.result == {"allowed": true, "obligations": set()} with input as request("documents", "internal", null)
	classification.result == denied with input as request("board", "internal", null)
	classification.result == {"allowed": true, "obligations": set()} with input as request("board", "secret", null)
}

test_a_path_or_level_that_nobody_wrote_down_is_denied if {
	classification.result == denied with input as request("other", "secret", null)
	classification.result == denied with input as request("documents", "top", null)
	classification.result == denied with input as request("documents", null, null)
	classification.result == denied with input as {"parsed_path": ["documents"], "postern": {"identity": {}}}
}

test_a_platform_lowers_what_is_shown if {
	result := classification.result with input as request("documents", "secret", "cursor")
	result == {"allowed": true, "obligations": {{"kind": "redact", "above": "internal", "reason": "platform"}}}
}

test_a_platform_raises_nothing if {
	result := classification.result with input as request("documents", "internal", "claude-api")
	result == {"allowed": true, "obligations": set()}
}

test_a_platform_that_nobody_wrote_down_is_denied if {
	classification.result == denied with input as request("documents", "secret", "other")
}
