//! Filters whose configuration stands in a file of its own (ECDS from a file system).
//!
//! Invariant: what is read from such a file passes the same reader as what stands in the
//! gateway's own; a file that it does not take changes nothing.

use postern_files::yaml::{At, Node};

use super::plugin::{Plugin, WASM, wasm};
use super::read::{Problem, Problems, Report, Table};

/// `config_discovery` of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The file.
    pub path: String,
    /// What stands there until the file has been read.
    pub default: Option<Plugin>,
    /// Whether the default serves while the file is read for the first time.
    pub without_warming: bool,
    /// What serves now; without it every request is refused.
    pub current: Option<Plugin>,
}

impl Discovered {
    /// Reads an `ExtensionConfigSource`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let source = table.need_table("config_source");
        let urls = table.texts("type_urls");
        let at = table.need("type_urls");
        let wanted = format!("type.googleapis.com/{WASM}");
        let good = urls.iter().all(|url| *url == wanted && !url.is_empty()) && !urls.is_empty();
        if let Some(at) = at.filter(|_| !good) {
            table.report.problem(&at, format!("expected {wanted}"));
        }
        let default = table.table("default_config").map(wasm);
        let without_warming = table.flag("apply_default_config_without_warming");
        table.done();
        let path = read_source(source?);
        let default = match default {
            Some(read) => Some(read?),
            None => None,
        };
        let current = default.clone();
        Some(Self { path: path?, default, without_warming, current })
    }
}

fn read_source(mut source: Table<'_, '_>) -> Option<String> {
    source.word("resource_api_version", &[("V3", ())]);
    let files = source.need_table("path_config_source");
    source.done();
    let mut files = files?;
    let path = files.need_text("path");
    files.done();
    path
}

/// The configuration of the filter called `name` in the text of its file
/// (a `DiscoveryResponse`).
pub fn parse(text: &str, name: &str) -> Result<Plugin, Problems> {
    let unreadable = |message| Problem { path: String::new(), line: 1, message };
    let node = Node::parse(text).map_err(|error| Problems(vec![unreadable(error)]))?;
    let report = Report::default();
    let plugin = Table::new(At::root(&node), &report).and_then(|table| read(table, name));
    report.finish(plugin)
}

fn read(mut table: Table<'_, '_>, name: &str) -> Option<Plugin> {
    table.text("version_info");
    table.text("type_url");
    let resource = table.single("resources");
    table.done();
    let mut resource = resource?;
    resource.typed("envoy.config.core.v3.TypedExtensionConfig");
    if let Some(at) = resource.need("name") {
        let ours = (at.text() == Some(name)).then_some(());
        resource.expected(&at, ours, &format!("the filter's name {name:?}"));
    }
    let config = resource.need_table("typed_config");
    resource.done();
    wasm(config?)
}
