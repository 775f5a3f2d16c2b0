//! The whole file: admin, tags of the metrics, connection limit, listeners, clusters.

use std::collections::BTreeMap;

use postern_files::yaml::{At, Node};

use super::cluster::Cluster;
use super::listener::{Address, Listener};
use super::read::{Problem, Problems, Report, Table};
use super::shown;

/// A configured gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Where `/ready`, `/stats` and the others are served.
    pub admin: Option<Address>,
    /// Which parts of a metric's name become labels.
    pub stats_tags: Vec<StatsTag>,
    /// Connections from callers at once, over all listeners.
    pub max_connections: Option<u64>,
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// By name.
    pub clusters: BTreeMap<String, Cluster>,
    /// The file as it may be shown: whatever could be a secret is redacted.
    pub shown: serde_json::Value,
}

/// `stats_config.stats_tags`: the first group of the match is cut from the name, the
/// second is the label's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsTag {
    /// Name of the label.
    pub name: String,
    /// As written.
    pub regex: String,
}

impl Gateway {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let unreadable = |message| Problem { path: String::new(), line: 1, message };
        let node = Node::parse(text).map_err(|error| Problems(vec![unreadable(error)]))?;
        let report = Report::default();
        let gateway = Table::new(At::root(&node), &report).and_then(read);
        let shown = shown::shown(&node);
        report.finish(gateway.map(|gateway| Self { shown, ..gateway }))
    }
}

fn read(mut table: Table<'_, '_>) -> Option<Gateway> {
    let report = table.report;
    let admin = table.table("admin").and_then(read_admin);
    let stats_tags = table.table("stats_config").map(read_stats).unwrap_or_default();
    let max_connections = table.table("overload_manager").and_then(read_overload);
    if let Some(mut node) = table.table("node") {
        node.text("id");
        node.text("cluster");
        node.done();
    }
    let resources = table.need_table("static_resources");
    table.done();
    let mut resources = resources?;
    let clusters = read_clusters(&mut resources);
    let listeners = resources.tables("listeners");
    let listeners: Vec<Listener> = listeners.into_iter().filter_map(Listener::read).collect();
    // Also those that could not be read: one problem is enough for them.
    let names = resources.at.list("clusters");
    let names: Vec<&str> = names.iter().filter_map(|at| at.text_of("name")).collect();
    report.resolve(|name| names.contains(&name));
    if resources.at.list("listeners").is_empty() {
        report.problem(&resources.at, "expected at least one listener");
    }
    resources.done();
    let shown = serde_json::Value::Null;
    Some(Gateway { admin, stats_tags, max_connections, listeners, clusters, shown })
}

fn read_clusters(resources: &mut Table<'_, '_>) -> BTreeMap<String, Cluster> {
    let mut clusters = BTreeMap::new();
    for table in resources.tables("clusters") {
        let at = table.at.clone();
        let Some(cluster) = Cluster::read(table) else { continue };
        let name = cluster.name.clone();
        if clusters.insert(name.clone(), cluster).is_some() {
            resources.report.problem(&at, format!("two clusters are called {name:?}"));
        }
    }
    clusters
}

fn read_admin(mut table: Table<'_, '_>) -> Option<Address> {
    let address = table.need_table("address").and_then(Address::read);
    table.done();
    address
}

fn read_stats(mut table: Table<'_, '_>) -> Vec<StatsTag> {
    let tags = table.tables("stats_tags").into_iter().filter_map(read_tag).collect();
    table.done();
    tags
}

fn read_tag(mut table: Table<'_, '_>) -> Option<StatsTag> {
    let (name, regex) = (table.need_text("tag_name"), table.need_text("regex"));
    table.done();
    Some(StatsTag { name: name?, regex: regex? })
}

const CONNECTIONS: &str = "envoy.extensions.resource_monitors.downstream_connections.v3.\
                           DownstreamConnectionsConfig";

fn read_overload(mut table: Table<'_, '_>) -> Option<u64> {
    let monitor = table.single("resource_monitors");
    table.done();
    let mut monitor = monitor?;
    monitor.need_text("name");
    let config = monitor.need_table("typed_config");
    monitor.done();
    let mut config = config?;
    config.typed(CONNECTIONS);
    let limit = config.number("max_active_downstream_connections");
    config.done();
    limit
}
