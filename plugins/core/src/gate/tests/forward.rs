//! The forward endpoint: what becomes of a request, and every refusal.

use serde_json::{Value, json};

use super::fixture::*;
use crate::digest::request_digest;
use crate::effect::Reply;
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::time::Entropy;

const FIELDS: [&str; 2] = ["x-tap-target", "x-tap-method"];

fn with(change: impl FnOnce(&mut Value)) -> Gate {
    let mut document = document();
    document["forward"] = json!({});
    change(&mut document);
    Gate::with(&document)
}

fn gate() -> Gate {
    with(|_| {})
}

fn forward<'a>(
    target: &'a str,
    method: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let usual = [(":path", "/forward"), (FIELDS[0], target), (FIELDS[1], method)];
    usual.iter().chain(more).copied().collect()
}

/// Sends a request through a cluster that leads elsewhere.
fn run(gate: &Gate, lines: &[(&str, &str)]) -> Run {
    let mut run = Run::new(gate.pipeline.stream());
    let around = Surroundings { cluster: Some(b"files".to_vec()), ..Surroundings::default() };
    let entropy = Entropy([1; 32]);
    run.event(Event::RequestHeaders { fields: fields(lines), end: true, around, entropy });
    run
}

fn outcome(gate: &Gate, lines: &[(&str, &str)]) -> Outcome {
    run(gate, lines).outcome()
}

#[test]
fn the_request_becomes_the_one_that_was_asked_for() {
    let target = "https://Slack.com./api/chat.postMessage?a=1";
    let run = run(&gate(), &forward(target, "POST", &[("x-tap-credential", "slack")]));
    assert_eq!(
        run.set,
        [
            ":method: POST",
            ":scheme: https",
            ":authority: slack.com",
            ":path: /api/chat.postMessage?a=1",
        ]
    );
    assert_eq!(
        run.outcome(),
        allowed(
            &["slack. at authorization"],
            &["x-tap-target", "x-tap-method", "x-tap-credential", "x-tap-key"]
        )
    );
    let record = run.records.last().unwrap();
    assert_eq!((record.method.as_str(), record.route.as_str()), ("POST", "/api/**"));
    let decided: Fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "slack.com"),
        (":path", "/api/chat.postMessage?a=1"),
        ("x-tap-credential", "slack"),
    ]
    .into_iter()
    .collect();
    let digest = request_digest(&decided, &["x-tap-credential"], Some(sha256_of_nothing()));
    assert_eq!(run.permit().unwrap().request_digest(), digest);
}

fn sha256_of_nothing() -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(b"").into()
}

#[test]
fn scopes_and_bindings_are_those_of_the_request_as_rewritten() {
    let slack = "https://slack.com/api/x";
    let credential = [("x-tap-credential", "slack")];
    for (target, method, more, expected) in [
        (slack, "GET", &[][..], allowed(&[], &["x-tap-target", "x-tap-method", "x-tap-key"])),
        (slack, "PUT", &[], refused(403, "policy_denied", "no_scope_rule")),
        (slack, "get", &[], refused(403, "policy_denied", "no_scope_rule")),
        (
            "https://slack.com/admin",
            "GET",
            &[],
            refused(403, "insufficient_scope", "insufficient_scope"),
        ),
        (slack, "GET", &credential, refused(403, "credential_not_allowed", "credential_method")),
        (
            "https://mail.example:8443/api/x",
            "POST",
            &credential,
            refused(403, "credential_not_allowed", "credential_authority"),
        ),
        (
            "https://slack.com/api/<CREDENTIAL:slack>",
            "POST",
            &[],
            refused(400, "placeholder_misplaced", "in_target"),
        ),
        (
            "https://slack.com/api/x?token=<CREDENTIAL:slack>",
            "POST",
            &[],
            refused(400, "placeholder_misplaced", "in_target"),
        ),
        (
            "https://slack.com/api/x?token=%3CCREDENTIAL:slack%3E",
            "POST",
            &[],
            refused(400, "placeholder_misplaced", "in_target"),
        ),
    ] {
        let found = outcome(&gate(), &forward(target, method, more));
        assert_eq!(found, expected, "{method} {target}");
    }
}

#[test]
fn half_a_forward_or_one_elsewhere_is_refused() {
    let slack = "https://slack.com/api/x";
    let ambiguous = refused(400, "request_ambiguous", "forward_fields");
    let again = |name: &'static str, value: &'static str| forward(slack, "POST", &[(name, value)]);
    for lines in [
        vec![(":path", "/forward")],
        vec![(":path", "/forward"), (FIELDS[0], slack)],
        vec![(":path", "/forward"), (FIELDS[1], "POST")],
        vec![(FIELDS[0], slack)],
        vec![(FIELDS[1], "GET")],
        again("X-TAP-Target", "https://slack.com/api/x"),
        again("x-tap-target", ""),
        again("X-Tap-Method", "POST"),
        again(":path", "/forward?x"),
        again(":path", "/forward/"),
        again(":path", "/forward;x"),
        again(":path", "/Forward"),
        again(":method", "GET"),
        forward(slack, "", &[]),
        forward(slack, "GET,POST", &[]),
        forward(slack, "GET, POST", &[]),
        forward(slack, "GE T", &[]),
        forward(slack, "<CREDENTIAL:slack>", &[]),
        forward(slack, "POST", &[("host", "gw.example")]),
    ] {
        // A later line of a pseudo-field stands in place of the first.
        let mut last: Vec<(&str, &str)> = Vec::new();
        for line in lines {
            last.retain(|(name, _)| !line.0.starts_with(':') || *name != line.0);
            last.push(line);
        }
        assert_eq!(outcome(&gate(), &last), ambiguous, "{last:?}");
    }
}

#[test]
fn methods_that_echo_tunnel_or_have_no_content_are_refused() {
    for method in ["TRACE", "TRACK", "CONNECT", "connect", "HEAD", "head"] {
        let found = outcome(&gate(), &forward("https://slack.com/api/x", method, &[]));
        assert_eq!(found, refused(405, "method_refused", "method_refused"), "{method}");
    }
}

#[test]
fn every_bad_target_gets_one_answer_and_its_reason_is_in_the_record() {
    for (reason, target) in [
        ("target_bytes", "https://slack.com/api#x"),
        ("target_joined", "https://slack.com/api/a,https://slack.com/api/b"),
        ("target_scheme", "http://slack.com/api/x"),
        ("target_userinfo", "https://slack.com@evil.test/api/x"),
        ("target_host", "https://127.0.0.1/api/x"),
        ("target_path", "https://slack.com/api/../x"),
        ("target_unknown", "https://evilslack.com/api/x"),
        ("target_unknown", "https://api.slack.com/api/x"),
        ("target_unknown", "https://slack.com.evil.test/api/x"),
        ("target_unknown", "https://slack.com:8443/api/x"),
        ("target_unknown", "https://gw.example/forward"),
        ("target_loop", "https://slack.com/forward"),
        ("target_loop", "https://slack.com/%66orward;x=1?y"),
    ] {
        let run = run(&gate(), &forward(target, "POST", &[]));
        assert_eq!(run.outcome(), refused(403, "credential_not_allowed", reason), "{target}");
        assert_eq!(run.replies, [usual_reply()], "{target}");
        let record = run.records.last().unwrap();
        assert_eq!((record.method.as_str(), record.route.as_str()), ("POST", "/forward"));
        assert!(record.caller.is_some());
        assert!(run.set.is_empty() && run.permit().is_none());
    }
    let long = format!("https://slack.com/api/{}", "x".repeat(8000));
    let found = outcome(&gate(), &forward(&long, "POST", &[]));
    assert_eq!(found, refused(403, "credential_not_allowed", "target_length"));
}

/// What a caller gets for a target that is no URL at all.
fn usual_reply() -> Reply {
    run(&gate(), &forward("", "POST", &[])).replies.remove(0)
}

#[test]
fn a_stranger_learns_nothing_about_targets() {
    for target in ["https://slack.com/api/x", "https://evil.test/", "rubbish"] {
        let lines = forward(target, "POST", &[("x-tap-key", "pk_x")]);
        assert_eq!(outcome(&gate(), &lines), refused(401, "invalid_token", "syntax"));
    }
}

#[test]
fn an_address_is_no_target_even_where_an_upstream_has_it() {
    let gate = with(|document| document["upstreams"]["box"] = json!({"authority": "10.0.0.1"}));
    let found = outcome(&gate, &forward("https://10.0.0.1/api/x", "GET", &[]));
    assert_eq!(found, refused(403, "credential_not_allowed", "target_host"));
}

#[test]
fn without_a_forward_endpoint_the_fields_mean_nothing_and_go() {
    let lines = [(FIELDS[0], "https://slack.com/api/x"), (FIELDS[1], "GET")];
    let found = Gate::new().get(&lines);
    assert_eq!(found, allowed(&[], &["x-tap-key", "x-tap-method", "x-tap-target"]));
}

#[test]
fn the_path_of_the_endpoint_is_configured() {
    let gate = with(|document| document["forward"] = json!({"path": "/tap/send"}));
    let there = forward("https://slack.com/api/x", "GET", &[]);
    let there: Vec<_> = there.into_iter().filter(|(name, _)| *name != ":path").collect();
    let at = |path: &'static str| [(":path", path)].into_iter().chain(there.clone()).collect();
    let at: [Vec<_>; 2] = [at("/tap/send"), at("/forward")];
    let fields = ["x-tap-target", "x-tap-method", "x-tap-key"];
    assert_eq!(outcome(&gate, &at[0]), allowed(&[], &fields));
    assert_eq!(outcome(&gate, &at[1]), refused(400, "request_ambiguous", "forward_fields"));
}
