//! The shipped file is understood whole, and each edit that this gateway cannot honour
//! is a problem with its path and line.

mod clusters;
mod filters;
mod parts;
mod routes;
mod shown;

use std::time::Duration;

use super::*;

const SHIPPED: &str = include_str!("../../../../envoy/envoy.yaml");

/// An edit of the shipped file, then path and message of the one problem.
const EDITS: &[(&str, &str, &str, &str)] = &[
    ("merge_slashes: true", "merge_slashes: maybe", "…typed_config.merge_slashes", "true or false"),
    ("normalize_path:", "normalise_path:", "…typed_config.normalise_path", "does not know"),
    (
        "timeout: 30s}\n            - name: local",
        "timeout: 1m}\n            - name: local",
        "…virtual_hosts[0].routes[0].route.timeout",
        "a span such as 30s",
    ),
    (
        "route: {cluster: slack,",
        "route: {cluster: slack, retry_policy: {num_retries: 1},",
        "…virtual_hosts[0].routes[0].route.retry_policy",
        "no retries",
    ),
    (
        "route: {cluster: slack,",
        "route: {cluster: slack, request_mirror_policies: [{cluster: local}],",
        "…virtual_hosts[0].routes[0].route.request_mirror_policies",
        "no mirrors",
    ),
    (
        "route: {cluster: slack,",
        "route: {cluster: slack, hedge_policy: {},",
        "…virtual_hosts[0].routes[0].route.hedge_policy",
        "no hedging",
    ),
    (
        "route: {cluster: slack,",
        "route: {cluster: slack, internal_redirect_policy: {},",
        "…virtual_hosts[0].routes[0].route.internal_redirect_policy",
        "no internal redirects",
    ),
    (
        "route: {cluster: slack,",
        "route: {cluster: slack, cluster_header: x,",
        "…virtual_hosts[0].routes[0].route.cluster_header",
        "must not choose",
    ),
    (
        "route: {cluster: slack,",
        "route: {cluster: slick,",
        "…virtual_hosts[0].routes[0].route.cluster",
        "no cluster is called \"slick\"",
    ),
    (
        "match: {prefix: /}\n                route: {cluster: slack",
        "match: {}\n                route: {cluster: slack",
        "…virtual_hosts[0].routes[0].match",
        "either prefix or path",
    ),
    ("domains: [local.test]", "domains: [slack.com]", "…route_config", "two hosts"),
    (
        "FAIL_RELOAD\n                reload_config",
        "FAIL_NEVER\n                reload_config",
        "…access_log[0].typed_config.config.failure_policy",
        "FAIL_RELOAD",
    ),
    (
        "{host_env_keys: [POSTERN_AUDIT_KEY, POSTERN_SHARED_KEY]}",
        "{key_values: {A: b}}",
        "…environment_variables.key_values",
        "expected host_env_keys",
    ),
    ("\"%DURATION%\"", "\"%HOSTNAME%\"", "…json_format.duration_ms", "known here"),
    ("\"%DURATION%\"", "\"%REQ(Cookie)%\"", "…json_format.duration_ms", "holds a secret"),
    (
        "address: 127.0.0.1, port_value: 9000",
        "address: 192.0.2.1, port_value: 9000",
        "static_resources.clusters[1]",
        "only over TLS",
    ),
    ("sni: localhost\n", "\n", "…clusters[2].transport_socket.typed_config", "expected sni"),
    (
        "- {san_type: DNS, matcher: {exact: localhost}}",
        "- {san_type: DNS, matcher: {}}",
        "…match_typed_subject_alt_names[0].matcher",
        "expected exact",
    ),
    (
        "name: envoy.filters.http.router\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        "name: x\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "…http_filters[1].typed_config.@type",
        "router",
    ),
    ("type: LOGICAL_DNS", "type: EDS", "…clusters[0].type", "one of: STATIC, STRICT_DNS"),
    ("cluster_name: key_service", "cluster_name: keys", "…load_assignment", "the cluster's name"),
    (
        "max_active_downstream_connections: 10000",
        "max_active_downstream_connections: -1",
        "…max_active_downstream_connections",
        "a whole number",
    ),
    ("port_value: 10000", "port_value: 100000", "…socket_address.port_value", "in range"),
    (
        "allow_chunked_length: false",
        "allow_chunked_length: true",
        "…http_protocol_options.allow_chunked_length",
        "expected false",
    ),
];

#[test]
fn the_shipped_file_is_understood() {
    let gateway = Gateway::parse(SHIPPED).unwrap();
    assert_eq!(gateway.admin, Some(Address { host: "127.0.0.1".into(), port: 9901 }));
    assert_eq!(gateway.max_connections, Some(10_000));
    assert_eq!(gateway.stats_tags.len(), 1);
    let listener = &gateway.listeners[0];
    assert_eq!((listener.name.as_str(), listener.buffer), ("ingress", 1 << 20));
    let http = &listener.http;
    let second = Duration::from_secs(1);
    let timers = Timers {
        idle: Some(300 * second),
        stream_idle: Some(30 * second),
        request: Some(30 * second),
        request_headers: Some(10 * second),
        stream: Some(300 * second),
    };
    assert_eq!(http.timers, timers);
    assert!(http.normalize_path && http.merge_slashes && http.limits.reject_underscores);
    assert_eq!(http.escaped_slashes, EscapedSlashes::Reject);
    assert!(http.filters[0].plugin().unwrap().body_while_headers_paused);
    assert_eq!(http.access_log.len(), 2);
    let Action::Forward(forward) = &http.routes.hosts[1].routes[0].action else { panic!() };
    assert_eq!(forward.host_rewrite.as_deref(), Some("local.test"));
    let slack = &gateway.clusters["slack"];
    assert_eq!(slack.filters[0].plugin().unwrap().name, "credential");
    assert_eq!(slack.tls.as_ref().unwrap().name, "slack.com");
    assert_eq!(gateway.clusters["key_service"].breaker.requests, 256);
    assert!(gateway.clusters["key_service"].filters.is_empty());
}

#[test]
fn a_module_gets_its_configuration_as_json() {
    let gateway = Gateway::parse(SHIPPED).unwrap();
    let plugin = gateway.listeners[0].http.filters[0].plugin().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&plugin.configuration).unwrap();
    assert_eq!(value["bindings"][0]["credential"], "slack");
    assert_eq!(plugin.environment.len(), 3);
    assert!(plugin.capabilities.as_ref().unwrap().contains("proxy_on_request_body"));
}

#[test]
fn what_is_not_understood_is_a_problem_with_path_and_line() {
    for (from, to, path, message) in EDITS {
        assert!(SHIPPED.contains(from), "{from:?} is not in the file");
        let text = SHIPPED.replacen(from, to, 1);
        let Problems(found) = Gateway::parse(&text).expect_err(to);
        let end = path.trim_start_matches('…');
        let hit = found.iter().find(|p| p.path.ends_with(end) && p.message.contains(message));
        let Some(hit) = hit else { panic!("{to:?}: {found:#?}") };
        assert_eq!(found.len(), 1, "{to:?}: {found:#?}");
        let changed = 1 + text
            .bytes()
            .zip(SHIPPED.bytes())
            .take_while(|(a, b)| a == b)
            .filter(|(a, _)| *a == b'\n')
            .count() as u64;
        assert!(hit.line <= changed + 3, "{to:?}: line {} for {changed}", hit.line);
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text =
        SHIPPED.replace("normalize_path: true", "a: 1").replace("type: LOGICAL_DNS", "type: EDS");
    let Problems(found) = Gateway::parse(&text).unwrap_err();
    assert_eq!(found.len(), 2);
    assert!(found[0].line < found[1].line);
    let shown = Problems(found).to_string();
    assert!(shown.lines().all(|line| line.starts_with("line ")), "{shown}");
}

#[test]
fn text_that_is_no_yaml_is_a_problem() {
    for text in ["", "a: [", "[]", "static_resources: 1"] {
        assert!(Gateway::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn rewrites_and_conditions_of_tests_are_understood() {
    let route = "match: {prefix: /, headers: [{name: X-Api-Key, string_match: {contains: maps-}}]}\n                \
                 route: {prefix_rewrite: /admin, cluster: slack,";
    let text =
        SHIPPED.replacen("match: {prefix: /}\n                route: {cluster: slack,", route, 1);
    let gateway = Gateway::parse(&text).unwrap();
    let route = &gateway.listeners[0].http.routes.hosts[0].routes[0];
    let Action::Forward(forward) = &route.action else { panic!() };
    assert_eq!(forward.path_rewrite, Some(PathRewrite::Prefix("/admin".into())));
    let kind = TextKind::Contains("maps-".into());
    let test = Test::Text(TextMatch { kind, ignore_case: false });
    let name = "x-api-key".into();
    let wanted = FieldMatch { name, test, invert: false, missing_is_empty: false };
    assert_eq!(route.condition.fields, [wanted]);
}

/// Edits of HTTP/2 and upgrades, and what each is a problem of.
#[test]
fn versions_of_http_are_read_and_what_is_not_spoken_is_a_problem() {
    let good = |manager: &str| {
        let edit =
            SHIPPED.replace("http2_protocol_options: {max_concurrent_streams: 100}", manager);
        Gateway::parse(&edit).map(|mut gateway| gateway.listeners.remove(0).http)
    };
    let http = good("http2_protocol_options: {initial_stream_window_size: 65535}").unwrap();
    let usual = Http2::default();
    assert_eq!(http.http2, Http2 { stream_window: 65_535, ..usual });
    assert_eq!((http.codec, http.websocket), (Codec::Auto, false));
    let http = good("codec_type: HTTP2\n          upgrade_configs: [{upgrade_type: websocket}]");
    let http = http.unwrap();
    assert_eq!((http.codec, http.http2, http.websocket), (Codec::Http2, usual, true));
    for (manager, want) in [
        ("http2_protocol_options: {initial_stream_window_size: 65534}", "from 65535 to 2147483647"),
        ("http2_protocol_options: {max_concurrent_streams: 0}", "from 1 to 2147483647"),
        ("http2_protocol_options: {allow_connect: true}", "expected false"),
        ("http2_protocol_options: {hpack_table_size: 1}", "hpack_table_size"),
        ("codec_type: HTTP3", "one of: AUTO, HTTP1, HTTP2"),
        ("upgrade_configs: [{upgrade_type: foo}]", "one of: websocket"),
        ("upgrade_configs: [{upgrade_type: websocket, enabled: false}]", "expected true"),
    ] {
        let problems = good(manager).unwrap_err().to_string();
        assert!(problems.contains(want) && !problems.contains('\n'), "{problems}");
    }
}

#[test]
fn a_cluster_speaks_one_version_of_http() {
    let read = |config: &str| {
        let edit = SHIPPED.replacen(
            "explicit_http_config:\n          http_protocol_options: {}",
            config,
            1,
        );
        assert_ne!(edit, SHIPPED);
        Gateway::parse(&edit)
    };
    let gateway =
        read("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 7}}")
            .unwrap();
    let spoken: Vec<_> = gateway.clusters.values().filter_map(|cluster| cluster.http2).collect();
    assert_eq!(spoken, [Http2 { streams: 7, ..Http2::default() }]);
    for (config, want) in [
        ("explicit_http_config: {}", "expected http_protocol_options"),
        (
            "explicit_http_config: {http_protocol_options: {}, http2_protocol_options: {}}",
            "one version",
        ),
        ("auto_config: {}", "one version"),
        ("use_downstream_protocol_config: {}", "one version"),
    ] {
        let problems = read(config).unwrap_err().to_string();
        assert!(problems.contains(want), "{problems}");
    }
}
