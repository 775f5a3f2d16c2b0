# Roles: what a user may do in an organisation.
#
# A role holds in the organisation in which it was given, and the path names the one that a
# request is about: /organisations/NAME/KIND/… Reads data.rbac.permissions[role] and
# data.rbac.actions[kind][method].
package postern.rbac

import rego.v1

default allow := false

allow if {
	in_organisation
	action in permitted
}

in_organisation if {
	input.parsed_path[0] == "organisations"
	input.parsed_path[1] == input.postern.organisation
}

# A platform's operator is at home in every organisation.
in_organisation if {
	input.parsed_path[0] == "organisations"
	"PLATFORM" in input.postern.roles
}

action := data.rbac.actions[input.parsed_path[2]][input.attributes.request.http.method]

permitted contains permission if {
	some role in input.postern.roles
	some permission in data.rbac.permissions[role]
}
