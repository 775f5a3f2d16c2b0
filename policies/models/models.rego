# Models and tools: which agent may use which.
#
# Reads the content of the two protocols that agents speak: OpenAI's chat completions and
# responses (`model`, `tools`) below /v1, and the Model Context Protocol's JSON-RPC at /mcp
# (`tools/call`). Reads data.models.agents[agent].models[model] and .tools[tool]; the agent "*"
# is everybody. A request that is neither protocol's, or that does not say which model or tool
# it wants, is denied. So is a batch: its calls could not be told apart in the answer.
package postern.models

import rego.v1

default allow := false

agents := {input.postern.identity.agent, "*"}

may_model(model) if {
	some agent in agents
	data.models.agents[agent].models[model] == true
}

may_tool(tool) if {
	some agent in agents
	data.models.agents[agent].tools[tool] == true
}

# OpenAI's: POST /v1/chat/completions and /v1/responses.
completion if input.parsed_path in [["v1", "chat", "completions"], ["v1", "responses"]]

allow if {
	completion
	input.attributes.request.http.method == "POST"
	may_model(input.parsed_body.model)
	count(refused_tools) == 0
}

offered := object.get(input.parsed_body, "tools", [])

# A function has a name; a tool of the service's own has its type for one.
tool_name(tool) := tool.function.name if tool.type == "function"
else := tool.name if tool.type == "function"
else := tool.type

refused_tools contains index if {
	is_array(offered)
	some index, tool in offered
	not tool_is_allowed(tool)
}

# Tools that are no list cannot be looked through.
refused_tools contains -1 if not is_array(offered)

tool_is_allowed(tool) if may_tool(tool_name(tool))

# The Model Context Protocol.
mcp if input.parsed_path == ["mcp"]

allow if {
	mcp
	input.parsed_body.jsonrpc == "2.0"
	data.models.mcp_methods[input.parsed_body.method] == true
}

allow if {
	mcp
	input.parsed_body.jsonrpc == "2.0"
	input.parsed_body.method == "tools/call"
	may_tool(input.parsed_body.params.name)
}

# Reading of an event stream, and the end of a session.
allow if {
	mcp
	input.attributes.request.http.method in {"GET", "DELETE"}
}

# Which models there are.
allow if {
	input.parsed_path == ["v1", "models"]
	input.attributes.request.http.method == "GET"
}
