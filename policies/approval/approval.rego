# Writes need a person's approval.
#
# Says which requests need one and why, as `obligations`; and, as long as nothing grants
# approvals to this gate, answers them with 428. Reads data.approval.free, a list of first
# segments below which writes need none.
package postern.approval

import rego.v1

obligations contains {"kind": "approval", "reason": reason} if {
	writes
	not input.parsed_path[0] in data.approval.free
	reason := sprintf("%s below /%s", [input.attributes.request.http.method, input.parsed_path[0]])
}

writes if not input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}

result := {"allowed": true} if count(obligations) == 0
else := {
	"allowed": false,
	"http_status": 428,
	"body": concat(", ", {obligation.reason | some obligation in obligations}),
}
