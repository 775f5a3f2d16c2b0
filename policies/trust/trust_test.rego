package postern.trust_test

import rego.v1

import data.postern.trust

request(level, method, kind) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": ["documents", "d1", kind],
	"parsed_body": {},
	"postern": {"trust": level, "identity": {"document": "d1"}},
}

aligned(document, value) := object.union(document, {"parsed_body": {"aligned": value}})

test_an_observer_reads if {
	trust.allow with input as request("observer", "GET", "content")
	not trust.allow with input as request("observer", "POST", "proposals")
}

test_a_suggester_proposes if {
	trust.allow with input as request("suggester", "POST", "proposals")
	trust.allow with input as request("suggester", "POST", "intents")
	not trust.allow with input as request("suggester", "POST", "votes")
}

test_a_collaborator_votes if {
	trust.allow with input as request("collaborator", "POST", "votes")
	not trust.allow with input as aligned(request("collaborator", "POST", "merges"), true)
}

test_an_autonomous_agent_merges_when_all_agree if {
	trust.allow with input as aligned(request("autonomous", "POST", "merges"), true)
	not trust.allow with input as aligned(request("autonomous", "POST", "merges"), false)
	not trust.allow with input as aligned(request("autonomous", "POST", "merges"), "true")
	not trust.allow with input as request("autonomous", "POST", "merges")
}

test_an_unknown_level_may_nothing if {
	not trust.allow with input as request("root", "GET", "content")
}

test_another_document_is_none_of_its_business if {
	other := object.union(request("autonomous", "GET", "content"), {"parsed_path": ["documents", "d2", "content"]})
	not trust.allow with input as other
}
