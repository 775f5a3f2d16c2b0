# Residency: in which regions an organisation's requests may be answered.
#
# Reads data.residency.organisations[organisation][region]. The gate's `residency` holds for
# the whole tenant; this is for organisations of it that may less. Without a region of the
# upstream, or for an organisation that nobody wrote down, it denies.
package postern.residency

import rego.v1

default allow := false

allow if data.residency.organisations[input.postern.organisation][input.postern.region] == true
