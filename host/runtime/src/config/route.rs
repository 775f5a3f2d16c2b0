//! Route tables: virtual hosts by domain, routes by path and fields.
//!
//! Invariant: a route names its one cluster and is taken once. Mirrors, hedging, internal
//! redirects, retries and clusters that a request could choose are problems.

use std::time::Duration;

use super::read::Table;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    /// Its name.
    pub name: String,
    /// In the order of the file.
    pub hosts: Vec<VirtualHost>,
}

/// Routes of some domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// `a.test`, `*.test`, `a.*` or `*`; lower case.
    pub domains: Vec<String>,
    /// The first that matches is taken.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name (`xds.route_name`); empty without.
    pub name: String,
    /// The path begins so (or is exactly this, with `exact`).
    pub path: String,
    /// Whether the path must be the whole one.
    pub exact: bool,
    /// Fields that must be as said, too.
    pub fields: Vec<FieldMatch>,
    /// Name of the cluster.
    pub cluster: String,
    /// What `:authority` becomes.
    pub host_rewrite: Option<String>,
    /// What the matched part of the path becomes.
    pub path_rewrite: Option<String>,
    /// From the end of the request to the end of the response; `None` never ends.
    pub timeout: Option<Duration>,
}

/// A condition on a field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMatch {
    /// Name in lower case.
    pub name: String,
    /// What its value has to be.
    pub test: Test,
    /// Whether the answer is turned round.
    pub invert: bool,
}

/// What a field's value has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// There.
    Present,
    /// Exactly this.
    Exact(String),
    /// Beginning so.
    Prefix(String),
    /// Ending so.
    Suffix(String),
    /// With this inside.
    Contains(String),
}

impl RouteTable {
    /// Reads a `route_config`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.text("name").unwrap_or_default();
        refuse_elsewhere(&mut table);
        let hosts = table.tables("virtual_hosts").into_iter().filter_map(VirtualHost::read);
        let hosts: Vec<VirtualHost> = hosts.collect();
        let mut seen = std::collections::BTreeSet::new();
        for domain in hosts.iter().flat_map(|host| &host.domains) {
            if !seen.insert(domain) {
                table.report.problem(&table.at, format!("two hosts have the domain {domain:?}"));
            }
        }
        table.done();
        Some(Self { name, hosts })
    }
}

impl VirtualHost {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        table.need("domains");
        let domains = table.texts("domains");
        let domains = domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        refuse_elsewhere(&mut table);
        let routes = table.tables("routes").into_iter().filter_map(Route::read).collect();
        table.done();
        Some(Self { name: name?, domains, routes })
    }
}

/// Sends a request again, or elsewhere as well.
fn refuse_elsewhere(table: &mut Table<'_, '_>) {
    table.refuse("retry_policy", "expected no retries");
    table.refuse("hedge_policy", "expected no hedging");
    table.refuse("request_mirror_policies", "expected no mirrors");
}

impl Route {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.text("name").unwrap_or_default();
        let condition = table.need_table("match").and_then(Condition::read);
        let action = table.need_table("route");
        table.done();
        let mut action = action?;
        refuse_elsewhere(&mut action);
        action.refuse("internal_redirect_policy", "expected no internal redirects");
        action.refuse("cluster_header", "expected cluster: the request must not choose");
        let cluster = action.need_text("cluster");
        if let (Some(at), Some(cluster)) = (action.get("cluster"), &cluster) {
            action.report.wants_cluster(&at, cluster);
        }
        let host_rewrite = action.text("host_rewrite_literal");
        let path_rewrite = action.text("prefix_rewrite");
        let timeout = action.duration("timeout").unwrap_or(Duration::from_secs(15));
        let timeout = Some(timeout).filter(|span| !span.is_zero());
        action.done();
        let Condition { path, exact, fields } = condition?;
        let cluster = cluster?;
        Some(Self { name, path, exact, fields, cluster, host_rewrite, path_rewrite, timeout })
    }
}

/// `match` of a route.
struct Condition {
    path: String,
    exact: bool,
    fields: Vec<FieldMatch>,
}

impl Condition {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let (prefix, path) = (table.text("prefix"), table.text("path"));
        let fields = table.tables("headers").into_iter().filter_map(FieldMatch::read).collect();
        let found = match (prefix, path) {
            (Some(prefix), None) => Some((prefix, false)),
            (None, Some(path)) => Some((path, true)),
            _ => None,
        };
        let found = table.expected(&table.at, found, "either prefix or path");
        table.done();
        let (path, exact) = found?;
        Some(Self { path, exact, fields })
    }
}

impl FieldMatch {
    /// Reads a `HeaderMatcher`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        let invert = table.flag("invert_match");
        let present = table.get("present_match").is_some();
        table.only("present_match", true);
        let text = table.table("string_match").and_then(read_string);
        let test = match (present, text) {
            (true, None) => Some(Test::Present),
            (false, Some(test)) => Some(test),
            _ => None,
        };
        let test = table.expected(&table.at, test, "either present_match or string_match");
        table.done();
        Some(Self { name: name?.to_ascii_lowercase(), test: test?, invert })
    }
}

fn read_string(mut table: Table<'_, '_>) -> Option<Test> {
    let tests = [
        table.text("exact").map(Test::Exact),
        table.text("prefix").map(Test::Prefix),
        table.text("suffix").map(Test::Suffix),
        table.text("contains").map(Test::Contains),
    ];
    let mut found: Vec<Test> = tests.into_iter().flatten().collect();
    let one = if found.len() == 1 { found.pop() } else { None };
    let one = table.expected(&table.at, one, "one of exact, prefix, suffix, contains");
    table.done();
    one
}
