//! Route tables: virtual hosts by domain, routes by path, fields and query.
//!
//! Invariant: two hosts never have the same domain, and what is not said about requests
//! here ([`Condition`], [`Action`], [`Edits`]) is not done with them.

use std::time::Duration;

use super::action::{Action, Body, Forward, refuse_elsewhere};
use super::condition::{Condition, PathMatch};
use super::edits::Edits;
use super::metadata::{self, Metadata};
use super::read::Table;

/// Where requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// Its name.
    pub name: String,
    /// In the order of the file.
    pub hosts: Vec<VirtualHost>,
    /// Of all its messages.
    pub edits: Edits,
    /// Whether a route's edits come after those of its host and of the table.
    pub most_specific_wins: bool,
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
    /// Of all messages of its routes.
    pub edits: Edits,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name (`xds.route_name`); empty without.
    pub name: String,
    /// Which requests take it.
    pub condition: Condition,
    /// What becomes of them.
    pub action: Action,
    /// Of its messages.
    pub edits: Edits,
    /// `xds.route_metadata`, as modules read it.
    pub metadata: Metadata,
}

/// Bytes of an answer of a route at most, unless the table says otherwise, as in Envoy.
const MAX_REPLY: usize = 4096;
/// What a table may say at most.
const LARGEST_REPLY: usize = 1 << 20;

impl RouteTable {
    /// Sends everything to one cluster, with this time for the response.
    pub fn all_to(cluster: &str, timeout: Option<Duration>) -> Self {
        let forward = Forward {
            cluster: cluster.to_owned(),
            host_rewrite: None,
            path_rewrite: None,
            timeout,
        };
        let condition = Condition {
            path: PathMatch::Prefix(String::new()),
            case_sensitive: true,
            fields: Vec::new(),
            query: Vec::new(),
        };
        let route = Route {
            name: String::new(),
            condition,
            action: Action::Forward(forward),
            edits: Edits::default(),
            metadata: metadata::none(),
        };
        let host = VirtualHost {
            name: String::new(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            edits: Edits::default(),
        };
        Self { hosts: vec![host], ..Self::default() }
    }

    /// Reads a `route_config`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.text("name").unwrap_or_default();
        refuse_elsewhere(&mut table);
        table.refuse("typed_per_filter_config", PER_FILTER);
        let edits = Edits::read(&mut table);
        let most_specific_wins = table.flag("most_specific_header_mutations_wins");
        let limit = table.number("max_direct_response_body_size_bytes").unwrap_or(MAX_REPLY);
        if limit > LARGEST_REPLY {
            let what = format!("expected answers of at most {LARGEST_REPLY} bytes");
            table.report.problem(&table.at, what);
        }
        let hosts = table.tables("virtual_hosts").into_iter();
        let hosts = hosts.filter_map(|host| VirtualHost::read(host, limit));
        let hosts: Vec<VirtualHost> = hosts.collect();
        let mut seen = std::collections::BTreeSet::new();
        for domain in hosts.iter().flat_map(|host| &host.domains) {
            if !seen.insert(domain) {
                table.report.problem(&table.at, format!("two hosts have the domain {domain:?}"));
            }
        }
        table.done();
        Some(Self { name, hosts, edits, most_specific_wins })
    }

    /// Files that answers are read from, each with the most bytes that are taken; `read`
    /// gives their content.
    pub fn fetch<E>(&mut self, read: impl Fn(&str, usize) -> Result<Vec<u8>, E>) -> Result<(), E> {
        for route in self.hosts.iter_mut().flat_map(|host| &mut host.routes) {
            if let Action::Reply(reply) = &mut route.action
                && let Body::File(file, limit) = &reply.body
            {
                reply.body = Body::Inline(read(file, *limit)?);
            }
        }
        Ok(())
    }
}

/// Why settings of one filter for one route are refused.
const PER_FILTER: &str = "expected no settings of a filter for one route";

impl VirtualHost {
    fn read(mut table: Table<'_, '_>, limit: usize) -> Option<Self> {
        let name = table.need_text("name");
        table.need("domains");
        let domains = table.texts("domains");
        let domains = domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        refuse_elsewhere(&mut table);
        table.refuse("typed_per_filter_config", PER_FILTER);
        let edits = Edits::read(&mut table);
        let routes = table.tables("routes").into_iter();
        let routes = routes.filter_map(|route| Route::read(route, limit)).collect();
        table.done();
        Some(Self { name: name?, domains, routes, edits })
    }
}

impl Route {
    fn read(mut table: Table<'_, '_>, limit: usize) -> Option<Self> {
        let name = table.text("name").unwrap_or_default();
        let condition = table.need_table("match").and_then(Condition::read);
        let action = Action::read(&mut table, limit);
        table.refuse("typed_per_filter_config", PER_FILTER);
        let edits = Edits::read(&mut table);
        let metadata = table.table("metadata").map_or_else(metadata::none, metadata::read);
        table.done();
        Some(Self { name, condition: condition?, action: action?, edits, metadata })
    }
}
