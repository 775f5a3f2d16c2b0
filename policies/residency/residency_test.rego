package postern.residency_test

import rego.v1

import data.postern.residency

request(organisation, region) := {"postern": {"organisation": organisation, "region": region}}

test_a_region_of_the_organisation_is_allowed if {
	residency.allow with input as request("research", "eu-west")
	residency.allow with input as request("sales", "us-east")
}

test_another_region_is_denied if {
	not residency.allow with input as request("research", "us-east")
	not residency.allow with input as request("research", "eu")
	not residency.allow with input as request("sales", "ap-south")
}

test_without_a_region_or_an_organisation_it_denies if {
	not residency.allow with input as {"postern": {"organisation": "research"}}
	not residency.allow with input as request("other", "eu-west")
	not residency.allow with input as request("", "eu-west")
}
