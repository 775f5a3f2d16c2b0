# Not in force: this version decides by the scopes and bindings of envoy.yaml and does not read Rego yet.
#
# This is where the policy will stand. What the gate knows of a caller is in
# input.postern.identity: subject, kind, tenant, organisation, user, agent, roles, scopes.
package postern

default allow := false

# An API key that may read documents is let through.
# allow if {
#     input.postern.identity.kind == "api_key"
#     "documents:read" in input.postern.identity.scopes
# }
