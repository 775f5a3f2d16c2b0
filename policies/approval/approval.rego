# Writes need a person's approval.
#
# Says which requests need one and why, as `obligations`, which the gate keeps: it answers 428
# (`approval_required`) as long as there is no approval. Reads data.approval.free, a list of
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
