//! Every rule has a row: an edit of a shipped resource, and what is said.

use super::super::{Allowed, Severity, check};

const FILTERS: &str = include_str!("../../../../../envoy/istio/postern.yaml");
const PLUGIN: &str = include_str!("../../../../../envoy/istio/gate-wasmplugin.yaml");
const NETWORK: &str = include_str!("../../../../../envoy/istio/network.yaml");
pub(super) const LOCAL: Allowed = Allowed { simulated: true, plain_upstream: false };

pub(super) fn errors(text: &str) -> Vec<String> {
    let report = check(text, None, LOCAL);
    let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
    errors.map(|f| format!("{}: {}: {}", f.line, f.path, f.message)).collect()
}

/// As `kubectl apply` is given them: all of one installation together.
fn together(modules: &str) -> String {
    format!("{modules}---\n{NETWORK}")
}

#[test]
fn the_shipped_resources_are_good_when_development_is_allowed() {
    for text in [FILTERS, PLUGIN, NETWORK, &together(FILTERS), &together(PLUGIN)] {
        assert_eq!(errors(text), Vec::<String>::new());
    }
    let report = check(FILTERS, None, Allowed::default());
    let simulated = report.findings.iter().filter(|f| f.message.contains("SIMULATED"));
    assert_eq!(simulated.count(), 3);
}

#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str)] = &[
    // EnvoyFilter.
    (FILTERS, "operation: INSERT_FIRST", "operation: INSERT_BEFORE", "configPatches[0]: expected applyTo: HTTP_FILTER and operation: INSERT_FIRST"),
    (FILTERS, "vm_id: postern", "vm_id: mine", "vm_config.vm_id: expected postern"),
    (FILTERS, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "failure_policy: expected FAIL_RELOAD"),
    (FILTERS, "allow_on_headers_stop_iteration: true", "allow_on_headers_stop_iteration: false", "expected true with body: hold"),
    (FILTERS, "host_env_keys: [POSTERN_GATE_KEY, ", "host_env_keys: [", "POSTERN_GATE_KEY is missing"),
    (FILTERS, "proxy_get_property: {}", "proxy_get_shared: {}", "not as in envoy/imports/gate.txt"),
    (FILTERS, "tenant: acme", "tenants: acme", "tenants"),
    (FILTERS, "          stream_idle_timeout: 30s\n", "", "stream_idle_timeout: expected a time"),
    (FILTERS, "- name: postern.audit\n", "- name: postern.audit\n            filter: {status_code_filter: {}}\n", "expected no filter"),
    (FILTERS, "applyTo: NETWORK_FILTER", "applyTo: HTTP_FILTER", "expected the audit module in access_log"),
    (FILTERS, "applyTo: CLUSTER", "applyTo: HTTP_FILTER", "expected applyTo: CLUSTER and operation: MERGE"),
    (FILTERS, "cluster: {service: slack.com, portNumber: 443}", "cluster: {portNumber: 443}", "match.cluster.service: missing"),
    (FILTERS, "cluster: {service: slack.com, portNumber: 443}", "cluster: {service: slack.com, portNumber: 80}", "expected an EnvoyFilter that puts the credential module into outbound|443||slack.com"),
    (FILTERS, "- name: envoy.filters.http.upstream_codec", "- name: other\n            - name: envoy.filters.http.upstream_codec", "could read what it injects"),
    (FILTERS, "\"outbound|443||slack.com\": {", "slack: {", "expected the name of a cluster as Istio gives it"),
    (FILTERS, "site: {header: authorization, style: bearer}", "site: {header: authorization, style: bare}", "bindings[0].site"),
    (FILTERS, "          max_request_headers_kb: 32\n", "          max_request_headers_kb: 32\n          tracing: {custom_tags: [{tag: a, request_header: {name: Authorization}}]}\n", "prints the request field"),
    (FILTERS, "kind: EnvoyFilter\n", "", "spec: missing, with kind"),
    // WasmPlugin.
    (PLUGIN, "phase: AUTHN", "phase: STATS", "phase: expected AUTHN"),
    (PLUGIN, "  phase: AUTHN\n", "", "phase: missing, expected AUTHN"),
    (PLUGIN, "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_OPEN", "failStrategy: expected FAIL_RELOAD"),
    (PLUGIN, "  failStrategy: FAIL_RELOAD\n", "", "failStrategy: expected FAIL_RELOAD"),
    (PLUGIN, "    body: stream\n", "    body: hold\n", "pluginConfig.body: expected stream"),
    (PLUGIN, "url: file:///etc/postern/modules/gate.wasm", "url: oci://registry.example/postern/gate:1.0", "expected a digest"),
    (PLUGIN, "url: file:///etc/postern/modules/gate.wasm", "url: http://registry.example/postern/gate.wasm", "anybody on the way"),
    (PLUGIN, "url: file:///etc/postern/modules/gate.wasm", "url: file:///etc/postern/modules/credential.wasm", "expected the credential module in http_filters"),
    (PLUGIN, "url: file:///etc/postern/modules/gate.wasm", "url: file:///etc/postern/modules/audit.wasm", "expected the audit module as an access logger"),
    (PLUGIN, "{name: POSTERN_GATE_KEY, valueFrom: HOST}", "{name: POSTERN_GATE_KEY, value: AAAA}", "expected valueFrom: HOST"),
    (PLUGIN, "    - {name: POSTERN_GATE_KEY, valueFrom: HOST}\n", "", "POSTERN_GATE_KEY is missing"),
    (PLUGIN, "POSTERN_GATE_KEY, valueFrom: HOST}", "POSTERN_GATE_KEY, valueFrom: HOST}\n    - {name: POSTERN_AUDIT_KEY, valueFrom: HOST}", "the gate module must not hold POSTERN_AUDIT_KEY"),
    (PLUGIN, "    authenticators:\n", "    authenticators:\n    - introspected: {issuer: a, audience: [b], endpoint: {cluster: c, authority: d, path: /e}, client: {id: f}, header: x-g}\n", "POSTERN_INTROSPECTION_SECRET is missing"),
    (PLUGIN, "    tenant: acme", "    tenants: acme", "pluginConfig.tenants"),
    (PLUGIN, "vm_config:\n", "vm_config:\n                  vm_id: postern\n", "vm_config.vm_id: expected none"),
    (PLUGIN, "paths: [/api/**]\n", "paths: [/v2/**]\n", "not the same as in the gate"),
    (PLUGIN, "  phase: AUTHN\n", "  phase: AUTHN\n  match: [{mode: CLIENT}]\n", "match: expected none"),
    (PLUGIN, "  phase: AUTHN\n", "  phase: AUTHN\n  type: NETWORK\n", "type: expected HTTP"),
    // Routes and destinations.
    (NETWORK, "  trafficPolicy:\n", "  trafficPolicy:\n    portLevelSettings: [{port: {number: 443}, tls: {mode: DISABLE}}]\n", "portLevelSettings[0].tls.mode: expected SIMPLE"),
    (NETWORK, "  host: slack.com\n", "  host: slack.com\n  subsets: [{name: a, trafficPolicy: {tls: {mode: DISABLE}}}]\n", "subsets[0].trafficPolicy.tls.mode: expected SIMPLE"),
    (NETWORK, "  host: slack.com\n", "  host: other.com\n", "expected a DestinationRule with TLS for outbound|443||slack.com"),
    (NETWORK, "    retries: {attempts: 0}\n", "", "http[0].retries.attempts: expected 0"),
    (NETWORK, "retries: {attempts: 0}", "retries: {attempts: 2}", "http[0].retries.attempts: expected 0"),
    (NETWORK, "timeout: 30s", "mirror: {host: copy}\n    timeout: 30s", "mirror: expected no mirrors"),
    (NETWORK, "timeout: 30s", "headers: {request: {set: {Authorization: Bearer abc}}}\n    timeout: 30s", "Authorization: a credential in a resource is no secret"),
    (NETWORK, "mode: SIMPLE\n", "mode: DISABLE\n", "tls.mode: expected SIMPLE"),
    (NETWORK, "sni: slack.com\n", "insecureSkipVerify: true\n", "any certificate would do"),
    (NETWORK, "subjectAltNames: [slack.com]", "subjectAltNames: [other.com]", "subjectAltNames: expected slack.com"),
    (NETWORK, "      subjectAltNames: [slack.com]\n", "", "subjectAltNames: expected slack.com"),
    (NETWORK, "      caCertificates: /etc/ssl/certs/ca-certificates.crt\n", "", "caCertificates: missing"),
    (NETWORK, "http2MaxRequests: 256, ", "", "callers that go away leave their look-ups running"),
    // The file.
    (NETWORK, "kind: Gateway\n", "kind: [\n", "not readable as YAML"),
];

#[test]
fn every_rule_finds_its_edit_and_names_the_place() {
    for (whole, from, to, expected) in ROWS {
        assert!(whole.contains(from), "no {from:?}");
        let edited = whole.replacen(from, to, 1);
        // Names in certificates are known from the modules' configurations.
        let edited = if *whole == NETWORK { format!("{FILTERS}---\n{edited}") } else { edited };
        let found = errors(&edited);
        assert!(found.iter().any(|error| error.contains(expected)), "{to:?}: {found:#?}");
    }
}

#[test]
fn a_gate_without_the_audit_logger_is_found() {
    let text = FILTERS
        .replace("modules/audit.wasm", "modules/other.wasm")
        .replace("name: audit\n", "name: other\n");
    let found = errors(&text);
    assert!(found.iter().any(|error| error.contains("without the audit access log")), "{found:#?}");
    assert!(found.iter().any(|error| error.contains("postern names the VMs of")), "{found:#?}");
}

#[test]
fn destinations_without_a_part_in_it_are_left_alone() {
    let other = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  \
                 http: [{route: [{destination: {host: elsewhere.test}}]}]\n";
    assert_eq!(errors(&format!("{FILTERS}---\n{other}")), Vec::<String>::new());
    assert_eq!(errors(other).len(), 1, "alone it may be meant");
}

#[test]
fn a_kind_that_is_not_known_is_noted() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nspec: {a: 1}\n";
    let report = check(text, None, LOCAL);
    assert!(!report.is_bad());
    assert_eq!(report.findings[0].message, "a Secret is not checked here");
    assert_eq!(report.findings[0].path, "Secret/x.spec");
}

#[test]
fn the_path_names_the_resource_and_the_line_is_that_of_the_file() {
    let text = together(FILTERS).replace("retries: {attempts: 0}", "retries: {attempts: 3}");
    let line = text.lines().position(|line| line.contains("attempts: 3")).unwrap() + 1;
    let report = check(&text, None, LOCAL);
    let finding = report.findings.iter().find(|f| f.severity == Severity::Error).unwrap();
    assert_eq!(finding.path, "VirtualService/slack.spec.http[0].retries.attempts");
    assert_eq!(finding.line, line as u64);
}
