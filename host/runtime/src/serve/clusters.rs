//! The clusters as the admin interface shows them, in the lines of Envoy.
//!
//! Counts are those of a cluster: requests are not counted by host.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::PoisonError;

use serde_json::{Value, json};

use super::process::{ClusterCounts, Process};
use super::stats;

fn hosts(counts: &ClusterCounts) -> Vec<SocketAddr> {
    counts.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// One line for each limit, host and count.
pub(super) fn text(process: &Process) -> String {
    let mut text = String::new();
    for (name, counts) in &process.clusters {
        let Some(config) = process.gateway.clusters.get(name) else { continue };
        let limits = [
            ("max_connections", config.breaker.connections),
            ("max_pending_requests", config.breaker.pending),
            ("max_requests", config.breaker.requests),
        ];
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name}::observability_name::{name}");
        for (limit, value) in limits {
            let _ = writeln!(text, "{name}::default_priority::{limit}::{value}");
        }
        for (count, value) in stats::of_cluster(counts) {
            let _ = writeln!(text, "{name}::{count}::{value}");
        }
        for host in hosts(counts) {
            let _ = writeln!(text, "{name}::{host}::health_flags::healthy");
        }
    }
    text
}

/// The same as a document.
pub(super) fn json(process: &Process) -> Value {
    let host = |host: SocketAddr| {
        let socket = json!({"address": host.ip().to_string(), "port_value": host.port()});
        json!({"address": {"socket_address": socket}, "health_status": {"eds_health_status": "HEALTHY"}})
    };
    let statuses = process.clusters.iter().filter_map(|(name, counts)| {
        let breaker = process.gateway.clusters.get(name)?.breaker;
        let hosts: Vec<Value> = hosts(counts).into_iter().map(host).collect();
        let threshold = json!({
            "max_connections": breaker.connections,
            "max_pending_requests": breaker.pending,
            "max_requests": breaker.requests,
        });
        Some(json!({
            "name": name,
            "observability_name": name,
            "circuit_breakers": {"thresholds": [threshold]},
            "host_statuses": hosts,
        }))
    });
    json!({"cluster_statuses": statuses.collect::<Vec<_>>()})
}
