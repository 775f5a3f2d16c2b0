# Writes need a person's approval.
#
# Says which requests need one and why, as `obligations`, which the gate keeps: it asks people
# through the key service and answers 428 (`approval_required`) until the request comes again with
# an approval. Reads go on without one: an agent can be talked into a write by what it reads, and
# a log does not undo it. Uses data.approval.free, a list of
# first segments below which writes need none, and data.approval.passkey, those below which the
# approval needs a passkey.
package postern.approval

import rego.v1

obligations contains {"kind": kind, "reason": reason} if {
	writes
	not input.parsed_path[0] in data.approval.free
	reason := sprintf("%s below /%s", [input.attributes.request.http.method, input.parsed_path[0]])
}

writes if not input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}

kind := "passkey" if input.parsed_path[0] in data.approval.passkey
else := "approval"

result := {"allowed": true, "obligations": obligations}
