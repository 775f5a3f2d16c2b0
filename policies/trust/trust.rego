# Trust levels: what an agent may do in a document.
#
# The level is given to an agent for a document when it joins, and stands in the identity.
# Reads data.trust.may[level] and data.trust.actions[kind][method]; the path is
# /documents/ID/KIND. A merge needs that the participants agree, which the application
# says in the content: {"aligned": true}.
package postern.trust

import rego.v1

default allow := false

allow if {
	in_document
	action in data.trust.may[input.postern.trust]
	action != "merge"
}

allow if {
	in_document
	action == "merge"
	action in data.trust.may[input.postern.trust]
	input.parsed_body.aligned == true
}

# Where the token is for one document, only that one.
in_document if {
	input.parsed_path[0] == "documents"
	object.get(input.postern.identity, "document", null) in {null, input.parsed_path[1]}
}

action := data.trust.actions[input.parsed_path[2]][input.attributes.request.http.method]
