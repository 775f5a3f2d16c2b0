//! Which route a request takes, and what the router rewrites.
//!
//! Invariant: a domain is looked up exactly first, then by the longest wildcard, then `*`,
//! as in Envoy; what the caller sends chooses among the configured routes and nothing else.

use crate::config::{FieldMatch, Route, RouteTable, Test, VirtualHost};

/// A route that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Its host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
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
    let fits = table.hosts.iter().flat_map(|host| {
        host.domains.iter().filter_map(move |domain| Some((fit(domain, authority)?, host)))
    });
    let (_, host) = fits.max_by_key(|(fit, _)| *fit)?;
    let bare = without_query(path);
    let fields = |route: &Route| route.fields.iter().all(|wanted| holds(wanted, &field));
    let route = host.routes.iter().find(|route| covers(route, bare) && fields(route))?;
    Some(Taken { host, route })
}

impl Taken<'_> {
    /// The path as it leaves, if the route replaces it.
    pub fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.get(self.route.path.len()..)?;
        Some([self.route.path_rewrite.as_ref()?.as_bytes(), rest].concat())
    }

    /// The authority as it leaves, if the route replaces it.
    pub fn authority(&self) -> Option<Vec<u8>> {
        Some(self.route.host_rewrite.as_ref()?.as_bytes().to_vec())
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

fn covers(route: &Route, path: &[u8]) -> bool {
    let wanted = route.path.as_bytes();
    if route.exact { path == wanted } else { path.starts_with(wanted) }
}

/// Whether a condition holds. An absent field fails every test, and `invert` turns that
/// round only for presence, as in Envoy.
pub fn holds(wanted: &FieldMatch, field: impl Fn(&str) -> Option<Vec<u8>>) -> bool {
    let Some(value) = field(&wanted.name) else {
        return wanted.test == Test::Present && wanted.invert;
    };
    let found = match &wanted.test {
        Test::Present => true,
        Test::Exact(text) => value == text.as_bytes(),
        Test::Prefix(text) => value.starts_with(text.as_bytes()),
        Test::Suffix(text) => value.ends_with(text.as_bytes()),
        Test::Contains(text) => String::from_utf8_lossy(&value).contains(text.as_str()),
    };
    found != wanted.invert
}

fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn route(path: &str, cluster: &str) -> Route {
        Route {
            name: String::new(),
            path: path.into(),
            exact: false,
            fields: Vec::new(),
            cluster: cluster.into(),
            host_rewrite: None,
            path_rewrite: None,
            timeout: Some(Duration::from_secs(15)),
        }
    }

    fn host(domain: &str, routes: Vec<Route>) -> VirtualHost {
        VirtualHost { name: domain.into(), domains: vec![domain.into()], routes }
    }

    fn cluster(hosts: Vec<VirtualHost>, authority: &str, path: &str) -> Option<String> {
        let table = RouteTable { name: String::new(), hosts };
        let found = find(&table, authority.as_bytes(), path.as_bytes(), |_| None);
        found.map(|taken| taken.route.cluster.clone())
    }

    #[test]
    fn the_most_particular_domain_is_taken() {
        let hosts: Vec<_> = ["*", "a.*", "*.test", "*.b.test", "c.b.test"]
            .map(|domain| host(domain, vec![route("/", domain)]))
            .into();
        for (authority, want) in [
            ("C.b.Test", "c.b.test"),
            ("x.b.test", "*.b.test"),
            ("b.test", "*.test"),
            ("a.org", "a.*"),
            ("a.test", "*.test"),
            (".b.test", "*.test"),
            ("c.b.test:80", "*"),
            ("", "*"),
        ] {
            assert_eq!(
                cluster(hosts.clone(), authority, "/").as_deref(),
                Some(want),
                "{authority}"
            );
        }
    }

    #[test]
    fn the_first_route_that_covers_path_and_fields_is_taken() {
        let mut exact = route("/a", "exact");
        exact.exact = true;
        let mut fielded = route("/", "fielded");
        fielded.fields = vec![FieldMatch { name: "x".into(), test: Test::Present, invert: false }];
        let hosts = vec![host("a", vec![fielded, exact, route("/a/", "prefix")])];
        for (path, want) in [
            ("/a", Some("exact")),
            ("/a?b=/a/", Some("exact")),
            ("/a/b", Some("prefix")),
            ("/b", None),
        ] {
            assert_eq!(cluster(hosts.clone(), "a", path).as_deref(), want, "{path}");
        }
        assert_eq!(cluster(hosts, "b", "/a"), None);
    }

    #[test]
    fn rewrites_replace_the_matched_part_and_the_authority() {
        let mut rewritten = route("/api", "a");
        rewritten.path_rewrite = Some("/admin".into());
        rewritten.host_rewrite = Some("b.test".into());
        let host = host("a", vec![rewritten]);
        let taken = Taken { host: &host, route: &host.routes[0] };
        assert_eq!(taken.path(b"/api/x?y=/api").unwrap(), b"/admin/x?y=/api");
        assert_eq!(taken.authority().unwrap(), b"b.test");
        let taken = Taken { host: &host, route: &route("/", "a") };
        assert_eq!((taken.path(b"/"), taken.authority()), (None, None));
    }

    #[test]
    fn inverted_presence_holds_for_an_absent_field_and_no_other_test_does() {
        let wanted = |test, invert| FieldMatch { name: "x".into(), test, invert };
        assert!(holds(&wanted(Test::Present, true), |_| None));
        assert!(!holds(&wanted(Test::Present, true), |_| Some(Vec::new())));
        assert!(!holds(&wanted(Test::Exact("a".into()), true), |_| None));
        assert!(holds(&wanted(Test::Exact("a".into()), true), |_| Some(b"b".to_vec())));
        assert!(holds(&wanted(Test::Contains("b".into()), false), |_| Some(b"abc".to_vec())));
    }
}
