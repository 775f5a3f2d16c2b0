//! The file as the admin interface may show it.
//!
//! Invariant: a value is shown because it is on a list here and for no other reason. What is
//! not on it is `[redacted]`, with everything below it: configurations of modules, texts that
//! stand in the file, values of fields, everything of a private key.

use postern_files::yaml::{Node, Tree};
use serde_json::{Map, Value};

/// What stands in place of a value.
const REDACTED: &str = "[redacted]";

/// Keys whose mappings (or lists of mappings) are gone into.
const INSIDE: &[&str] = &[
    "access_log",
    "address",
    "admin",
    "allowed_capabilities",
    "capability_restriction_config",
    "certificate_chain",
    "circuit_breakers",
    "clusters",
    "code",
    "common_http_protocol_options",
    "common_tls_context",
    "config",
    "config_discovery",
    "config_source",
    "direct_response",
    "endpoint",
    "endpoints",
    "environment_variables",
    "explicit_http_config",
    "filter_chains",
    "filters",
    "header",
    "headers",
    "http2_protocol_options",
    "http_filters",
    "http_protocol_options",
    "lb_endpoints",
    "listeners",
    "load_assignment",
    "local",
    "match",
    "match_typed_subject_alt_names",
    "node",
    "overload_manager",
    "path_config_source",
    "query_parameters",
    "redirect",
    "reload_config",
    "backoff",
    "request_headers_to_add",
    "resource_monitors",
    "response_headers_to_add",
    "route",
    "route_config",
    "routes",
    "socket_address",
    "static_resources",
    "stats_config",
    "stats_tags",
    "thresholds",
    "tls_certificates",
    "tls_params",
    "transport_socket",
    "trusted_ca",
    "typed_config",
    "typed_extension_protocol_options",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "validation_context",
    "virtual_hosts",
    "vm_config",
];

/// Keys whose values, or lists of values, are shown.
const LEAVES: &[&str] = &[
    "@type",
    "accept_http_10",
    "address",
    "allow_chunked_length",
    "allow_on_headers_stop_iteration",
    "append_action",
    "apply_default_config_without_warming",
    "base_interval",
    "case_sensitive",
    "cluster",
    "cluster_name",
    "codec_type",
    "connect_timeout",
    "dns_lookup_family",
    "dns_refresh_rate",
    "domains",
    "enable_trailers",
    "failure_policy",
    "filename",
    "forward_client_cert_details",
    "headers_with_underscores_action",
    "host_env_keys",
    "host_rewrite_literal",
    "https_redirect",
    "id",
    "idle_timeout",
    "ignore_case",
    "invert_match",
    "keep_empty_value",
    "key",
    "lb_policy",
    "max_active_downstream_connections",
    "max_concurrent_streams",
    "max_connections",
    "max_direct_response_body_size_bytes",
    "max_headers_count",
    "max_interval",
    "max_pending_requests",
    "max_request_headers_kb",
    "max_requests",
    "max_retries",
    "max_stream_duration",
    "merge_slashes",
    "most_specific_header_mutations_wins",
    "name",
    "normalize_path",
    "path",
    "path_separated_prefix",
    "path_with_escaped_slashes_action",
    "per_connection_buffer_limit_bytes",
    "port_value",
    "prefix",
    "prefix_rewrite",
    "present_match",
    "request_headers_timeout",
    "request_headers_to_remove",
    "request_timeout",
    "require_client_certificate",
    "response_code",
    "response_headers_to_remove",
    "root_id",
    "runtime",
    "san_type",
    "sni",
    "stat_prefix",
    "status",
    "stream_error_on_invalid_http_message",
    "stream_idle_timeout",
    "strip_query",
    "tag_name",
    "timeout",
    "tls_maximum_protocol_version",
    "tls_minimum_protocol_version",
    "treat_missing_header_as_empty",
    "type",
    "type_urls",
    "use_remote_address",
    "vm_id",
];

/// The whole file.
pub(super) fn shown(node: &Node) -> Value {
    match &node.tree {
        Tree::Map(entries) => mapping(entries, false),
        Tree::Leaf(_) | Tree::List(_) => Value::from(REDACTED),
    }
}

fn mapping(entries: &[(String, Node)], free: bool) -> Value {
    let entries = entries.iter().map(|(key, node)| {
        let value = if free { named(node) } else { value(key, node) };
        (key.clone(), value)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn value(key: &str, node: &Node) -> Value {
    match &node.tree {
        Tree::Leaf(leaf) if LEAVES.contains(&key) => leaf.clone(),
        Tree::List(items) => items.iter().map(|item| value(key, item)).collect(),
        // Its keys are names of hostcalls, and nothing stands under them.
        Tree::Map(entries) if key == "allowed_capabilities" => mapping(entries, true),
        Tree::Map(entries) if INSIDE.contains(&key) => mapping(entries, false),
        Tree::Leaf(_) | Tree::Map(_) => Value::from(REDACTED),
    }
}

/// What stands under a name that the file chooses: nothing, or nothing to be shown.
fn named(node: &Node) -> Value {
    match &node.tree {
        Tree::Map(entries) if entries.is_empty() => Value::Object(Map::new()),
        _ => Value::from(REDACTED),
    }
}
