//! Wasm plugins: filters and access loggers.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_files::yaml::At;
use serde_json::Value;

use super::decompressor::{DECOMPRESSOR, Decompressor};
use super::discovered::Discovered;
use super::read::{Report, Table};

/// What happens after a module's machine has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailurePolicy {
    /// Every request is refused from then on.
    FailClosed,
    /// Every request passes by from then on.
    FailOpen,
    /// The next request loads a fresh machine, unless the backoff still runs.
    FailReload,
}

/// Least and greatest time between two loads of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After any failure.
    pub base: Duration,
    /// Read and not used, as in Envoy: the time does not grow.
    pub max: Duration,
}

/// One plugin configuration (`PluginConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// `plugin_name`.
    pub name: String,
    /// `plugin_root_id`.
    pub root_id: String,
    /// Names the shared data.
    pub vm_id: String,
    /// The module's file.
    pub module: String,
    /// Names of variables that the module may see, taken from this process.
    pub environment: Vec<String>,
    /// Hostcalls and callbacks that it may use; `None` is all.
    pub capabilities: Option<BTreeSet<String>>,
    /// What `on_configure` gets.
    pub configuration: Vec<u8>,
    /// After a failure.
    pub failure: FailurePolicy,
    /// Between two loads.
    pub backoff: Backoff,
    /// Whether body callbacks come while the headers are paused.
    pub body_while_headers_paused: bool,
}

/// An entry of `http_filters`, without the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Name of the entry.
    pub name: String,
    /// What it does.
    pub kind: FilterKind,
}

/// What a filter does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterKind {
    /// It asks a module.
    Plugin(Plugin),
    /// It decompresses content.
    Decompressor(Decompressor),
    /// What it does stands in a file of its own, and changes with it.
    Discovered(Box<Discovered>),
}

pub(super) const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

impl Filter {
    /// Reads `http_filters`, which must end in the filter of type `last`.
    pub(super) fn chain(entries: &[At<'_>], last: &str, report: &Report) -> Vec<Self> {
        let Some((end, rest)) = entries.split_last() else { return Vec::new() };
        if let Some(mut end) = Table::new(end.clone(), report) {
            end.need_text("name");
            if let Some(mut config) = end.need_table("typed_config") {
                config.typed(last);
                config.done();
            }
            end.done();
        }
        let tables = rest.iter().filter_map(|at| Table::new(at.clone(), report));
        tables.filter_map(Self::read).collect()
    }

    /// The plugin that it asks, if it is one and has a configuration.
    pub fn plugin(&self) -> Option<&Plugin> {
        match &self.kind {
            FilterKind::Plugin(plugin) => Some(plugin),
            FilterKind::Discovered(discovered) => discovered.current.as_ref(),
            FilterKind::Decompressor(_) => None,
        }
    }

    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        if let Some(discovery) = table.table("config_discovery") {
            table.refuse("typed_config", "expected either typed_config or config_discovery");
            table.done();
            let kind = FilterKind::Discovered(Box::new(Discovered::read(discovery)?));
            return Some(Self { name: name?, kind });
        }
        let config = table.need_table("typed_config");
        table.done();
        let kind = FilterKind::read(config?);
        Some(Self { name: name?, kind: kind? })
    }
}

impl FilterKind {
    fn read(mut config: Table<'_, '_>) -> Option<Self> {
        let at = config.need("@type")?;
        let kind = at.text().and_then(|text| text.strip_prefix("type.googleapis.com/"));
        match kind {
            Some(WASM) => read_wasm(config).map(Self::Plugin),
            Some(DECOMPRESSOR) => Decompressor::read(config).map(Self::Decompressor),
            _ => {
                let what = format!("type.googleapis.com/{WASM} or {DECOMPRESSOR}");
                config.expected(&at, None, &what)
            }
        }
    }
}

/// The configuration of a Wasm filter, whose type has been read.
fn read_wasm(mut config: Table<'_, '_>) -> Option<Plugin> {
    let plugin = config.need_table("config").and_then(Plugin::read);
    config.done();
    plugin
}

/// The same with its type.
pub(super) fn wasm(mut config: Table<'_, '_>) -> Option<Plugin> {
    config.typed(WASM)?;
    read_wasm(config)
}

impl Plugin {
    /// Reads a `PluginConfig`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        let root_id = table.text("root_id").unwrap_or_default();
        let policies = [
            ("UNSPECIFIED", FailurePolicy::FailClosed),
            ("FAIL_CLOSED", FailurePolicy::FailClosed),
            ("FAIL_OPEN", FailurePolicy::FailOpen),
            ("FAIL_RELOAD", FailurePolicy::FailReload),
        ];
        // Envoy closes when the file does not say.
        let failure = match table.at.get("failure_policy") {
            Some(_) => table.word("failure_policy", &policies),
            None => Some(FailurePolicy::FailClosed),
        };
        let backoff = table.table("reload_config").map(Backoff::read).unwrap_or_default();
        let body_while_headers_paused = table.flag("allow_on_headers_stop_iteration");
        let vm = table.need_table("vm_config").and_then(Machine::read);
        let configuration = table.table("configuration").and_then(read_configuration);
        table.done();
        let Machine { vm_id, module, environment, capabilities } = vm?;
        let configuration = configuration.unwrap_or_default();
        Some(Self {
            name: name?,
            root_id,
            vm_id,
            module,
            environment,
            capabilities,
            configuration,
            failure: failure?,
            backoff,
            body_while_headers_paused,
        })
    }
}

impl Default for Backoff {
    /// Envoy's default.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    fn read(mut table: Table<'_, '_>) -> Self {
        let mut backoff = Self::default();
        if let Some(mut times) = table.table("backoff") {
            backoff.base = times.duration("base_interval").unwrap_or(backoff.base);
            backoff.max = times.duration("max_interval").unwrap_or(backoff.base.saturating_mul(10));
            times.done();
        }
        table.done();
        backoff
    }
}

/// `vm_config`.
struct Machine {
    vm_id: String,
    module: String,
    environment: Vec<String>,
    capabilities: Option<BTreeSet<String>>,
}

impl Machine {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let vm_id = table.text("vm_id").unwrap_or_default();
        table.need("runtime");
        table.word("runtime", &[("envoy.wasm.runtime.v8", ())]);
        let module = table.need_table("code").and_then(read_code);
        let variables = table.table("environment_variables");
        let environment = variables.map(read_environment).unwrap_or_default();
        let capabilities = table.table("capability_restriction_config").map(read_capabilities);
        table.done();
        Some(Self { vm_id, module: module?, environment, capabilities })
    }
}

fn read_code(mut table: Table<'_, '_>) -> Option<String> {
    let local = table.need_table("local");
    table.done();
    let mut local = local?;
    let file = local.need_text("filename");
    local.done();
    file
}

fn read_environment(mut table: Table<'_, '_>) -> Vec<String> {
    let names = table.texts("host_env_keys");
    table.refuse(
        "key_values",
        "expected host_env_keys: values that stand here can be read by others",
    );
    table.done();
    names
}

fn read_capabilities(mut table: Table<'_, '_>) -> BTreeSet<String> {
    let allowed = table.need("allowed_capabilities");
    table.done();
    let entries = allowed.iter().flat_map(At::entries);
    entries.map(|(name, _)| name.to_owned()).collect()
}

/// A `Struct` goes to the module as JSON text, a `StringValue` as it stands.
fn read_configuration(mut table: Table<'_, '_>) -> Option<Vec<u8>> {
    let at = table.need("@type")?;
    let kinds = [("google.protobuf.Struct", false), ("google.protobuf.StringValue", true)];
    let name = at.text().and_then(|text| text.strip_prefix("type.googleapis.com/"));
    let kind = kinds.iter().find(|(kind, _)| Some(*kind) == name).map(|(_, text)| *text);
    let is_text = table.expected(&at, kind, "google.protobuf.Struct or StringValue")?;
    let at = table.need("value")?;
    let bytes = match (is_text, at.node.to_json()) {
        (true, Value::String(text)) => Some(text.into_bytes()),
        (false, value @ Value::Object(_)) => Some(value.to_string().into_bytes()),
        _ => None,
    };
    let bytes = table.expected(&at, bytes, "a value of the type that @type names");
    table.done();
    bytes
}
