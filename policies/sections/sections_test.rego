package postern.sections_test

import rego.v1

import data.postern.sections

request(document, section, clearance) := {
	"parsed_path": ["documents", document, "sections", section],
	"postern": {"clearance": clearance},
}

test_a_section_needs_its_level if {
	sections.allow with input as request("plan-2026", "summary", "public")
	sections.allow with input as request("plan-2026", "budget", "confidential")
	not sections.allow with input as request("plan-2026", "budget", "internal")
}

test_what_nobody_classified_is_denied if {
	not sections.allow with input as request("plan-2026", "other", "confidential")
	not sections.allow with input as request("plan-2027", "budget", "confidential")
}

test_who_is_not_cleared_is_denied if {
	not sections.allow with input as request("plan-2026", "summary", null)
	not sections.allow with input as request("plan-2026", "summary", "secret")
	not sections.allow with input as {"parsed_path": ["documents", "plan-2026", "sections", "summary"], "postern": {}}
}

test_other_paths_are_denied if {
	not sections.allow with input as {"parsed_path": ["documents", "plan-2026"], "postern": {"clearance": "confidential"}}
	not sections.allow with input as {"parsed_path": ["press", "plan-2026", "sections", "summary"], "postern": {"clearance": "confidential"}}
}
