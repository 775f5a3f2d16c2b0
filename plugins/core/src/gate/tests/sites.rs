//! Placeholders: taken in their site, refused anywhere else (attack rows R1–R17).

use std::cell::Cell;
use std::rc::Rc;

use super::fixture::*;
use crate::credential::tests::StarScrubbing;
use crate::fields::Fields;
use crate::gate::Pipeline;
use crate::scrubbing::{Detector, Scan};

fn check(head: &[(&str, &str)], expected: Outcome) {
    assert_eq!(Gate::new().get(head), expected, "{head:?}");
}

fn misplaced(reason: &str) -> Outcome {
    refused(400, "placeholder_misplaced", reason)
}

fn malformed() -> Outcome {
    refused(400, "placeholder_malformed", "placeholder_malformed")
}

#[test]
fn a_credential_is_named_by_the_field_or_by_a_placeholder_in_its_site() {
    check(
        &[("x-tap-credential", "slack")],
        allowed(&["slack. at authorization"], &["x-tap-credential", "x-tap-key"]),
    );
    check(
        &[("authorization", "Bearer <CREDENTIAL:slack>")],
        allowed(&["slack. at authorization"], &["x-tap-key"]),
    );
    check(
        &[("authorization", "bearer <CREDENTIAL:slack.token>")],
        allowed(&["slack.token at authorization"], &["x-tap-key"]),
    );
    check(
        &[("x-api-key", "k=<CREDENTIAL:maps>"), ("x-tap-credential", "slack")],
        allowed(
            &["slack. at authorization", "maps. at x-api-key"],
            &["x-tap-credential", "x-tap-key"],
        ),
    );
    check(&[], allowed(&[], &["x-tap-key"]));
}

#[test]
fn a_minted_credential_is_named_as_its_rule_says_and_bound_as_it_says() {
    let mut document = document();
    document["bindings"][0]["paths"] = serde_json::json!(["/auth/token"]);
    document["bindings"][0]["mints"] = serde_json::json!([{
        "value": "/access_token", "name": "access", "authority": "slack.com",
        "methods": ["POST"], "paths": ["/api/chat"], "site": {"style": "bearer"},
    }]);
    let gate = Gate::with(&document);
    let name = format!("access-{}", "a2".repeat(13));
    let placeholder = format!("Bearer <CREDENTIAL:{name}>");
    let used = format!("{name}. at authorization");
    let good = allowed(&[&used], &["x-tap-key"]);
    assert_eq!(gate.get(&[("authorization", &placeholder)]), good);
    let good = allowed(&[&used], &["x-tap-credential", "x-tap-key"]);
    assert_eq!(gate.get(&[("x-tap-credential", &name)]), good);
    let elsewhere = [("authorization", placeholder.as_str()), (":path", "/api/other")];
    let denied = |reason| refused(403, "credential_not_allowed", reason);
    assert_eq!(gate.get(&elsewhere), denied("credential_path"));
    for other in ["access", "access-", &name[1..], &format!("{name}2"), &name.to_uppercase()] {
        if crate::placeholder::Name::new(other).is_some() {
            assert_eq!(gate.get(&[("x-tap-credential", other)]), denied("credential_unknown"));
        }
    }
}

#[test]
fn a_placeholder_inside_basic_is_taken_where_the_binding_has_it() {
    let gate = Gate::new();
    let send = |value: &str| {
        let mut run = Run::new(gate.pipeline.stream());
        let around =
            crate::event::Surroundings { cluster: Some(b"mail".to_vec()), ..Default::default() };
        let entropy = crate::time::Entropy([0; 32]);
        let fields = fields(&[("authorization", value)]);
        run.event(crate::event::Event::RequestHeaders { fields, end: true, around, entropy });
        run.outcome()
    };
    let good = allowed(&["mail. at authorization"], &["x-tap-key"]);
    assert_eq!(send(&basic("bob:<CREDENTIAL:mail>")), good);
    for pair in [
        "<CREDENTIAL:mail>:x",
        "<CREDENTIAL:mail>:<CREDENTIAL:mail>",
        "%3CCREDENTIAL%3Aslack%3E:<CREDENTIAL:mail>",
        "PENSRURFTlRJQUw6c2xhY2s+:<CREDENTIAL:mail>",
        &format!("{}:<CREDENTIAL:mail>", "u".repeat(257)),
    ] {
        assert_eq!(send(&basic(pair)), malformed(), "{pair}");
    }
}

#[test]
fn a_placeholder_anywhere_else_in_the_head_is_refused() {
    for (reason, head) in [
        ("in_target", vec![(":path", "/api/<CREDENTIAL:slack>")]),
        ("in_target", vec![(":path", "/api/x?token=<CREDENTIAL:slack>")]),
        ("in_target", vec![(":path", "/api/x?token=%3CCREDENTIAL%3Aslack%3E")]),
        ("in_target", vec![(":authority", "<CREDENTIAL:slack>.evil.example")]),
        ("in_field_value", vec![("cookie", "a=<CREDENTIAL:slack>")]),
        ("in_field_value", vec![("user-agent", "<credential:SLACK>")]),
        ("in_field_value", vec![("referer", "https://a/?x=%3ccredential:slack%3e")]),
        ("in_field_value", vec![("x-forwarded-for", "<CREDENTIAL:slack>")]),
        ("in_field_value", vec![("via", "1.1 <CREDENTIAL:slack>")]),
        ("in_field_value", vec![("x-other", "PENSRURFTlRJQUw6c2xhY2s+")]),
        ("in_field_value", vec![("x-split", "<CREDEN"), ("x-split", "TIAL:slack>")]),
        ("in_field_name", vec![("x-pensrurftlrjquw6", "x"), ("x-PENSRURFTlRJQUw6", "x")]),
    ] {
        check(&head, misplaced(reason));
    }
}

#[test]
fn a_placeholder_that_is_not_whole_in_its_site_is_refused() {
    for value in [
        "Bearer <CREDENTIAL:slack",
        "Bearer <CREDENTIAL:<CREDENTIAL:slack>>",
        "Bearer <CREDENTIAL:slack><CREDENTIAL:slack>",
        "Bearer x <CREDENTIAL:slack>",
        "Bearer <CREDENTIAL:Slack>",
        "Bearer %3CCREDENTIAL:slack%3E",
        "Token <CREDENTIAL:slack>",
    ] {
        check(&[("authorization", value)], malformed());
    }
    check(&[("x-api-key", "<CREDENTIAL:maps>")], malformed());
    check(&[("x-api-key", "k=<CREDENTIAL:maps>"), ("x-api-key", "k=1")], malformed());
    for name in ["", "Slack", "slack mail", "slack,mail", "<CREDENTIAL:slack>", "slack "] {
        check(&[("x-tap-credential", name)], malformed());
    }
}

#[test]
fn a_credential_used_twice_is_refused() {
    check(
        &[("x-tap-credential", "slack"), ("authorization", "Bearer <CREDENTIAL:slack>")],
        misplaced("twice"),
    );
}

#[test]
fn a_credential_may_occur_as_often_as_its_bindings_say() {
    let mut config = document();
    let bindings = config["bindings"].as_array_mut().unwrap();
    bindings[0]["max_occurrences"] = 2.into();
    let mut second = bindings[0].clone();
    second["site"] = serde_json::json!({"header": "x-second", "style": "bearer"});
    bindings.push(second);
    let gate = Gate::with(&config);
    let value = "Bearer <CREDENTIAL:slack>";
    assert_eq!(
        gate.get(&[("authorization", value), ("x-second", value)]),
        allowed(&["slack. at authorization", "slack. at x-second"], &["x-tap-key"])
    );
    let named = [("x-tap-credential", "slack"), ("x-second", value), ("authorization", value)];
    assert_eq!(gate.get(&named), misplaced("twice"));
}

#[test]
fn an_expectation_changes_nothing() {
    check(&[("expect", "100-continue")], allowed(&[], &["x-tap-key"]));
}

#[test]
fn a_good_site_beside_a_bad_place_is_refused() {
    let head = [("authorization", "Bearer <CREDENTIAL:slack>")];
    assert_eq!(
        Gate::new().send(fields(&head), &[b"{\"text\":\"<CREDENTIAL:slack>\"}"], None),
        misplaced("in_content")
    );
}

#[test]
fn a_placeholder_in_content_or_trailers_is_refused_across_chunks() {
    let gate = Gate::new();
    let send =
        |chunks: &[&[u8]], trailers: Option<Fields>| gate.send(fields(&[]), chunks, trailers);
    assert_eq!(send(&[b"a <CREDENTIAL:slack>"], None), misplaced("in_content"));
    assert_eq!(send(&[b"a <CRED", b"ENTIAL", b":slack>"], None), misplaced("in_content"));
    let trailer = |name: &str, value: &str| Some([(name, value)].into_iter().collect());
    assert_eq!(send(&[b"a"], trailer("x-t", "<CREDENTIAL:slack>")), misplaced("in_trailer"));
    assert_eq!(send(&[b"a"], trailer("x-PENSRURFTlRJQUw6", "x")), misplaced("in_trailer"));
    assert_eq!(send(&[b"a"], trailer("x-t", "x")), allowed(&[], &["x-tap-key"]));
}

#[test]
fn the_cluster_chooses_among_bindings_of_one_credential_and_the_caller_does_not() {
    let gate = Gate::new();
    let hash = |cluster: Option<&str>| {
        let mut run = Run::new(gate.pipeline.stream());
        let cluster = cluster.map(|name| name.as_bytes().to_vec());
        let around = crate::event::Surroundings { cluster, ..Default::default() };
        let entropy = crate::time::Entropy([0; 32]);
        let fields = fields(&[("x-tap-credential", "slack"), (":authority", "files.slack.com")]);
        run.event(crate::event::Event::RequestHeaders { fields, end: true, around, entropy });
        run.permit().map(|permit| permit.uses()[0].binding_hash)
    };
    let bindings = &gate.pipeline.config.bindings;
    assert_eq!(hash(Some("slack")), Some(bindings[0].hash()));
    assert_eq!(hash(Some("files")), Some(bindings[1].hash()));
    assert_eq!(hash(None), Some(bindings[0].hash()));
    assert_eq!(hash(Some("mail")), None);
    // Nothing there would take the placeholder out.
    assert_eq!(hash(Some("unheard-of")), None);
}

#[test]
fn fields_that_give_orders_or_hold_keys_do_not_go_on() {
    check(
        &[
            ("authorization", "Basic b3duOm93bg=="),
            ("x-envoy-upstream-rq-timeout-ms", "1"),
            ("x-envoy-retry-on", "5xx"),
            ("x-envoy-internal", "true"),
            ("postern-identity", "x"),
            ("x-postern-decision", "allow"),
            ("x-http-method-override", "DELETE"),
            ("connection", "keep-alive, authorization"),
            ("forwarded", "for=192.0.2.1"),
            ("accept", "*/*"),
        ],
        allowed(
            &[],
            &[
                "authorization",
                "connection",
                "postern-identity",
                "x-envoy-retry-on",
                "x-envoy-upstream-rq-timeout-ms",
                "x-http-method-override",
                "x-postern-decision",
                "x-tap-key",
            ],
        ),
    );
    check(
        &[
            ("x-tap-credential", "slack"),
            ("authorization", "Basic b3duOm93bg=="),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("forwarded", "host=evil"),
        ],
        allowed(
            &["slack. at authorization"],
            &[
                "authorization",
                "forwarded",
                "x-http-method-override",
                "x-original-url",
                "x-tap-credential",
                "x-tap-key",
            ],
        ),
    );
}

/// Counts the bytes that it is given.
struct Counting(Rc<Cell<usize>>);

impl Detector for Counting {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(Self(Rc::clone(&self.0)))
    }
}

impl Scan for Counting {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.0.set(self.0.get() + bytes.len());
        false
    }

    fn finish(&mut self) -> bool {
        false
    }
}

#[test]
fn many_lines_of_one_field_cost_what_they_are_long() {
    let (line, count) = ([b'a'; 300], Rc::new(Cell::new(0)));
    let lines = || (0..90).map(|_| ("x-many", line)).collect::<Fields>();
    let Gate { pipeline, directory, revocations } = Gate::new();
    let config = pipeline.config.clone();
    let detector = Rc::new(Counting(Rc::clone(&count)));
    let (callers, list) = (callers(&config, &directory), revocations.clone());
    let scrubbing = Rc::new(StarScrubbing);
    let pipeline =
        Pipeline::new(config, permit_keys(), callers, list, detector, scrubbing, [0xee; 16]);
    let mut head = fields(&[]);
    head.0.extend(lines().0);
    let outcome = Gate { pipeline, directory, revocations }.send(head, &[b"x"], Some(lines()));
    assert_eq!(outcome, allowed(&[], &["x-tap-key"]));
    assert!(count.get() < 2 * 2 * 90 * 310, "{} bytes were read", count.get());
}
