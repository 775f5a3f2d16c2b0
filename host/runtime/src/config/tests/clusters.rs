//! What a cluster may say.

use std::time::Duration;

use super::super::*;
use super::parts::{read, refuse};

fn cluster(kind: &str, more: &str, endpoints: &[&str]) -> String {
    let member = |host: &&str| {
        format!("{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: 1}}}}}}}}")
    };
    let members: Vec<String> = endpoints.iter().map(member).collect();
    let members = members.join(", ");
    format!(
        "type: {kind}{more}, load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: \
         [{members}]}}]}}"
    )
}

#[test]
fn names_and_addresses_are_understood() {
    let of = |text: &str| read("CLUSTER", text).unwrap().clusters["up"].clone();
    let strict = of(&cluster(
        "STRICT_DNS",
        ", lb_policy: ROUND_ROBIN, dns_lookup_family: V4_ONLY, dns_refresh_rate: 2s",
        &["a.test", "b.test"],
    ));
    assert_eq!(strict.hosts.discovery, Discovery::StrictDns);
    assert_eq!(strict.hosts.family, Family::V4);
    assert_eq!(strict.hosts.refresh, Duration::from_secs(2));
    let hosts: Vec<&str> = strict.hosts.addresses.iter().map(|it| it.host.as_str()).collect();
    assert_eq!(hosts, ["a.test", "b.test"]);
    let two = of(&cluster("STATIC", "", &["127.0.0.1", "'::1'"]));
    assert_eq!(two.hosts.addresses.len(), 2);
    assert_eq!(two.connect_timeout, Duration::from_secs(5));
}

#[test]
fn what_a_cluster_may_not_say_is_a_problem() {
    let one: &[&str] = &["127.0.0.1"];
    let rows = [
        (cluster("STATIC", "", &["a.test"]), "expected an IP address"),
        (cluster("LOGICAL_DNS", "", &["a", "b"]), "only one for LOGICAL_DNS"),
        (cluster("STRICT_DNS", "", &[]), "lb_endpoints with an entry"),
        (cluster("EDS", "", one), "type: expected one of: STATIC, STRICT_DNS, LOGICAL_DNS"),
        (cluster("STATIC", ", lb_policy: RANDOM", one), "lb_policy: expected one of: ROUND_ROBIN"),
        (cluster("STATIC", ", dns_lookup_family: ALL", one), "dns_lookup_family: expected one of"),
        (cluster("STATIC", ", dns_refresh_rate: 0s", one), "dns_refresh_rate of at least"),
        (cluster("STATIC", ", health_checks: []", one), "health_checks: this gateway does not"),
        (cluster("STATIC", ", outlier_detection: {}", one), "outlier_detection: this gateway"),
        (cluster("STATIC", ", common_lb_config: {}", one), "common_lb_config: this gateway"),
        (cluster("STATIC", ", max_requests_per_connection: 1", one), "max_requests_per_connection"),
        (cluster("STATIC", ", upstream_bind_config: {}", one), "upstream_bind_config: this"),
        (cluster("STATIC", ", eds_cluster_config: {}", one), "eds_cluster_config: this gateway"),
        (
            cluster("STATIC", ", transport_socket_matches: []", one),
            "transport_socket_matches: this",
        ),
        (cluster("STATIC", ", connect_timeout: 1", one), "connect_timeout: expected a span"),
        (
            cluster("STATIC", "", one)
                .replace("{endpoint:", "{load_balancing_weight: 1, endpoint:"),
            "load_balancing_weight: this gateway does not know",
        ),
        (
            cluster("STATIC", "", one).replace("{lb_endpoints:", "{priority: 1, lb_endpoints:"),
            "priority: this gateway does not know",
        ),
    ];
    let rows: Vec<(&str, &str, &str)> =
        rows.iter().map(|(text, message)| ("CLUSTER", text.as_str(), *message)).collect();
    refuse(&rows);
}
