//! Every rule of `check` has a row: an edit of the shipped `envoy.yaml`, and what is said.

use super::{Allowed, Module, Report, Severity, check};

const GOOD: &str = include_str!("../../../../envoy/envoy.yaml");
const LOCAL: Allowed = Allowed { simulated: true, plain_upstream: true };

fn errors(report: &Report) -> Vec<String> {
    let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
    errors.map(|f| format!("{}: {}: {}", f.line, f.path, f.message)).collect()
}

/// The shipped file with the first `from` replaced.
fn edited(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the shipped file has no {from:?}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_shipped_file_is_good_when_development_is_allowed() {
    assert_eq!(errors(&check(GOOD, None, LOCAL)), Vec::<String>::new());
}

#[test]
fn a_client_certificate_for_the_key_service_is_good() {
    let text = edited("          # tls_certificates: ", "          tls_certificates: ");
    assert_eq!(errors(&check(&text, None, LOCAL)), Vec::<String>::new());
}

#[test]
fn the_shipped_file_is_refused_without_leave() {
    let found = errors(&check(GOOD, None, Allowed::default()));
    let simulated = found.iter().filter(|e| e.contains("SIMULATED")).count();
    let plain = found.iter().filter(|e| e.contains("leave in plain HTTP")).count();
    assert_eq!((simulated, plain, found.len()), (3, 1, 4), "{found:#?}");
}

#[rustfmt::skip]
const ROWS: &[(&str, &str, &str)] = &[
    // Modules.
    ("failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "failure_policy: expected FAIL_RELOAD"),
    ("failure_policy: FAIL_RELOAD", "failure_policy: FAIL_CLOSED", "failure_policy: expected FAIL_RELOAD"),
    ("failure_policy: FAIL_RELOAD", "fail_open: true", "expected failure_policy: FAIL_RELOAD"),
    ("vm_id: postern", "vm_id: mine", "vm_config.vm_id: expected postern"),
    ("runtime: envoy.wasm.runtime.v8", "runtime: envoy.wasm.runtime.wamr", "expected envoy.wasm.runtime.v8"),
    ("{host_env_keys: [POSTERN_GATE_KEY, ", "{key_values: {A: b}, host_env_keys: [POSTERN_GATE_KEY, ", "shown by /config_dump"),
    ("host_env_keys: [POSTERN_GATE_KEY, ", "host_env_keys: [", "POSTERN_GATE_KEY is missing"),
    ("host_env_keys: [POSTERN_GATE_KEY, ", "host_env_keys: [POSTERN_INTROSPECTION_SECRET, POSTERN_GATE_KEY, ", "the gate module must not hold POSTERN_INTROSPECTION_SECRET"),
    ("- api_key: {header: authorization, prefixes: [pk_]}\n", "- introspected: {issuer: a, audience: [b], endpoint: {cluster: c, authority: d, path: /e}, client: {id: f}, header: x-g}\n", "POSTERN_INTROSPECTION_SECRET is missing: the gate module needs it"),
    ("host_env_keys: [POSTERN_AUDIT_KEY, ", "host_env_keys: [POSTERN_PERMIT_KEY, POSTERN_AUDIT_KEY, ", "the audit module must not hold POSTERN_PERMIT_KEY"),
    ("allow_on_headers_stop_iteration: true", "allow_on_headers_stop_iteration: false", "expected true with body: hold"),
    ("      body: hold", "      body: off", "expected false unless the configuration says body: hold"),
    ("name: credential\n", "name: credential\n              allow_on_headers_stop_iteration: true\n", "would buffer uploads"),
    ("tenant: acme", "tenants: acme", "tenants"),
    ("role: inject", "role: eject", "role"),
    ("when_full: all", "when_full: never", "when_full"),
    ("bindings: *bindings", "bindings: []", "not the same as in the gate"),
    // Listeners.
    ("address: {socket_address: {address: 127.0.0.1, port_value: 10000}}", "address: {socket_address: {address: 0.0.0.0, port_value: 10000}}", "plain HTTP on an address that is not loopback"),
    ("address: {socket_address: {address: 127.0.0.1, port_value: 9901}}", "address: {socket_address: {address: 0.0.0.0, port_value: 9901}}", "admin.address: expected a loopback address"),
    ("stream_idle_timeout: 30s", "stream_idle_timeout: 0s", "stream_idle_timeout: expected a time"),
    ("          request_timeout: 30s\n", "", "request_timeout: expected a time"),
    ("            max_stream_duration: 300s\n", "", "max_stream_duration: expected a time"),
    ("per_connection_buffer_limit_bytes: 1048576", "per_connection_buffer_limit_bytes: 262144", "expected more than the gate's body_limit"),
    ("- name: postern.audit\n", "- name: postern.audit\n            filter: {status_code_filter: {}}\n", "expected no filter"),
    ("- name: postern.gate\n", "- name: postern.gate\n            disabled: true\n", "expected the gate to be enabled"),
    // Routes.
    ("route: {cluster: slack, ", "route: {retry_policy: {retry_on: 5xx}, cluster: slack, ", "expected no retries"),
    ("route: {cluster: slack, ", "route: {hedge_policy: {}, cluster: slack, ", "expected no hedging"),
    ("route: {cluster: slack, ", "route: {request_mirror_policies: [{cluster: local}], cluster: slack, ", "expected no mirrors"),
    ("route: {cluster: slack, ", "route: {internal_redirect_policy: {}, cluster: slack, ", "expected no internal redirects"),
    ("route: {cluster: slack, ", "route: {cluster_header: x-to, ", "could choose a credentialed cluster"),
    ("domains: [slack.com]\n", "domains: [slack.com]\n              retry_policy: {retry_on: 5xx}\n", "expected no retries"),
    ("domains: [slack.com]\n", "domains: [slack.com]\n              typed_per_filter_config: {postern.gate: {disabled: true}}\n", "expected the gate to be the same on every route"),
    // The forward endpoint.
    ("      body: hold", "      forward: {path: forward}\n                    body: hold", "forward.path: expected a clean absolute path"),
    ("      body: hold", "      forward: {to: x}\n                    body: hold", "forward.to"),
    // What leaves HTTP.
    ("stat_prefix: ingress", "stat_prefix: ingress\n          upgrade_configs: [{upgrade_type: CONNECT}]", "upgrade_type: expected websocket"),
    ("stat_prefix: ingress", "stat_prefix: ingress\n          upgrade_configs: [{}]", "upgrade_type: expected websocket"),
    ("stat_prefix: ingress", "stat_prefix: ingress\n          upgrade_configs: [{upgrade_type: websocket, filters: []}]", "the gate would not stand among them"),
    // Client certificates.
    ("    - filters:\n", "    - transport_socket: {name: tls, typed_config: {require_client_certificate: true}}\n      filters:\n", "any client certificate is accepted"),
    ("    - filters:\n", "    - transport_socket: {name: tls, typed_config: {common_tls_context: {validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}}}}\n      filters:\n", "anybody could be any workload"),
    // Clusters.
    ("  - name: slack\n    type", "  - name: slick\n    type", "no cluster is called \"slack\""),
    ("sni: slack.com", "sni: example.com", "sni: expected \"slack.com\""),
    ("matcher: {exact: slack.com}", "matcher: {suffix: slack.com}", "expected one exact match of \"slack.com\""),
    ("            trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}\n", "", "trusted_ca: missing"),
    ("tls_minimum_protocol_version: TLSv1_2", "tls_minimum_protocol_version: TLSv1_0", "expected TLSv1_2 or newer"),
    ("TLSv1_3, tls_maximum_protocol_version: TLSv1_3", "TLSv1_3", "it would never connect"),
    ("    typed_extension_protocol_options: *credentialed", "    metadata: {}", "expected the credential module here"),
    ("        - name: envoy.filters.http.upstream_codec", "        - name: other\n        - name: envoy.filters.http.upstream_codec", "could read what it injects"),
    ("address: 127.0.0.1, port_value: 9000", "address: 192.0.2.1, port_value: 9000", "credentials would leave in plain HTTP"),
    ("cluster: key_service\n", "cluster: keys\n", "no cluster is called \"keys\""),
    ("max_requests: 256, ", "", "callers that go away leave their look-ups running"),
    ("          # tls_certificates: [{certificate_chain: {filename: gateway-tls.pem}, private_key: {filename: gateway-tls.key}}]", "          tls_certificates: [{certificate_chain: {filename: a}, private_key: {inline_string: b}}]", "a key written here is in every copy of this file"),
    ("          # tls_certificates: [{certificate_chain: {filename: gateway-tls.pem}, private_key: {filename: gateway-tls.key}}]", "          tls_certificates: []", "expected one certificate with its key, or none"),
    ("sni: localhost", "sni: other", "sni: expected \"localhost\""),
    ("                    - api_key: {header: authorization, prefixes: [pk_]}\n", "                    - api_key: {header: authorization, prefixes: [pk_]}\n                    - introspected: {header: x-token, issuer: 'https://a.test', client_id: g, audience: [g], endpoint: {cluster: local, authority: a.test, path: /i}}\n", "expected TLS to the issuer"),
    ("                    - api_key: {header: authorization, prefixes: [pk_]}\n", "                    - api_key: {header: authorization, prefixes: [pk_]}\n                    - introspected: {header: x-token, endpoint: {cluster: nobody, authority: a.test, path: /i}}\n", "introspected.endpoint.cluster: no cluster is called \"nobody\""),
    // What is written down.
    ("method: \"%REQ(:METHOD)%\"", "method: \"%REQ(Postern-Capability)%\"", "prints the request field \"postern-capability\""),
    ("method: \"%REQ(:METHOD)%\"", "method: \"%REQ(Authorization)%\"", "prints the request field \"authorization\""),
    ("method: \"%REQ(:METHOD)%\"", "method: \"%REQ(X-A?AUTHORIZATION):10%\"", "prints the request field \"authorization\""),
    ("method: \"%REQ(:METHOD)%\"", "method: \"%CEL(request.headers['authorization'])%\"", "prints the request field"),
    ("          access_log:\n", "          tracing: {custom_tags: [{tag: a, request_header: {name: Authorization}}]}\n          access_log:\n", "prints the request field \"Authorization\""),
    ("static_resources:", "bootstrap_extensions: [{typed_config: {config: {vm_config: {vm_id: postern}}}}]\nstatic_resources:", "and no other"),
    // The document.
    ("static_resources:", "static_resource:", "expected an envoy.yaml"),
    ("  clusters:\n", "  listeners: []\n  clusters:\n", "not readable as YAML"),
];

#[test]
fn every_rule_finds_its_edit_and_names_the_place() {
    for (from, to, expected) in ROWS {
        let found = errors(&check(&edited(from, to), None, LOCAL));
        assert!(found.iter().any(|error| error.contains(expected)), "{to:?}: {found:#?}");
    }
}

/// The shipped file where slack.com's answers mint, with or without the switch.
fn minting(switch: bool) -> String {
    let mints = "mints: [{value: /access_token, name: access, authority: slack.com, methods: [PUT], \
                 paths: [/api/**], site: {style: bearer}}]";
    let text =
        edited("max_occurrences: 1", &format!("max_occurrences: 1\n                      {mints}"));
    let name = "name: credential\n";
    let with = format!("{name}              allow_on_headers_stop_iteration: true\n");
    if switch { text.replacen(name, &with, 1) } else { text }
}

#[test]
fn the_head_of_a_token_endpoints_answer_has_to_wait_and_no_other() {
    // Both clusters of the shipped file have the same filter.
    let found = errors(&check(&minting(false), None, LOCAL));
    assert!(found.len() == 1 && found[0].contains("answers of slack.com mint"), "{found:#?}");
    let found = errors(&check(&minting(true), None, LOCAL));
    let other = "nothing of local.test mints, and it would buffer uploads";
    assert!(found.len() == 1 && found[0].contains(other), "{found:#?}");
}

#[test]
fn a_forward_endpoint_needs_a_route_to_each_upstream() {
    let with = |from: &str, to: &str| {
        let body = "                    body: hold\n";
        let text = edited(body, &format!("                    forward: {{}}\n{body}"));
        assert!(text.contains(from), "{from:?}");
        errors(&check(&text.replacen(from, to, 1), None, LOCAL))
    };
    let slack = "no route for slack.com leads to slack: what is forwarded there is refused";
    let local = "no route for local.test leads to local: what is forwarded there is refused";
    for (from, to, expected) in [
        ("domains: [slack.com]", "domains: [Slack.com]", &[][..]),
        ("domains: [slack.com]", "domains: [\"*.com\"]", &[]),
        ("domains: [slack.com]", "domains: [\"sla*\"]", &[]),
        ("domains: [slack.com]", "domains: [\"*\"]", &[]),
        ("domains: [slack.com]", "domains: [api.slack.com, \"*.slack.com\"]", &[slack]),
        ("domains: [slack.com]", "domains: [\"slack.com:443\"]", &[slack]),
        ("domains: [local.test]", "domains: [\"*\"]", &[]),
        ("domains: [local.test]", "domains: [\"local.test\", \"*.com\"]", &[]),
        ("domains: [slack.com]", "domains: [local.test.]", &[slack]),
        ("route: {cluster: slack, ", "route: {cluster: local, ", &[slack]),
        ("route: {cluster: local, ", "route: {cluster: slack, ", &[local]),
    ] {
        let found = with(from, to);
        assert_eq!(found.len(), expected.len(), "{to}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.ends_with(expected) && found.contains(".forward: "), "{found}");
        }
    }
}

#[test]
fn leave_for_a_websocket_is_the_bindings_and_the_proxys() {
    let configs = (
        "stat_prefix: ingress",
        "stat_prefix: ingress\n          upgrade_configs: [{upgrade_type: websocket}]",
    );
    let leave = ("max_occurrences: 1", "websocket: text");
    for (edits, expected) in [
        (&[][..], None),
        (&[configs, leave], None),
        (&[configs], Some("no binding has websocket: text, so the gate refuses each of them")),
        (&[leave], Some("no WebSocket gets here without upgrade_configs of the manager")),
    ] {
        let text =
            edits.iter().fold(GOOD.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
        let report = check(&text, None, LOCAL);
        assert_eq!(errors(&report), Vec::<String>::new());
        let said = ["WebSocket", "websocket"];
        let notes = report.findings.iter().map(|finding| finding.message.as_str());
        let notes: Vec<&str> =
            notes.filter(|note| said.iter().any(|word| note.contains(word))).collect();
        assert_eq!(notes, expected.into_iter().collect::<Vec<_>>(), "{edits:?}");
    }
}

#[test]
fn a_gate_without_audit_is_found() {
    let text =
        GOOD.replace("name: postern.audit", "name: other").replace("audit.wasm", "other.wasm");
    let text =
        text.replace("name: audit\n", "name: other\n").replacen("vm_id: postern", "vm_id: x", 1);
    let found = errors(&check(&text, None, LOCAL));
    assert!(found.iter().any(|e| e.contains("without the audit access log")), "{found:#?}");
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = edited("failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN")
        .replace("sni: slack.com", "sni: x")
        .replacen("tenant: acme\n", "tenant: acme\n                    nonsense: 1\n", 1);
    let report = check(&text, None, LOCAL);
    assert!(errors(&report).len() >= 3, "{:#?}", errors(&report));
    assert!(report.findings.is_sorted_by_key(|finding| finding.line));
}

#[test]
fn a_finding_names_line_and_path() {
    let text = edited("stream_idle_timeout: 30s", "stream_idle_timeout: 0s");
    let line = text.lines().position(|line| line.contains("stream_idle_timeout: 0s")).unwrap() + 1;
    let report = check(&text, None, LOCAL);
    let finding =
        report.findings.iter().find(|f| f.message.starts_with("expected a time")).unwrap();
    assert_eq!(finding.line, line as u64);
    assert_eq!(
        finding.path,
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stream_idle_timeout"
    );
}

#[test]
fn a_bare_configuration_is_parsed_by_its_module() {
    for (text, module) in [
        ("batch: {records: 0}", None),
        ("role: nothing", None),
        ("authenticators: []", None),
        ("{}", Some(Module::Audit)),
    ] {
        let report = check(text, module, LOCAL);
        assert!(report.is_bad(), "{text}");
        assert!(errors(&report).iter().any(|e| e.contains("key_service")), "{:?}", errors(&report));
    }
}

/// The first rule of the shipped gate, and what may stand before it.
const FIRST_RULE: &str = "- {methods: [GET, HEAD], path: /api/**, require: [\"documents:read\"]}\n";

#[test]
fn a_scope_rule_that_another_spelling_gets_round_is_noted() {
    let said = |rules: &str| {
        let rules: Vec<&str> = rules.split(' ').collect();
        let rules: String = rules.chunks(2).map(|rule| {
            let (path, require) = (rule[0], rule[1]);
            format!("- {{methods: [GET], path: '{path}', require: [{require}]}}\n                    ")
        }).collect();
        let report = check(&edited(FIRST_RULE, &format!("{rules}{FIRST_RULE}")), None, LOCAL);
        assert_eq!(errors(&report), Vec::<String>::new(), "{rules}");
        let notes = report.findings.into_iter().filter(|f| f.message.contains("requires less"));
        notes.map(|f| f.message.split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let slash = "/admin/ falls to the rule for /**";
    let case = "/ADMIN falls to the rule for /**";
    for (rules, expected) in [
        ("/admin admin:read /** documents:read", &[slash, case][..]),
        ("/admin admin:read,documents:read /** documents:read", &[slash, case]),
        (
            "/admin admin:read /admin/ admin:read /** documents:read",
            &[case, "/ADMIN/ falls to the rule for /**"],
        ),
        ("/admin/** admin:read /** documents:read", &["/ADMIN/** falls to the rule for /**"]),
        ("/7/{Id} admin:read /** documents:read", &["/7/{Id}/ falls to the rule for /**"]),
        ("/7/ admin:read /** documents:read", &["/7 falls to the rule for /**"]),
        ("/admin documents:read /** documents:read,admin:read", &[]),
        ("/admin admin:read /docs/** documents:read", &[]),
        ("/ admin:read /** documents:read", &[]),
    ] {
        assert_eq!(said(rules), expected, "{rules}");
    }
}

const KEYS: &str = include_str!("../../../keys/keys.postgres.example.yaml");

#[test]
fn the_key_services_examples_are_good_when_development_is_allowed() {
    assert_eq!(errors(&check(KEYS, None, LOCAL)), Vec::<String>::new());
    let local = include_str!("../../../keys/keys.example.yaml");
    assert_eq!(errors(&check(local, None, LOCAL)), Vec::<String>::new());
    let found = errors(&check(KEYS, None, Allowed::default()));
    assert!(matches!(found.as_slice(), [one] if one.contains("SIMULATED")), "{found:?}");
}

#[test]
fn a_key_in_a_file_beside_evidence_of_hardware_is_noted() {
    let told = |report: &Report| report.findings.iter().any(|one| one.message.contains("kek.key"));
    let hardware = "evidence: {maa: 'https://a.attest.azure.net', release_set: r.note}";
    let text = KEYS.replacen("evidence: sim", hardware, 1);
    let report = check(&text, None, Allowed::default());
    assert!(!report.is_bad() && told(&report), "{report:?}");
    let vault = "\nkek: {azure: {key: 'https://a.vault.azure.net/keys/kek/1'}}\n";
    let report = check(&(text.clone() + vault), None, Allowed::default());
    assert!(!report.is_bad() && !told(&report), "{report:?}");
    let found = errors(&check(&(KEYS.to_owned() + vault), None, LOCAL));
    assert!(found.iter().any(|one| one.contains("kek.azure: expected evidence.maa")), "{found:?}");
}

#[test]
fn what_the_key_service_would_refuse_is_found_at_its_place() {
    for (from, to, want) in [
        ("postern_service@", "postern_service:hunter2@", "database: expected no password"),
        ("postgres://", "mysql://", "expected a database of the form postgres://"),
        ("/postern\n", "/postern?sslmode=disable\n", "database: expected sqlite"),
        ("connections: 8", "connections: 1", "postgres.connections: expected 2 to 100"),
        ("ca: database-ca.pem", "sslmode: disable", "sslmode"),
        ("127.0.0.1:8843", "0.0.0.0:8843", "listen: expected a loopback address"),
    ] {
        let found = errors(&check(&KEYS.replacen(from, to, 1), None, LOCAL));
        assert!(found.iter().any(|one| one.contains(want)), "{to}: {found:?}");
        assert!(!found.iter().any(|one| one.contains("hunter2")), "{found:?}");
    }
}
