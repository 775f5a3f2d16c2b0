# One-way ratchet: what a session has seen decides what it may still do.
#
# Whoever reads below a segment of data.ratchet.sources gets its label, and keeps it: labels are
# only added, until the session's life (`taints` in the gate) is over. A session with a label
# may not go where data.ratchet.closed[label] says: having read from the web, an agent writes
# nothing any more; having read personal data, it reaches nobody outside. So the three that
# together make a leak, hostile content, private data and a way out, never meet in one session.
package postern.ratchet

import rego.v1

labels contains label if some label in input.postern.taint

segment := input.parsed_path[0]

# The labels that this request adds count for it as well.
added contains data.ratchet.sources[segment]

all_labels := labels | added

kind := "read" if input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}
else := "write"

closed contains label if {
	some label in all_labels
	kind in data.ratchet.closed[label].kinds
}

closed contains label if {
	some label in all_labels
	segment in data.ratchet.closed[label].segments
}

obligations contains {"kind": "taint", "label": label} if some label in added

default result := {"allowed": false, "http_status": 403}

result := {"allowed": true, "obligations": obligations} if count(closed) == 0
