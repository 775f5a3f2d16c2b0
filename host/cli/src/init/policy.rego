# Writes wait for a person. In force: envoy.yaml holds this text as `policy.rego.inline`, and a
# change is made there; this copy is for `postern policy test`, `eval` and `bench`.
#
# Why by default: an agent can be talked into a write by anything that it reads, and a write
# cannot be taken back by finding it in a log. Reads go on without asking.
# What the gate knows of a caller is in input.postern.identity: subject, kind, tenant,
# organisation, user, agent, roles, scopes.
package postern.approval

import rego.v1

# First segments of paths below which writes need nobody.
free := set()

# Those below which a person approves with a passkey.
passkey := set()

obligations contains {"kind": kind} if {
	not input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}
	not input.parsed_path[0] in free
}

kind := "passkey" if input.parsed_path[0] in passkey
else := "approval"

result := {"allowed": true, "obligations": obligations}
