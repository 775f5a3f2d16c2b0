//! The resources below `deploy`: each is good as it stands, and each edit that makes it unsafe is
//! found, with its line, its path and what was expected.

use super::super::{Severity, check};
use super::tests::{LOCAL, errors};

const GATEWAY: &str = include_str!("../../../../../deploy/istio/gateway.yaml");
const WAYPOINT: &str = include_str!("../../../../../deploy/istio/waypoint.yaml");
const ENVOY_GATEWAY: &str = include_str!("../../../../../deploy/envoy-gateway/postern.yaml");
const CONFIG_MAP: &str = include_str!("../../../../../deploy/kubernetes/gateway-config.yaml");
const KEYS_MAP: &str = include_str!("../../../../../deploy/kubernetes/keys-config.yaml");

#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str, &str)] = &[
    // TrafficExtension: where it stands is said beside `wasm`.
    (GATEWAY, "  phase: AUTHN\n", "", "TrafficExtension/postern-gate.spec.phase", "missing, expected AUTHN"),
    (GATEWAY, "phase: AUTHN", "phase: AUTHZ", "TrafficExtension/postern-gate.spec.phase", "expected AUTHN"),
    (GATEWAY, "    failStrategy: FAIL_RELOAD\n", "", "TrafficExtension/postern-gate.spec.wasm.failStrategy", "expected FAIL_RELOAD"),
    (GATEWAY, "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_OPEN", "TrafficExtension/postern-gate.spec.wasm.failStrategy", "expected FAIL_RELOAD"),
    (GATEWAY, "  priority: 1000\n", "  match: [{mode: CLIENT, ports: [{number: 443}]}]\n", "TrafficExtension/postern-gate.spec.match", "expected none"),
    (GATEWAY, "      body: stream\n", "", "TrafficExtension/postern-gate.spec.wasm.pluginConfig.body", "expected stream"),
    (GATEWAY, "url: file:///etc/postern/modules/gate.wasm", "url: oci://registry.example/postern/gate:1", "TrafficExtension/postern-gate.spec.wasm.url", "expected a digest"),
    (GATEWAY, "url: file:///etc/postern/modules/gate.wasm", "url: file:///etc/postern/modules/credential.wasm", "TrafficExtension/postern-gate.spec.wasm", "expected the credential module in http_filters"),
    (GATEWAY, "  targetRefs:\n", "  selector: {matchLabels: {a: b}}\n  targetRefs:\n", "TrafficExtension/postern-gate.spec.selector", "expected either this or targetRefs"),
    (GATEWAY, "{name: POSTERN_SHARED_KEY, valueFrom: HOST}", "{name: POSTERN_SHARED_KEY, value: AAAA}", "TrafficExtension/postern-gate.spec.wasm.vmConfig.env[2]", "expected valueFrom: HOST"),
    (GATEWAY, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "config.failure_policy", "expected FAIL_RELOAD"),
    (GATEWAY, "capability_restriction_config:", "capabilities:", "vm_config.capability_restriction_config.allowed_capabilities", "missing, expected the list of envoy/imports/audit.txt"),
    (GATEWAY, "- name: envoy.filters.http.upstream_codec", "- name: other\n            - name: envoy.filters.http.upstream_codec", "http_filters[1]", "stands after the credential module"),
    (GATEWAY, "vm_config:\n", "vm_config:\n                  vm_id: postern\n", "vm_config.vm_id", "expected none"),
    (GATEWAY, "applyTo: CLUSTER", "applyTo: HTTP_FILTER", "EnvoyFilter/postern.spec.configPatches[2]", "expected applyTo: CLUSTER"),
    // A waypoint.
    (WAYPOINT, "  targetRefs:\n  - {group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}\n", "  selector: {matchLabels: {a: b}}\n", "WasmPlugin/postern-gate.spec.selector", "expected targetRefs: a waypoint does not look at labels"),
    (WAYPOINT, "  targetRefs:\n  - {group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}\n  configPatches", "  workloadSelector: {labels: {a: b}}\n  configPatches", "EnvoyFilter/postern.spec.workloadSelector", "expected targetRefs: a waypoint does not look at labels"),
    (WAYPOINT, "  phase: AUTHN\n", "", "WasmPlugin/postern-gate.spec.phase", "missing, expected AUTHN"),
    (WAYPOINT, "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_CLOSE", "WasmPlugin/postern-gate.spec.failStrategy", "expected FAIL_RELOAD"),
    (WAYPOINT, "\"inbound-vip|443|http|slack.com\": {", "\"inbound|443|http|slack.com\": {", "pluginConfig.upstreams", "expected the name of a cluster as Istio gives it"),
    (WAYPOINT, "portNumber: 443", "portNumber: 80", "WasmPlugin/postern-gate.spec.pluginConfig.upstreams", "expected an EnvoyFilter that puts the credential module into"),
    (WAYPOINT, "capability_restriction_config:", "capabilities:", "vm_config.capability_restriction_config.allowed_capabilities", "missing, expected the list of envoy/imports/audit.txt"),
    // Envoy Gateway.
    (ENVOY_GATEWAY, "failOpen: false", "failOpen: true", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].failOpen", "expected false"),
    (ENVOY_GATEWAY, "  wasm:\n", "  wasm:\n  - {name: other, code: {type: HTTP, http: {url: \"https://registry.example/other.wasm\"}}}\n", "EnvoyExtensionPolicy/postern-gate.spec.wasm[1]", "expected the gate first"),
    (ENVOY_GATEWAY, "  wasm:\n", "  lua: [{type: Inline, inline: x}]\n  wasm:\n", "EnvoyExtensionPolicy/postern-gate.spec.lua", "expected none"),
    (ENVOY_GATEWAY, "  wasm:\n", "  extProc: [{}]\n  wasm:\n", "EnvoyExtensionPolicy/postern-gate.spec.extProc", "expected none"),
    (ENVOY_GATEWAY, "kind: Gateway, name: postern}\n  wasm", "kind: HTTPRoute, name: postern}\n  wasm", "EnvoyExtensionPolicy/postern-gate.spec.targetRefs[0]", "expected a whole Gateway"),
    (ENVOY_GATEWAY, "  targetRefs:\n  - {group: gateway.networking.k8s.io, kind: Gateway, name: postern}\n", "", "EnvoyExtensionPolicy/postern-gate.spec.targetRefs", "missing: it would be for nothing"),
    (ENVOY_GATEWAY, "postern/gate@sha256:", "postern/gate:", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].code.image.url", "expected a digest"),
    (ENVOY_GATEWAY, "      image:\n", "      other:\n", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].code", "missing, expected image or http"),
    (ENVOY_GATEWAY, "[POSTERN_GATE_KEY, ", "[POSTERN_AUDIT_KEY, ", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].env.hostKeys", "POSTERN_GATE_KEY is missing"),
    (ENVOY_GATEWAY, "[POSTERN_GATE_KEY, ", "[POSTERN_GATE_KEY, POSTERN_AUDIT_KEY, ", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].env.hostKeys[1]", "the gate module must not hold POSTERN_AUDIT_KEY"),
    (ENVOY_GATEWAY, "      body: stream\n", "      body: hold\n", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].config.body", "expected stream"),
    (ENVOY_GATEWAY, "      tenant: acme\n", "      tenants: acme\n", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].config.tenants", ""),
    (ENVOY_GATEWAY, "postern/gate@sha256:", "postern/credential@sha256:", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0]", "expected the credential module in http_filters"),
    (ENVOY_GATEWAY, "postern/gate@sha256:", "postern/audit@sha256:", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0]", "expected the audit module as an access logger"),
    (ENVOY_GATEWAY, "modules/credential.wasm", "modules/gate.wasm", "EnvoyPatchPolicy/postern.spec.jsonPatches[3]", "expected the gate in an EnvoyExtensionPolicy"),
    (ENVOY_GATEWAY, "typed_config/access_log\n", "typed_config/http_filters/0\n", "EnvoyPatchPolicy/postern.spec.jsonPatches[0]", "expected the audit module in access_log"),
    (ENVOY_GATEWAY, "path: /typed_extension_protocol_options\n", "path: /other\n", "EnvoyPatchPolicy/postern.spec.jsonPatches[3]", "expected the credential module at"),
    (ENVOY_GATEWAY, "name: httproute/postern/slack/rule/0\n", "name: httproute/postern/slack/rule/1\n", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0].config.upstreams", "expected an EnvoyPatchPolicy that puts the credential module into"),
    (ENVOY_GATEWAY, "vm_id: envoyextensionpolicy/postern/postern-gate/wasm/0", "vm_id: postern", "vm_config.vm_id", "expected envoyextensionpolicy/postern/postern-gate/wasm/0"),
    (ENVOY_GATEWAY, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "config.failure_policy", "expected FAIL_RELOAD"),
    (ENVOY_GATEWAY, "capability_restriction_config:", "capabilities:", "vm_config.capability_restriction_config.allowed_capabilities", "missing, expected the list of envoy/imports/audit.txt"),
    (ENVOY_GATEWAY, "modules/audit.wasm", "modules/other.wasm", "EnvoyExtensionPolicy/postern-gate.spec.wasm[0]", "without the audit access log"),
    // Configurations in a ConfigMap.
    (CONFIG_MAP, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "ConfigMap/postern-gateway.data.\"envoy.yaml\":static_resources.listeners[0]", "expected FAIL_RELOAD"),
    (CONFIG_MAP, " body: hold\n", " body: stream\n", "ConfigMap/postern-gateway.data.\"envoy.yaml\":static_resources", "expected false unless"),
    (KEYS_MAP, "danger_listen_public: true", "danger_listen_public: false", "ConfigMap/postern-keys.data.\"keys.yaml\":listen", "expected a loopback address"),
];

#[test]
fn a_finding_in_a_configmap_has_the_line_of_the_file() {
    let edited = CONFIG_MAP.replacen("FAIL_RELOAD", "FAIL_OPEN", 1);
    let line = edited.lines().position(|line| line.contains("FAIL_OPEN")).unwrap() + 1;
    let report = check(&edited, None, LOCAL);
    let finding = report.findings.iter().find(|f| f.severity == Severity::Error).unwrap();
    assert_eq!(finding.line, line as u64, "{finding:?}");
}

#[test]
fn the_shipped_resources_are_good_when_development_is_allowed() {
    for text in [GATEWAY, WAYPOINT, ENVOY_GATEWAY, CONFIG_MAP, KEYS_MAP] {
        assert_eq!(errors(text), Vec::<String>::new());
    }
}

#[test]
fn every_unsafe_edit_is_found_with_its_line_and_its_path() {
    for (whole, from, to, path, expected) in ROWS {
        assert!(whole.contains(from), "no {from:?}");
        // The names that decide which module it is stand in two places.
        let edited = match *from == "modules/audit.wasm" {
            true => whole.replacen(from, to, 1).replacen("name: audit\n", "name: other\n", 1),
            false => whole.replacen(from, to, 1),
        };
        let report = check(&edited, None, LOCAL);
        let mut found = report.findings.iter().filter(|f| f.severity == Severity::Error);
        let fits =
            found.any(|f| f.line > 0 && f.path.contains(path) && f.message.contains(expected));
        assert!(fits, "{to:?}: {:#?}", errors(&edited));
    }
}
