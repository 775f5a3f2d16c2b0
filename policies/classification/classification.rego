# Classification: which clearance a path needs, and down to which level answers are shown.
#
# Reads data.classification.levels (a level and its rank), data.classification.paths[segment],
# the level that a caller has to be cleared for below that first segment, and
# data.classification.platforms[platform], the highest level that is shown on a connector
# platform, whatever its user is cleared for. A path or platform that nobody wrote down is
# denied. The gate's `barriers` remove the sections (input.postern.clearance is compared there
# too; a policy only lowers it).
package postern.classification

import rego.v1

default allow := false

levels := data.classification.levels

allow if levels[input.postern.clearance] >= levels[data.classification.paths[input.parsed_path[0]]]

platform := object.get(input.postern.identity, "platform", null)

shown := data.classification.platforms[platform] if platform != null
else := input.postern.clearance if platform == null

obligations contains {"kind": "redact", "above": shown, "reason": "platform"} if {
	platform != null
	levels[shown] < levels[input.postern.clearance]
}

default result := {"allowed": false, "http_status": 403}

result := {"allowed": true, "obligations": obligations} if {
	allow
	levels[shown] >= 0
}
