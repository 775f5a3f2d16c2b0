//! What a route may say.

use std::time::Duration;

use super::super::*;
use super::parts::{read, refuse};

fn route(text: &str) -> Route {
    let gateway = read("ROUTE", text).unwrap();
    gateway.listeners[0].http.routes.hosts[0].routes[0].clone()
}

#[rustfmt::skip]
const REFUSED: &[(&str, &str, &str)] = &[
    ("ROUTE", "match: {prefix: /, path: /}, route: {cluster: up}", "either prefix or path"),
    ("ROUTE", "match: {path_separated_prefix: /a/}, route: {cluster: up}", "path_separated_prefix: expected a path that does not end"),
    ("ROUTE", "match: {path_separated_prefix: '/a?'}, route: {cluster: up}", "path_separated_prefix: expected a path"),
    ("ROUTE", "match: {safe_regex: {regex: '('}}, route: {cluster: up}", "safe_regex.regex: expected an expression"),
    ("ROUTE", "match: {safe_regex: {regex: '[a[b]'}}, route: {cluster: up}", "inside of brackets"),
    ("ROUTE", "match: {safe_regex: {}}, route: {cluster: up}", "expected regex"),
    ("ROUTE", "match: {prefix: /, case_sensitive: 1}, route: {cluster: up}", "case_sensitive: expected true or false"),
    ("ROUTE", "match: {connect_matcher: {}, prefix: /}, route: {cluster: up}", "connect_matcher: this gateway does not know"),
    ("ROUTE", "match: {prefix: /, grpc: {}}, route: {cluster: up}", "grpc: this gateway does not know"),
    ("ROUTE", "match: {prefix: /, runtime_fraction: {}}, route: {cluster: up}", "runtime_fraction: this gateway does not know"),
    ("ROUTE", "match: {prefix: /, headers: [{name: x}]}, route: {cluster: up}", "either present_match or string_match or range_match"),
    ("ROUTE", "match: {prefix: /, headers: [{name: x, range_match: {start: a}}]}, route: {cluster: up}", "start: expected a whole number"),
    ("ROUTE", "match: {prefix: /, headers: [{name: x, string_match: {exact: a, prefix: b}}]}, route: {cluster: up}", "string_match: expected one of exact"),
    ("ROUTE", "match: {prefix: /, headers: [{name: x, exact_match: a, present_match: true}]}, route: {cluster: up}", "exact_match: this gateway does not know"),
    ("ROUTE", "match: {prefix: /, query_parameters: [{name: x, string_match: {exact: a, custom: {}}}]}, route: {cluster: up}", "custom: this gateway does not know"),
    ("ROUTE", "match: {prefix: /, query_parameters: [{name: x, present_match: true, string_match: {exact: a}}]}, route: {cluster: up}", "either present_match or string_match"),
    ("ROUTE", "match: {prefix: /}", "expected one of route, direct_response, redirect"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, redirect: {}", "expected one of route, direct_response, redirect"),
    ("ROUTE", "match: {prefix: /}, filter_action: {}, route: {cluster: up}", "filter_action: this gateway does not know"),
    ("ROUTE", "match: {prefix: /}, typed_per_filter_config: {a: {}}, route: {cluster: up}", "typed_per_filter_config: expected no settings"),
    ("HOST", ", typed_per_filter_config: {a: {}}", "typed_per_filter_config: expected no settings"),
    ("HOST", ", require_tls: ALL", "require_tls: this gateway does not know"),
    ("HOST", ", retry_policy: {}", "no retries"),
    ("TABLE", "typed_per_filter_config: {a: {}}", "typed_per_filter_config: expected no settings"),
    ("TABLE", "vhds: {}", "vhds: this gateway does not know"),
    ("TABLE", "max_direct_response_body_size_bytes: 2000000", "expected answers of at most"),
    ("ROUTE", "match: {prefix: /}, direct_response: {status: 199}", "status: expected a status from 200 to 599"),
    ("ROUTE", "match: {prefix: /}, direct_response: {}", "direct_response: expected status"),
    ("ROUTE", "match: {prefix: /}, direct_response: {status: 200, body: {}}", "either inline_string or filename"),
    ("ROUTE", "match: {prefix: /}, direct_response: {status: 200, body: {inline_string: a, inline_bytes: aaaa}}", "inline_bytes: this gateway does not know"),
    ("ROUTE", "match: {prefix: /}, direct_response: {status: 200, body_format: {}}", "body_format: this gateway does not know"),
    ("ROUTE", "match: {prefix: /}, redirect: {https_redirect: true, scheme_redirect: http}", "either https_redirect or scheme_redirect"),
    ("ROUTE", "match: {prefix: /}, redirect: {path_redirect: /a, prefix_rewrite: /b}", "either path_redirect or a rewrite"),
    ("ROUTE", "match: {prefix: /}, redirect: {response_code: GONE}", "response_code: expected one of"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}}", "either prefix_rewrite or regex_rewrite"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up, regex_rewrite: {pattern: {regex: a}, substitution: '\\1'}}", "substitution: expected text"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up, regex_rewrite: {pattern: {regex: a}, substitution: 'b\\'}}", "substitution: expected text"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up, auto_host_rewrite: true}", "auto_host_rewrite: this gateway does not know"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up, host_rewrite_header: x}", "host_rewrite_header: this gateway does not know"),
    ("ROUTE", "match: {prefix: /}, route: {weighted_clusters: {}, cluster: up}", "weighted_clusters: this gateway does not know"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, request_headers_to_add: [{header: {key: x, value: '%REQ(y)%'}}]", "request_headers_to_add[0].header.value: expected a literal value"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, request_headers_to_add: [{header: {key: ':path', value: a}}]", "header.key: expected the name of a field"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, request_headers_to_add: [{header: {key: Host, value: a}}]", "header.key: expected the name of a field"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, response_headers_to_add: [{header: {key: x, value: \"a\\r\\nb: c\"}}]", "header.value: expected a literal value"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, response_headers_to_remove: [':status']", "response_headers_to_remove[0]: expected the name"),
    ("HOST", ", response_headers_to_add: [{header: {key: x, value: '%%'}}]", "header.value: expected a literal value"),
    ("TABLE", "request_headers_to_add: [{header: {key: x, value: a}, append: true}]", "append: this gateway does not know"),
    ("TABLE", "request_headers_to_add: [{header: {key: x, value: a}, append_action: TWICE}]", "append_action: expected one of"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, metadata: {filter_metadata: {a: 1}}", "metadata.filter_metadata.a: expected a mapping"),
    ("ROUTE", "match: {prefix: /}, route: {cluster: up}, metadata: {typed_filter_metadata: {}}", "typed_filter_metadata: this gateway does not know"),
];

#[test]
fn what_a_route_may_not_say_is_a_problem() {
    refuse(REFUSED);
}

#[test]
fn a_reply_that_is_too_long_is_a_problem() {
    let text = |length| {
        let body = "x".repeat(length);
        format!(
            "match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {body}}}}}"
        )
    };
    assert!(read("ROUTE", &text(4096)).is_ok());
    refuse(&[("ROUTE", &text(4097), "expected at most 4096 bytes")]);
}

#[test]
fn conditions_actions_and_edits_are_understood() {
    let route = route(
        "match: {safe_regex: {regex: '/a.*'}, headers: [{name: X, present_match: false}], \
         query_parameters: [{name: q}]}, route: {cluster: up, timeout: 0s}, \
         request_headers_to_add: [{header: {key: X-A, value: b}, append_action: ADD_IF_ABSENT}, \
         {header: {key: x-empty}}], response_headers_to_remove: [X-B]",
    );
    let Condition { path, fields, query, case_sensitive } = &route.condition;
    assert!(*case_sensitive && matches!(path, PathMatch::Pattern(it) if it.text() == "/a.*"));
    assert!(fields[0].invert && fields[0].test == Test::Present && fields[0].name == "x");
    assert_eq!(query[0].test, QueryTest::Present(true));
    let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
    assert_eq!(forward.timeout, None);
    let add = FieldAdd { name: "x-a".into(), value: "b".into(), action: AppendAction::AddIfAbsent };
    assert_eq!(route.edits.request.add, [add]);
    assert_eq!(route.edits.response.remove, ["x-b"]);
}

#[test]
fn a_route_without_a_timeout_has_that_of_envoy() {
    let route = route("match: {prefix: /}, route: {cluster: up}");
    let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
    assert_eq!(forward.timeout, Some(Duration::from_secs(15)));
}

#[test]
fn groups_of_a_rewrite_are_written_as_the_library_wants_them() {
    let route = route(
        r"match: {prefix: /}, route: {cluster: up, regex_rewrite: {pattern: {regex: '(a)(b)'}, substitution: '\2$\\1\10'}}",
    );
    let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
    let Some(PathRewrite::Pattern(_, text)) = &forward.path_rewrite else { panic!() };
    assert_eq!(text, r"${2}$$\1${1}0");
}

#[test]
fn files_of_replies_are_fetched_with_their_limit() {
    let text = "match: {prefix: /}, direct_response: {status: 200, body: {filename: /f}}";
    let mut routes = read("ROUTE", text).unwrap().listeners[0].http.routes.clone();
    let read = |file: &str, most: usize| Ok::<_, ()>(format!("{file} {most}").into_bytes());
    routes.fetch(read).unwrap();
    let Action::Reply(reply) = &routes.hosts[0].routes[0].action else { panic!() };
    assert_eq!(reply.body, Body::Inline(b"/f 4096".to_vec()));
    assert!(routes.fetch(|_, _| Err(())).is_ok(), "nothing is left to fetch");
}
