# Budgets: which rate class a request counts in, and how much is kept in reserve.
#
# A request with a model counts in the class `model:NAME`, one to a path of data.budgets.bulk in
# the class `bulk`; the gate's `budgets` say how much of each there is. Of the agent's own budget,
# `calls`, writes leave data.budgets.reserve to reads, so that an agent that has written much can
# still look at what it did.
package postern.budgets

import rego.v1

model := input.parsed_body.model if is_string(input.parsed_body.model)

obligations contains {"kind": "rate", "class": concat(":", ["model", model])} if model in data.budgets.models

obligations contains {"kind": "rate", "class": "bulk"} if input.parsed_path[0] in data.budgets.bulk

reads if input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}

default allow := false

allow if reads

allow if input.postern.budget.calls > data.budgets.reserve

default result := {"allowed": false, "http_status": 429, "headers": {"retry-after": "1"}}

result := {"allowed": true, "obligations": obligations} if allow
