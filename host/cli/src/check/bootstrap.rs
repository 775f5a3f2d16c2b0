//! An Envoy bootstrap, read once: listeners, HTTP connection managers, clusters, modules.
//!
//! Invariant: every Wasm plugin of the document is in exactly one list, so no rule can
//! overlook one that stands in an unexpected place.

use std::collections::BTreeSet;

use super::modules::{Instance, Module};
use super::report::Report;
use super::yaml::At;

/// The parts of a bootstrap that rules look at.
pub struct Bootstrap<'a> {
    /// The whole document.
    pub root: At<'a>,
    /// Listeners.
    pub listeners: Vec<At<'a>>,
    /// HTTP connection managers of all listeners.
    pub managers: Vec<Manager<'a>>,
    /// Static clusters.
    pub clusters: Vec<Cluster<'a>>,
    /// Every Wasm plugin configuration, ours or not, wherever it stands.
    pub plugins: Vec<Instance<'a>>,
}

/// One `HttpConnectionManager`.
pub struct Manager<'a> {
    /// Its typed config.
    pub at: At<'a>,
    /// The listener.
    pub listener: At<'a>,
    /// HTTP filters that are Wasm plugins, with the entry of `http_filters`.
    pub filters: Vec<(At<'a>, Instance<'a>)>,
    /// Access loggers that are Wasm plugins, with the entry of `access_log`.
    pub loggers: Vec<(At<'a>, Instance<'a>)>,
}

/// One cluster.
pub struct Cluster<'a> {
    /// The cluster.
    pub at: At<'a>,
    /// Its name.
    pub name: &'a str,
    /// Upstream HTTP filters, in order, with the plugin where it is one.
    pub filters: Vec<(At<'a>, Option<Instance<'a>>)>,
}

impl<'a> Bootstrap<'a> {
    /// Reads `root`; what cannot be followed (discovery) is noted.
    pub fn read(root: &At<'a>, report: &mut Report) -> Self {
        let resources = root.get("static_resources");
        let list = |key| resources.as_ref().map(|at| at.list(key)).unwrap_or_default();
        let listeners: Vec<At<'a>> = list("listeners");
        let managers = listeners.iter().flat_map(managers_of).collect();
        let clusters = list("clusters").into_iter().map(Cluster::read).collect();
        let plugins = root.walk().iter().filter_map(Instance::of_plugin).collect();
        note_discovery(root, report);
        Self { root: root.clone(), listeners, managers, clusters, plugins }
    }

    /// Names of the clusters that some gate or credential module calls an upstream.
    pub fn credentialed(&self) -> BTreeSet<String> {
        self.plugins.iter().flat_map(|plugin| plugin.upstreams()).map(|(name, _)| name).collect()
    }

    /// The cluster called `name`.
    pub fn cluster(&self, name: &str) -> Option<&Cluster<'a>> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }
}

impl<'a> Manager<'a> {
    /// The filters that are this module.
    pub fn filters_of(&self, module: Module) -> Vec<&(At<'a>, Instance<'a>)> {
        self.filters.iter().filter(|(_, instance)| instance.module == Some(module)).collect()
    }

    /// Whether the gate stands here.
    pub fn has_gate(&self) -> bool {
        !self.filters_of(Module::Gate).is_empty()
    }
}

impl<'a> Cluster<'a> {
    /// Reads a cluster, or what a patch says of one.
    pub fn read(at: At<'a>) -> Self {
        let name = at.text_of("name").unwrap_or("");
        let options = protocol_options(&at);
        Self::with_options(name, options.as_ref(), at.clone())
    }

    /// The cluster of this name, of which these `HttpProtocolOptions` are known.
    pub fn with_options(name: &'a str, options: Option<&At<'a>>, at: At<'a>) -> Self {
        let filters = options.map(|at| at.list("http_filters")).unwrap_or_default();
        let with_plugin = |entry: At<'a>| {
            let instance = plugin_of(&entry);
            (entry, instance)
        };
        let filters = filters.into_iter().map(with_plugin).collect();
        Self { name, filters, at }
    }
}

/// The `HttpProtocolOptions` of a cluster.
pub fn protocol_options<'a>(cluster: &At<'a>) -> Option<At<'a>> {
    cluster.at(&[
        "typed_extension_protocol_options",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    ])
}

/// Whether the typed config under `at` is of the message type `name`.
pub fn is_type(at: &At<'_>, name: &str) -> bool {
    at.text_of("@type").is_some_and(|kind| kind.rsplit('.').next() == Some(name))
}

fn managers_of<'a>(listener: &At<'a>) -> Vec<Manager<'a>> {
    let chains =
        listener.list("filter_chains").into_iter().chain(listener.get("default_filter_chain"));
    let filters = chains.flat_map(|chain| chain.list("filters"));
    let configs = filters.filter_map(|filter| filter.get("typed_config"));
    configs
        .filter(|config| is_type(config, "HttpConnectionManager"))
        .map(|at| Manager {
            filters: plugins_in(&at, "http_filters"),
            loggers: plugins_in(&at, "access_log"),
            listener: listener.clone(),
            at,
        })
        .collect()
}

fn plugins_in<'a>(at: &At<'a>, key: &str) -> Vec<(At<'a>, Instance<'a>)> {
    let entries = at.list(key).into_iter();
    entries.filter_map(|entry| plugin_of(&entry).map(|instance| (entry, instance))).collect()
}

/// The plugin configuration of a filter or access logger entry.
fn plugin_of<'a>(entry: &At<'a>) -> Option<Instance<'a>> {
    Instance::of_plugin(&entry.at(&["typed_config", "config"])?)
}

/// Discovered parts are not in the file: say so instead of calling the file good.
fn note_discovery(root: &At<'_>, report: &mut Report) {
    for at in root.walk() {
        for key in ["rds", "scoped_routes", "config_discovery", "lds_config", "cds_config"] {
            if let Some(found) = at.get(key) {
                report.note(&found, "discovered at run time, so not checked here");
            }
        }
    }
}
