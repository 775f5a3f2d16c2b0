package postern.models_test

import rego.v1

import data.postern.models

request(agent, method, path, body) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": path,
	"parsed_body": body,
	"postern": {"identity": {"agent": agent}},
}

chat(agent, body) := request(agent, "POST", ["v1", "chat", "completions"], body)

call(agent, tool) := request(agent, "POST", ["mcp"], {
	"jsonrpc": "2.0",
	"id": 1,
	"method": "tools/call",
	"params": {"name": tool, "arguments": {}},
})

test_a_model_of_the_agent_or_of_everybody if {
	models.allow with input as chat("triage-bot", {"model": "large"})
	models.allow with input as chat("triage-bot", {"model": "small"})
	models.allow with input as chat("other", {"model": "small"})
	models.allow with input as request("other", "POST", ["v1", "responses"], {"model": "small"})
	not models.allow with input as chat("other", {"model": "large"})
	not models.allow with input as chat("triage-bot", {"model": "huge"})
}

test_a_request_that_names_no_model_is_denied if {
	not models.allow with input as chat("triage-bot", {})
	not models.allow with input as chat("triage-bot", {"model": ["small"]})
	not models.allow with input as chat("triage-bot", null)
	not models.allow with input as request("triage-bot", "POST", ["v1", "files"], {"model": "small"})
	not models.allow with input as request("triage-bot", "GET", ["v1", "chat", "completions"], {"model": "small"})
}

test_every_tool_that_is_offered_has_to_be_allowed if {
	search := {"type": "function", "function": {"name": "search"}}
	flat := {"type": "function", "name": "search"}
	shell := {"type": "function", "function": {"name": "shell"}}
	models.allow with input as chat("triage-bot", {"model": "small", "tools": [search, flat]})
	not models.allow with input as chat("triage-bot", {"model": "small", "tools": [search, shell]})
	not models.allow with input as chat("other", {"model": "small", "tools": [search]})
	not models.allow with input as chat("triage-bot", {"model": "small", "tools": [{"type": "web_search"}]})
	not models.allow with input as chat("triage-bot", {"model": "small", "tools": [{}]})
	not models.allow with input as chat("triage-bot", {"model": "small", "tools": [1]})
	not models.allow with input as chat("triage-bot", {"model": "small", "tools": {"a": search}})
	not models.allow with input as chat("triage-bot", {"model": "small", "tools": null})
}

test_a_tool_is_called_only_where_it_is_allowed if {
	models.allow with input as call("triage-bot", "search")
	not models.allow with input as call("triage-bot", "shell")
	not models.allow with input as call("other", "search")
	not models.allow with input as request("triage-bot", "POST", ["mcp"], {"jsonrpc": "2.0", "method": "tools/call"})
}

test_methods_without_an_effect_are_everybodys_and_others_nobodys if {
	list := {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
	models.allow with input as request("other", "POST", ["mcp"], list)
	models.allow with input as request("other", "GET", ["mcp"], null)
	models.allow with input as request("other", "GET", ["v1", "models"], null)
	not models.allow with input as request("other", "POST", ["mcp"], {"jsonrpc": "2.0", "method": "sampling/createMessage"})
	not models.allow with input as request("other", "POST", ["mcp"], {"method": "tools/list"})
	not models.allow with input as request("other", "POST", ["mcp"], [list, list])
}
