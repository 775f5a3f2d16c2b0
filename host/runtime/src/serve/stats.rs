//! Counters as text: Envoy's names for what both gateways count, and the modules' own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::process::{ClusterCounts, ListenerCounts, Process};

/// Name and whether it only goes up.
type Row<T> = (&'static str, bool, fn(&T) -> &AtomicU64);

const CLUSTER: [Row<ClusterCounts>; 8] = [
    ("upstream_cx_active", false, |it| &it.cx_active),
    ("upstream_cx_connect_fail", true, |it| &it.cx_connect_fail),
    ("upstream_cx_total", true, |it| &it.cx_total),
    ("upstream_rq_active", false, |it| &it.rq_active),
    ("upstream_rq_pending_active", false, |it| &it.rq_pending_active),
    ("upstream_rq_pending_overflow", true, |it| &it.rq_pending_overflow),
    ("upstream_rq_timeout", true, |it| &it.rq_timeout),
    ("upstream_rq_total", true, |it| &it.rq_total),
];

const LISTENER: [Row<ListenerCounts>; 10] = [
    ("downstream_cx_active", false, |it| &it.cx_active),
    ("downstream_cx_overload_reject", true, |it| &it.cx_overflow),
    ("downstream_cx_total", true, |it| &it.cx_total),
    ("downstream_rq_1xx", true, |it| &it.rq_class[0]),
    ("downstream_rq_2xx", true, |it| &it.rq_class[1]),
    ("downstream_rq_3xx", true, |it| &it.rq_class[2]),
    ("downstream_rq_4xx", true, |it| &it.rq_class[3]),
    ("downstream_rq_5xx", true, |it| &it.rq_class[4]),
    ("downstream_rq_active", false, |it| &it.rq_active),
    ("downstream_rq_total", true, |it| &it.rq_total),
];

const RELOADS: [&str; 3] = ["vm_reload_success", "vm_reload_backoff", "vm_reload_failure"];

/// One native number: group, whose, name, whether it only goes up, value.
struct Native {
    group: &'static str,
    label: &'static str,
    whose: String,
    name: &'static str,
    counter: bool,
    value: u64,
}

fn native(process: &Process) -> Vec<Native> {
    let mut all = Vec::new();
    for (name, counts) in &process.clusters {
        all.extend(CLUSTER.iter().map(|(row, counter, of)| Native {
            group: "cluster",
            label: "envoy_cluster_name",
            whose: name.clone(),
            name: row,
            counter: *counter,
            value: of(counts).load(Relaxed),
        }));
    }
    for (listener, counts) in process.gateway.listeners.iter().zip(&process.listeners) {
        all.extend(LISTENER.iter().map(|(row, counter, of)| Native {
            group: "http",
            label: "envoy_http_conn_manager_prefix",
            whose: listener.http.stat_prefix.clone(),
            name: row,
            counter: *counter,
            value: of(counts).load(Relaxed),
        }));
    }
    let reloads = process.reloads.lock().unwrap_or_else(PoisonError::into_inner);
    for (plugin, counts) in reloads.iter() {
        all.extend(RELOADS.iter().zip(counts).map(|(name, value)| Native {
            group: "wasm",
            label: "plugin",
            whose: plugin.clone(),
            name,
            counter: true,
            value: *value,
        }));
    }
    all
}

/// The numbers of one cluster.
pub(super) fn of_cluster(counts: &ClusterCounts) -> impl Iterator<Item = (&'static str, u64)> {
    CLUSTER.iter().map(|(name, _, of)| (*name, of(counts).load(Relaxed)))
}

/// A counter or gauge.
pub(super) struct Stat {
    pub name: String,
    pub value: u64,
    /// Whether it has ever been another than it began with.
    pub used: bool,
}

/// Every counter and gauge, by name.
pub(super) fn all(process: &Process) -> Vec<Stat> {
    let native = native(process);
    // What a gauge was before is told by the counters beside it.
    let busy: BTreeSet<(&str, String)> =
        native.iter().filter(|it| it.value > 0).map(|it| (it.group, it.whose.clone())).collect();
    let native = native.into_iter().map(|it| {
        let used = it.value > 0 || (!it.counter && busy.contains(&(it.group, it.whose.clone())));
        Stat { name: format!("{}.{}.{}", it.group, it.whose, it.name), value: it.value, used }
    });
    let plain = |name: String, value: u64| Stat { name, value, used: value > 0 };
    let modules = process.metrics.values().into_iter();
    let modules = modules.map(|(name, value)| plain(format!("wasmcustom.{name}"), value));
    let discovered = process.discovered.lock().unwrap_or_else(PoisonError::into_inner);
    let discovered = discovered.iter().flat_map(|(filter, (reloaded, failed))| {
        let name = |what| format!("extension_config_discovery.http_filter.{filter}.{what}");
        [plain(name("config_reload"), *reloaded), plain(name("config_fail"), *failed)]
    });
    let discovered: Vec<Stat> = discovered.collect();
    let lost = plain("access_log.lost_lines".to_owned(), process.lost_lines.load(Relaxed));
    let mut all: Vec<Stat> = native.chain(modules).chain(discovered).chain([lost]).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The same in Prometheus' text format.
pub(super) fn prometheus(process: &Process) -> String {
    let tags: Vec<&str> = process.gateway.stats_tags.iter().map(|tag| tag.name.as_str()).collect();
    let mut text = process.metrics.prometheus(&tags);
    let mut all = native(process);
    all.sort_by_key(|it| (it.group, it.name));
    let mut family = String::new();
    for it in all {
        let name = format!("envoy_{}_{}", it.group, it.name);
        // Writing to a `String` cannot fail.
        if name != family {
            let kind = if it.counter { "counter" } else { "gauge" };
            let _ = writeln!(text, "# TYPE {name} {kind}");
        }
        let whose = it.whose.replace(['"', '\\', '\n'], "_");
        let _ = writeln!(text, "{name}{{{}=\"{whose}\"}} {}", it.label, it.value);
        family = name;
    }
    text
}
