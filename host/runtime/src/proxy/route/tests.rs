//! Requests against routes, in rows: what is taken, and what becomes of it.

use std::time::Duration;

use super::*;
use crate::config::{
    Action, AppendAction, Condition, FieldAdd, FieldEdits, FieldMatch, Forward, PathMatch,
    PathRewrite, Pattern, QueryMatch, QueryTest, Redirect, Test, TextKind, TextMatch,
};

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn route(path: PathMatch, cluster: &str) -> Route {
    let forward = Forward {
        cluster: cluster.into(),
        host_rewrite: None,
        path_rewrite: None,
        timeout: Some(Duration::from_secs(15)),
    };
    Route {
        name: String::new(),
        condition: Condition { path, case_sensitive: true, fields: Vec::new(), query: Vec::new() },
        action: Action::Forward(forward),
        edits: Edits::default(),
        metadata: Default::default(),
    }
}

fn host(domain: &str, routes: Vec<Route>) -> VirtualHost {
    let (name, domains) = (domain.into(), vec![domain.into()]);
    VirtualHost { name, domains, routes, edits: Edits::default() }
}

fn table(hosts: Vec<VirtualHost>) -> RouteTable {
    RouteTable { name: String::new(), hosts, edits: Edits::default(), most_specific_wins: false }
}

fn cluster(hosts: Vec<VirtualHost>, authority: &str, path: &str) -> Option<String> {
    let table = table(hosts);
    let found = find(&table, authority.as_bytes(), path.as_bytes(), |_| None);
    found.and_then(|taken| Some(taken.forward()?.cluster.clone()))
}

fn text(kind: TextKind) -> TextMatch {
    TextMatch { kind, ignore_case: false }
}

#[test]
fn the_most_particular_domain_is_taken() {
    let hosts: Vec<_> = ["*", "a.*", "*.test", "*.b.test", "c.b.test"]
        .map(|domain| host(domain, vec![route(prefix("/"), domain)]))
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
        assert_eq!(cluster(hosts.clone(), authority, "/").as_deref(), Some(want), "{authority}");
    }
}

#[test]
fn the_first_route_that_covers_path_and_fields_is_taken() {
    let mut fielded = route(prefix("/"), "fielded");
    let (name, test) = ("x".into(), Test::Present);
    let wanted = FieldMatch { name, test, invert: false, missing_is_empty: false };
    fielded.condition.fields = vec![wanted];
    let exact = route(PathMatch::Exact("/a".into()), "exact");
    let hosts = vec![host("a", vec![fielded, exact, route(prefix("/a/"), "prefix")])];
    for (path, want) in
        [("/a", Some("exact")), ("/a?b=/a/", Some("exact")), ("/a/b", Some("prefix")), ("/b", None)]
    {
        assert_eq!(cluster(hosts.clone(), "a", path).as_deref(), want, "{path}");
    }
    assert_eq!(cluster(hosts, "b", "/a"), None);
}

#[test]
fn paths_are_covered_as_envoy_covers_them() {
    let pattern = |text: &str| PathMatch::Pattern(Pattern::whole(text).unwrap());
    let rows = [
        (PathMatch::Separated("/a".into()), true, "/a/b", true),
        (PathMatch::Separated("/a".into()), true, "/a?b", true),
        (PathMatch::Separated("/a".into()), true, "/ab", false),
        (PathMatch::Separated("/a".into()), false, "/A/b", true),
        (PathMatch::Exact("/a".into()), true, "/A", false),
        (PathMatch::Exact("/a".into()), false, "/A?b", true),
        (prefix("/aB"), false, "/Abc", true),
        (prefix("/aB"), true, "/Abc", false),
        (pattern("/[a-z]+"), true, "/abc?1", true),
        (pattern("/[a-z]+"), true, "/abc/", false),
        (pattern("/[a-z]+"), false, "/ABC", false),
    ];
    for (path, case_sensitive, asked, want) in rows {
        let mut route = route(path.clone(), "up");
        route.condition.case_sensitive = case_sensitive;
        let found = cluster(vec![host("*", vec![route])], "a", asked).is_some();
        assert_eq!(found, want, "{path:?} {case_sensitive} {asked}");
    }
}

#[test]
fn parameters_of_the_query_are_taken_as_they_stand() {
    let exact = |value: &str| QueryTest::Text(text(TextKind::Exact(value.into())));
    let rows = [
        (exact("1"), "/?a=1", true),
        (exact("1"), "/?b=2&a=1", true),
        (exact("1"), "/?a=2&a=1", false),
        (exact("1"), "/", false),
        (exact(""), "/?a", true),
        (exact("x y"), "/?a=x%20y", false),
        (exact("1=2"), "/?a=1=2", true),
        (QueryTest::Present(true), "/?a", true),
        (QueryTest::Present(true), "/?A=1", false),
        (QueryTest::Present(false), "/?b", true),
    ];
    for (test, path, want) in rows {
        let mut route = route(prefix("/"), "up");
        route.condition.query = vec![QueryMatch { name: "a".into(), test: test.clone() }];
        let found = cluster(vec![host("*", vec![route])], "a", path).is_some();
        assert_eq!(found, want, "{test:?} {path}");
    }
}

fn rewritten(path: PathMatch, rewrite: PathRewrite, asked: &str) -> Option<String> {
    let mut route = route(path, "a");
    if let Action::Forward(forward) = &mut route.action {
        forward.path_rewrite = Some(rewrite);
        forward.host_rewrite = Some("b.test".into());
    }
    let table = table(vec![host("*", vec![route])]);
    let taken = find(&table, b"a", asked.as_bytes(), |_| None)?;
    assert_eq!(taken.authority().unwrap(), b"b.test");
    taken.path(asked.as_bytes()).map(|path| String::from_utf8(path).unwrap())
}

#[test]
fn rewrites_replace_the_matched_part_and_leave_the_query() {
    let to = |text: &str| PathRewrite::Prefix(text.into());
    let pattern = |from: &str, to: &str| {
        PathRewrite::Pattern(Pattern::anywhere(from).unwrap(), to.to_owned())
    };
    for (path, rewrite, asked, want) in [
        (prefix("/api"), to("/admin"), "/api/x?y=/api", "/admin/x?y=/api"),
        (PathMatch::Exact("/api".into()), to("/b"), "/api?x", "/b?x"),
        (PathMatch::Separated("/api".into()), to("/b"), "/api/x", "/b/x"),
        (PathMatch::Pattern(Pattern::whole("/a.*").unwrap()), to("/b"), "/abc?x", "/b?x"),
        (prefix("/"), pattern("^/v([0-9])/(.*)$", "/${2}/v${1}"), "/v1/x?v2", "/x/v1?v2"),
        (prefix("/"), pattern("a", "b"), "/aa?a", "/bb?a"),
        (prefix("/"), pattern("zz", "b"), "/aa?a", "/aa?a"),
    ] {
        let got = rewritten(path.clone(), rewrite.clone(), asked);
        assert_eq!(got.as_deref(), Some(want), "{path:?} {rewrite:?}");
    }
    let plain = table(vec![host("*", vec![route(prefix("/"), "a")])]);
    let taken = find(&plain, b"a", b"/", |_| None).unwrap();
    assert_eq!((taken.path(b"/"), taken.authority()), (None, None));
}

#[test]
fn fields_are_held_against_what_is_wanted() {
    let wanted = |test: Test, invert, missing_is_empty| FieldMatch {
        name: "x".into(),
        test,
        invert,
        missing_is_empty,
    };
    let said = |kind: TextKind| Test::Text(text(kind));
    let any = |kind: TextKind| Test::Text(TextMatch { kind, ignore_case: true });
    let pattern = |text: &str| said(TextKind::Pattern(Pattern::whole(text).unwrap()));
    let exact = |text: &str| TextKind::Exact(text.into());
    let rows = [
        (wanted(Test::Present, true, false), None, true),
        (wanted(Test::Present, true, false), Some(""), false),
        (wanted(said(exact("a")), true, false), None, false),
        (wanted(said(exact("a")), true, false), Some("b"), true),
        (wanted(said(exact("a")), false, false), Some("A"), false),
        (wanted(any(exact("aB")), false, false), Some("Ab"), true),
        (wanted(any(TextKind::Suffix("B".into())), false, false), Some("ab"), true),
        (wanted(any(TextKind::Contains("B".into())), false, false), Some("abc"), true),
        (wanted(said(TextKind::Contains("b".into())), false, false), Some("abc"), true),
        (wanted(said(exact("")), false, true), None, true),
        (wanted(said(exact("a")), true, true), None, true),
        (wanted(pattern("a+"), false, false), Some("aa"), true),
        (wanted(pattern("a+"), false, false), Some("aab"), false),
        (wanted(Test::Range(-1, 10), false, false), Some("-1"), true),
        (wanted(Test::Range(-1, 10), false, false), Some("10"), false),
        (wanted(Test::Range(-1, 10), false, false), Some("1x"), false),
        (wanted(Test::Range(-1, 10), true, false), Some("1x"), true),
    ];
    for (wanted, value, want) in rows {
        let held = holds(&wanted, |_| value.map(|value| value.as_bytes().to_vec()));
        assert_eq!(held, want, "{wanted:?} {value:?}");
    }
}

#[test]
fn edits_remove_first_then_replace_then_add() {
    let add = |name: &str, value: &str, action| FieldAdd {
        name: name.into(),
        value: value.into(),
        action,
    };
    let edits = FieldEdits {
        remove: vec!["gone".into()],
        add: vec![
            add("new", "1", AppendAction::Append),
            add("have", "2", AppendAction::Append),
            add("over", "3", AppendAction::Overwrite),
            add("absent", "4", AppendAction::AddIfAbsent),
            add("have", "5", AppendAction::AddIfAbsent),
            add("nowhere", "6", AppendAction::OverwriteIfPresent),
            add("gone", "7", AppendAction::AddIfAbsent),
        ],
    };
    let line = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut pairs: Pairs =
        [("have", "a"), ("gone", "b"), ("over", "c"), ("over", "d")].map(line).into();
    edit(&edits, Direction::Request, &mut pairs);
    let want: Pairs =
        [("have", "a"), ("over", "3"), ("new", "1"), ("have", "2"), ("absent", "4"), ("gone", "7")]
            .map(line)
            .into();
    assert_eq!(pairs, want);
}

#[test]
fn a_redirect_keeps_what_it_does_not_replace() {
    const SAME: Redirect = Redirect {
        status: 301,
        scheme: None,
        host: None,
        port: None,
        path: None,
        path_rewrite: None,
        strip_query: false,
    };
    let https = || Redirect { scheme: Some("https".into()), ..SAME };
    for (redirect, authority, want) in [
        (https(), "a.test", "https://a.test/p?q"),
        (https(), "a.test:80", "https://a.test/p?q"),
        (https(), "a.test:81", "https://a.test:81/p?q"),
        (https(), "[::1]:80", "https://[::1]/p?q"),
        (https(), "[::1]", "https://[::1]/p?q"),
        (Redirect { port: Some(8443), ..https() }, "a:80", "https://a:8443/p?q"),
        (Redirect { host: Some("b".into()), ..SAME }, "a", "http://b/p?q"),
        (Redirect { path: Some("/x".into()), ..SAME }, "a", "http://a/x?q"),
        (Redirect { path: Some("/x?y".into()), ..SAME }, "a", "http://a/x?y"),
        (Redirect { path: Some("/x".into()), strip_query: true, ..SAME }, "a", "http://a/x"),
        (Redirect { strip_query: true, ..SAME }, "a", "http://a/p"),
        (
            Redirect { path_rewrite: Some(PathRewrite::Prefix("/n/".into())), ..SAME },
            "a",
            "http://a/n/p?q",
        ),
    ] {
        let mut route = route(prefix("/"), "");
        route.action = Action::Redirect(redirect.clone());
        let table = table(vec![host("*", vec![route])]);
        let taken = find(&table, authority.as_bytes(), b"/p?q", |_| None).unwrap();
        let field = |name: &str| {
            let value = match name {
                ":authority" => authority,
                ":path" => "/p?q",
                ":scheme" | "x-forwarded-proto" => "http",
                _ => return None,
            };
            Some(value.as_bytes().to_vec())
        };
        let (status, lines, _) = taken.answer(field).unwrap();
        assert_eq!(status, 301);
        assert_eq!(String::from_utf8_lossy(&lines[0].1), want, "{redirect:?} {authority}");
    }
}
