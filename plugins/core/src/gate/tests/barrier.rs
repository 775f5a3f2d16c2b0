//! Answers with sections: filtered, refused or cut, and what the record says of it.

use std::rc::Rc;

use serde_json::{Value, json};

use super::fixture::*;
use crate::denial::PolicyReason;
use crate::effect::Flow;
use crate::event::Event;
use crate::fields::Fields;
use crate::gate::{Config, Loaded};
use crate::policy::{Answer, Changes, Obligations, Policy, Question};
use crate::record::Decision;

fn barriers() -> Value {
    json!({
        "levels": ["public", "internal", "secret"],
        "rules": [
            {"path": "/api/open/**", "sections": []},
            {"path": "/api/**", "sections": [{"at": "/sections/*", "level": "level"}]},
        ],
        "hold": "32B",
    })
}

fn document_with(barriers: &Value) -> Value {
    let mut document = document();
    document["barriers"] = barriers.clone();
    document
}

fn gate() -> Gate {
    let gate = Gate::with(&document_with(&barriers()));
    gate.change(|record| record.clearance = Some("internal".into()));
    gate
}

/// A request that was allowed, waiting for its answer.
fn asked(gate: &Gate, head: &[(&str, &str)]) -> Run {
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(head), true));
    assert!(run.permit().is_some(), "{:?}", run.outcome());
    run
}

fn head(lines: &[(&str, &str)]) -> Fields {
    let usual = [(":status", "200"), ("content-type", "application/json; charset=UTF-8")];
    let replaced = |name: &str| lines.iter().any(|(line, _)| *line == name);
    let kept = usual.iter().filter(|(name, _)| !replaced(name));
    kept.chain(lines).map(|(name, value)| (*name, *value)).collect()
}

fn body(run: &mut Run, chunks: &[&str]) {
    run.event(Event::ResponseHeaders { fields: head(&[]), end: false });
    for (index, chunk) in chunks.iter().enumerate() {
        let (chunk, end) = (chunk.as_bytes().to_vec(), index + 1 == chunks.len());
        run.event(Event::ResponseBody { chunk, end });
    }
}

fn content(run: &Run) -> &str {
    str::from_utf8(&run.content).unwrap()
}

#[test]
fn content_of_an_answer_is_told_until_nobody_looks_at_it() {
    let begun = |gate: &Gate, lines: &[(&str, &str)]| {
        let mut run = asked(gate, lines);
        assert!(!run.passes_answer(), "its head has to come first");
        run.event(Event::ResponseHeaders { fields: head(&[]), end: false });
        run
    };
    assert!(begun(&Gate::new(), &[]).passes_answer());
    let mut run = begun(&gate(), &[]);
    assert!(!run.passes_answer());
    let chunk = br#"{"sections": []}"#.to_vec();
    run.event(Event::ResponseBody { chunk, end: true });
    assert!(run.passes_answer(), "all of it was filtered");
    let mut refused = begun(&gate(), &[]);
    let chunk = b"no JSON".to_vec();
    refused.event(Event::ResponseBody { chunk, end: true });
    assert!(!refused.passes_answer());
}

#[test]
fn sections_above_the_callers_clearance_do_not_pass() {
    let mut run = asked(&gate(), &[("range", "bytes=0-9"), ("accept-encoding", "gzip")]);
    assert!(run.set.contains(&"accept-encoding: identity".to_owned()));
    assert!(["range", "if-range", "a-im"].iter().all(|name| run.removed.contains(&(*name).into())));
    run.removed.clear();
    let fields = head(&[("content-length", "70"), ("etag", "\"a\"")]);
    run.event(Event::ResponseHeaders { fields, end: false });
    assert_eq!(run.removed, ["content-length", "etag"]);
    assert_eq!(run.set.last().unwrap(), "cache-control: no-store");
    for (chunk, end) in [
        (r#"{"sections":[{"level":"pu"#, false),
        (r#"blic"},{"level":"secret","#, false),
        (r#""x":"no"}]}"#, true),
    ] {
        let chunk = chunk.as_bytes().to_vec();
        assert_eq!(run.event(Event::ResponseBody { chunk, end }), Flow::Continue);
    }
    assert_eq!(content(&run), r#"{"sections":[{"level":"public"}]}"#);
    assert_eq!(run.records.last().unwrap().removed_sections, 1);
    assert_eq!(run.records.last().unwrap().decision, Decision::Allow);
    assert!(run.counted.contains(&"postern.gate.redacted.total"));
    // Somebody who goes away leaves the same behind.
    let mut run = asked(&gate(), &[]);
    run.event(Event::ResponseHeaders { fields: head(&[]), end: false });
    let chunk = br#"{"sections":[1,"#.to_vec();
    run.event(Event::ResponseBody { chunk, end: false });
    run.event(Event::Done);
    assert_eq!(run.records.last().unwrap().removed_sections, 1);
}

#[test]
fn a_path_without_sections_passes_unread_and_one_without_a_rule_is_refused() {
    let mut run = asked(&gate(), &[(":path", "/api/open/x")]);
    body(&mut run, &["<html>"]);
    assert_eq!((run.content.len(), run.resets, run.replies.len()), (0, 0, 0));
    let refusal = gate().get(&[(":path", "/open"), (":method", "GET")]);
    assert_eq!(refusal, refused(403, "policy_denied", "no_barrier_rule"));
    // Servers that drop parameters give the sections of the other path.
    let mut run = asked(&gate(), &[(":path", "/api/open;x/y")]);
    body(&mut run, &[r#"{"sections":[{"level":"secret"}]}"#]);
    assert_eq!(content(&run), r#"{"sections":[]}"#);
}

#[test]
fn clearance_is_the_identitys_or_the_default_and_no_other_name() {
    let read = |gate: &Gate| {
        let mut run = asked(gate, &[]);
        body(&mut run, &[r#"{"sections":[{"level":"public"},{"level":"secret"}]}"#]);
        content(&run).to_owned()
    };
    let gate = gate();
    gate.change(|record| record.clearance = None);
    assert_eq!(read(&gate), r#"{"sections":[]}"#);
    gate.change(|record| record.clearance = Some("secret".into()));
    assert_eq!(read(&gate), r#"{"sections":[{"level":"public"},{"level":"secret"}]}"#);
    for unknown in ["Secret", "top", "3"] {
        gate.change(|record| record.clearance = Some(unknown.into()));
        assert_eq!(gate.get(&[]), refused(403, "policy_denied", "clearance_unknown"));
    }
    let mut document = barriers();
    document["clearance"] = json!("public");
    assert_eq!(
        read(&Gate::with(&document_with(&document))),
        r#"{"sections":[{"level":"public"}]}"#
    );
}

#[test]
fn an_answer_that_is_no_json_is_refused_while_its_head_is_here() {
    let refusal = |fields: Fields| {
        let mut run = asked(&gate(), &[]);
        assert_eq!(run.event(Event::ResponseHeaders { fields, end: false }), Flow::Pause);
        assert_eq!(run.resets, 0);
        run.outcome()
    };
    let unscannable = |reason| refused(502, "upstream_unscannable", reason);
    for kind in [
        "text/html",
        "text/event-stream",
        "application/x-ndjson",
        "application/jsonl",
        "multipart/mixed",
        "application/json; charset=utf-16",
        "application/json, text/html",
        "text/json",
        "",
    ] {
        assert_eq!(refusal(head(&[("content-type", kind)])), unscannable("barrier_type"), "{kind}");
    }
    let twice = head(&[("content-type", "application/json"), ("content-type", "application/json")]);
    assert_eq!(refusal(twice), unscannable("barrier_type"));
    let none: Fields = [(":status", "200")].into_iter().collect();
    assert_eq!(refusal(none), unscannable("barrier_type"));
    assert_eq!(refusal(head(&[(":status", "206")])), unscannable("partial"));
    assert_eq!(refusal(head(&[("content-encoding", "compress")])), unscannable("encoded"));
    // An answer without content has nothing to be removed.
    for kind in ["text/html", "application/json"] {
        let mut run = asked(&gate(), &[]);
        let fields = head(&[(":status", "204"), ("content-type", kind)]);
        assert_eq!(run.event(Event::ResponseHeaders { fields, end: true }), Flow::Continue);
    }
    // Problem documents, ours among them, are JSON.
    let mut run = asked(&gate(), &[]);
    let fields = head(&[("content-type", "application/problem+json")]);
    assert_eq!(run.event(Event::ResponseHeaders { fields, end: false }), Flow::Continue);
}

#[test]
fn an_answer_that_turns_out_to_be_no_json_is_cut() {
    let long = format!(r#"{{"sections":[{{"x":"{}"#, "x".repeat(32));
    for (chunks, reason) in [
        (vec!["{", "x"], "barrier_json"),
        (vec![r#"{"a":1"#, ""], "barrier_json"),
        (vec![r#"{"a":1,"#, r#""a":2}"#], "barrier_duplicate"),
        (vec![&"[".repeat(65)], "barrier_size"),
        (vec![&long], "barrier_held"),
    ] {
        let mut run = asked(&gate(), &[]);
        body(&mut run, &chunks);
        assert_eq!(run.outcome(), Outcome::Cut(reason.into()), "{chunks:?}");
        let Some(Decision::Deny { code, .. }) = run.records.last().map(|r| r.decision.clone())
        else {
            panic!("no denial in the record")
        };
        assert_eq!(code, "upstream_unscannable");
        // Nothing passes any more.
        let chunk = b"{}".to_vec();
        run.content.clear();
        run.event(Event::ResponseBody { chunk, end: true });
        assert!(run.content.is_empty());
    }
}

#[test]
fn trailers_end_an_answer_that_has_to_be_whole() {
    for (chunk, outcome) in
        [(r#"{"sections":[]}"#, None), (r#"{"sections":["#, Some("barrier_json"))]
    {
        let mut run = asked(&gate(), &[]);
        run.event(Event::ResponseHeaders { fields: head(&[]), end: false });
        let chunk = chunk.as_bytes().to_vec();
        run.event(Event::ResponseBody { chunk, end: false });
        run.event(Event::ResponseTrailers(Fields::default()));
        assert_eq!(run.resets > 0, outcome.is_some());
        assert_eq!(outcome.is_some(), matches!(run.outcome(), Outcome::Cut(_)));
    }
}

/// Obliges everybody to the same.
struct Obliges(Obligations);

impl Policy for Obliges {
    fn reads_content(&self) -> bool {
        false
    }

    fn decide(&self, _: &Question<'_>) -> Result<Answer, PolicyReason> {
        Ok(Answer::Allow(Changes::default(), self.0.clone()))
    }
}

#[test]
fn a_policy_lowers_the_clearance_and_never_raises_it() {
    let obliged = |above: &[&str]| {
        let mut document = document_with(&barriers());
        document["policy"] = json!({"rego": {"inline": "package envoy.authz"}});
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let redact_above = above.iter().map(|&level| level.to_owned()).collect();
        let duties = Obligations { redact_above, ..Obligations::default() };
        let gate = Gate::loaded(Loaded {
            config,
            policy: Some(Rc::new(Obliges(duties))),
            tallies: None,
            invites: None,
            approvals: None,
        });
        gate.change(|record| record.clearance = Some("internal".into()));
        gate
    };
    let left = |above: &[&str]| {
        let mut run = asked(&obliged(above), &[]);
        let text = r#"{"sections":[{"level":"public"},{"level":"internal"},{"level":"secret"}]}"#;
        body(&mut run, &[text]);
        content(&run).matches("level").count()
    };
    assert_eq!(left(&[]), 2);
    assert_eq!(left(&["public"]), 1);
    assert_eq!(left(&["secret"]), 2);
    assert_eq!(left(&["secret", "public", "internal"]), 1);
    let unknown = obliged(&["top"]).get(&[]);
    assert_eq!(unknown, refused(403, "policy_denied", "policy_obligation"));
}

#[test]
fn every_problem_of_the_configuration_has_its_path() {
    let paths = |barriers: Value| {
        let document = document_with(&barriers).to_string();
        let problems = Config::parse(document.as_bytes()).unwrap_err().problems;
        problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    assert_eq!(paths(json!({})), ["barriers.levels", "barriers.rules"]);
    let rules = json!([
        {"path": "/x"},
        {"sections": []},
        {"path": "/**", "sections": [{"at": "x"}, {"at": "/x", "level": ""}]},
    ]);
    assert_eq!(
        paths(json!({"levels": ["a", "a", ""], "clearance": "b", "rules": rules, "hold": "2MiB"})),
        [
            "barriers.levels[1]",
            "barriers.levels[2]",
            "barriers.clearance",
            "barriers.rules[0].sections",
            "barriers.rules[1].path",
            "barriers.rules[2].sections[0].at",
            "barriers.rules[2].sections[0]",
            "barriers.rules[2].sections[1].level",
            "barriers.hold",
        ]
    );
}
