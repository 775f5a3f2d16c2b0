# What a part reads that is passed over (every of nothing, a comprehension of nothing, behind
# not) is read again by what follows.
package passed_over

import rego.v1

names contains name if {
	some name in input.attributes.request.http.headers
	name == "nobody"
}

denied["every"] if {
	every name in names { name != input.attributes.request.http.host }
	input.attributes.request.http.method == "POST"
}

denied["every of data"] if {
	every name in names { name != data.owners[name] }
	data.owners.acme == "ada"
}

denied["comprehension"] if {
	count([name | some name in names; name != input.attributes.request.http.host]) == 0
	input.attributes.request.http.method == "POST"
}

denied["negation"] if {
	not count({name | some name in names; name != data.owners[name]}) == 1
	data.owners.acme == "ada"
	input.attributes.request.http.method == "POST"
}

otherwise if {
	every name in names { name == input.attributes.request.http.host }
	input.attributes.request.http.method == "GET"
} else if {
	every name in names { name == input.attributes.request.http.host }
	input.attributes.request.http.method == "POST"
}

denied["index of data"] if {
	every name in ["acme", input.attributes.request.http.host] { data.owners[name] }
}

denied["index of a set"] if {
	every name in ["nobody", input.attributes.request.http.host] { names[name] }
}

denied["key"] if {
	every key, name in input.attributes.request.http.headers { data.owners[key] != name }
}

methods contains input.attributes.request.http.method if {
	every name in names { name == input.attributes.request.http.host }
}

counts := [
	count([name | some name in names; name == input.attributes.request.http.host]),
	input.attributes.request.http.method,
]

of(path) := [input.attributes.request.http.method, data.owners[path]] if {
	count({name: owner | some name in names; owner := data.owners[name]; input.nothing}) == 0
}

# Strings that end in a backslash, beside parameters without a name.
named("\\", "_", x) := ["backslash", x]

named(`C:\`, _, x) := ["drive", x]

# A name that an inner part uses again.
again if {
	every name in ["acme"] {
		every name in ["ada"] { name == data.owners.acme }
		name == "acme"
	}
}

allow if not denied

default method := "none"

method := input.attributes.request.http.method if otherwise

result := {"denied": denied, "method": method, "methods": methods, "counts": counts, "of": of("acme"), "again": again, "named": [named("\\", "_", 1), named("C:\\", "y", 2)]}
