//! What the admin interface shows of a file.

use serde_json::Value;

use super::super::Gateway;
use super::SHIPPED;
use super::parts::{read, small};

const SECRET: &str = "pl4nted-s3cret";

#[test]
fn a_secret_that_stands_in_the_file_is_not_shown_wherever_it_stands() {
    let routes = [
        format!(
            "match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {SECRET}}}}}"
        ),
        format!(
            "match: {{prefix: /, headers: [{{name: x, string_match: {{exact: {SECRET}}}}}]}}, route: {{cluster: up}}"
        ),
        format!(
            "match: {{prefix: /, query_parameters: [{{name: x, string_match: {{prefix: {SECRET}}}}}]}}, route: {{cluster: up}}"
        ),
        format!("match: {{safe_regex: {{regex: {SECRET}}}}}, route: {{cluster: up}}"),
        format!(
            "match: {{prefix: /}}, route: {{cluster: up}}, request_headers_to_add: [{{header: {{key: x, value: {SECRET}}}}}]"
        ),
        format!(
            "match: {{prefix: /}}, route: {{cluster: up}}, metadata: {{filter_metadata: {{a: {{{SECRET}: {SECRET}}}}}}}"
        ),
        format!(
            "match: {{prefix: /}}, route: {{cluster: up, regex_rewrite: {{pattern: {{regex: a}}, substitution: {SECRET}}}}}"
        ),
        format!("match: {{prefix: /}}, redirect: {{host_redirect: {SECRET}}}"),
    ];
    for route in &routes {
        assert!(small("ROUTE", route).contains(SECRET));
        let shown = read("ROUTE", route).unwrap().shown.to_string();
        assert!(!shown.contains(SECRET), "{route}: {shown}");
        assert!(shown.contains("[redacted]") && shown.contains("\"stat_prefix\":\"in\""));
    }
}

#[test]
fn every_text_of_a_modules_configuration_is_redacted() {
    let text = SHIPPED.replace("credential: slack", &format!("credential: {SECRET}"));
    assert!(text.contains(SECRET));
    let shown = Gateway::parse(&text).unwrap().shown;
    assert!(!shown.to_string().contains(SECRET));
    let manager = &shown["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    let plugin = &manager["typed_config"]["http_filters"][0]["typed_config"]["config"];
    assert_eq!(plugin["configuration"], Value::from("[redacted]"));
    assert_eq!(plugin["failure_policy"], Value::from("FAIL_RELOAD"));
    assert_eq!(plugin["vm_config"]["vm_id"], Value::from("postern"));
}

#[test]
fn a_private_key_is_redacted_with_its_file() {
    let file = small("HOST", "").replace(
        "    - filters:",
        &format!(
            "    - transport_socket: {{name: tls, typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, \
             common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: c.pem}}, \
             private_key: {{filename: {SECRET}}}}}]}}}}}}\n      filters:"
        ),
    );
    let shown = Gateway::parse(&file).unwrap().shown.to_string();
    assert!(!shown.contains(SECRET) && shown.contains("c.pem"), "{shown}");
    assert!(shown.contains("\"private_key\":\"[redacted]\""), "{shown}");
}
