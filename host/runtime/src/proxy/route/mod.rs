//! Which route a request takes, and what the router rewrites.
//!
//! Invariant: a domain is looked up exactly first, then by the longest wildcard, then `*`,
//! as in Envoy; what the caller sends chooses among the configured routes and nothing else.

mod matching;
mod rewrite;
#[cfg(test)]
mod tests;

pub use matching::holds;
pub use rewrite::edit;

use crate::config::{Edits, Route, RouteTable, VirtualHost};
use crate::view::{Direction, Pairs};

/// A route that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken<'a> {
    /// The table that it stands in.
    pub table: &'a RouteTable,
    /// Its host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
    /// Where the two stand, to find them again.
    pub at: (usize, usize),
}

/// How well a domain fits: exact before suffix before prefix wildcards before `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Any,
    Prefix(usize),
    Suffix(usize),
    Exact,
}

/// Finds the route for an authority and a path with query; `field` gives a field's lines
/// joined with `,`.
pub fn find<'a>(
    table: &'a RouteTable,
    authority: &[u8],
    path: &[u8],
    field: impl Fn(&str) -> Option<Vec<u8>>,
) -> Option<Taken<'a>> {
    let authority = &authority.to_ascii_lowercase();
    let fits = table.hosts.iter().enumerate().flat_map(|(index, host)| {
        host.domains.iter().filter_map(move |domain| Some((fit(domain, authority)?, index)))
    });
    let (_, host) = fits.max_by_key(|(fit, _)| *fit)?;
    let mut routes = table.hosts.get(host)?.routes.iter();
    let route = routes.position(|route| matching::takes(&route.condition, path, &field))?;
    Taken::again(table, (host, route))
}

/// Whether a property is one that a route decides.
pub fn is_fact(key: &[u8]) -> bool {
    let names = ["cluster_name", "route_name", "virtual_host_name", "route_metadata"];
    let name = key.strip_prefix(b"xds\0").and_then(|rest| rest.split(|byte| *byte == 0).next());
    name.is_some_and(|name| names.iter().any(|known| known.as_bytes() == name))
}

impl<'a> Taken<'a> {
    /// A route that was found before.
    pub fn again(table: &'a RouteTable, at: (usize, usize)) -> Option<Self> {
        let host = table.hosts.get(at.0)?;
        let route = host.routes.get(at.1)?;
        Some(Self { table, host, route, at })
    }

    /// What modules can read of it, by path.
    pub fn facts(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let fact = |key: &[u8], value: &[u8]| ([b"xds\0", key].concat(), value.to_vec());
        let mut facts = vec![
            fact(b"route_name", self.route.name.as_bytes()),
            fact(b"virtual_host_name", self.host.name.as_bytes()),
        ];
        facts.extend(self.forward().map(|to| fact(b"cluster_name", to.cluster.as_bytes())));
        facts.extend(self.route.metadata.iter().map(|(path, value)| {
            let segments: Vec<&[u8]> = [b"route_metadata".as_slice(), path].into();
            let path = if path.is_empty() { segments[0].to_vec() } else { segments.join(&0) };
            fact(&path, value)
        }));
        facts
    }

    /// Changes the request's fields as route, host and table say.
    pub fn edit_request(&self, pairs: &mut Pairs) {
        self.each(|edits| edit(&edits.request, Direction::Request, pairs));
    }

    /// Changes the fields of an answer that comes from the router.
    pub fn edit_response(&self, pairs: &mut Pairs) {
        self.each(|edits| edit(&edits.response, Direction::Response, pairs));
    }

    /// The last one wins, which is the table unless it says otherwise.
    fn each(&self, run: impl FnMut(&Edits)) {
        let mut all = [&self.route.edits, &self.host.edits, &self.table.edits];
        if self.table.most_specific_wins {
            all.reverse();
        }
        all.into_iter().for_each(run);
    }
}

fn fit(domain: &str, authority: &[u8]) -> Option<Fit> {
    if domain == "*" {
        return Some(Fit::Any);
    }
    let longer = authority.len() > domain.len().saturating_sub(1);
    if let Some(suffix) = domain.strip_prefix('*') {
        let fits = longer && authority.ends_with(suffix.as_bytes());
        return fits.then_some(Fit::Suffix(suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        let fits = longer && authority.starts_with(prefix.as_bytes());
        return fits.then_some(Fit::Prefix(prefix.len()));
    }
    (domain.as_bytes() == authority).then_some(Fit::Exact)
}

/// Path and query, the query with its `?`.
fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    path.split_at(end)
}
