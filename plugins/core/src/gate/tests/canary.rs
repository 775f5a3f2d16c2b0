//! The echo canary: who asks, what its answer shows, and who waits.

use std::time::Duration;

use serde_json::json;

use super::fixture::*;
use crate::canary::{MARK, Mark, Verdict};
use crate::effect::Flow;
use crate::event::Event;
use crate::fields::Fields;
use crate::key_service::{CallAnswer, CallFailure, CallResult, UpstreamCall};
use crate::revocation::Kind;
use crate::time::Entropy;

/// A gate whose `slack` has a canary.
fn gate(more: serde_json::Value) -> Gate {
    let mut document = document();
    let binding = &mut document["bindings"][0];
    binding["methods"] = json!(["POST", "GET"]);
    binding["canary"] = json!({"path": "/api/me"});
    for (name, value) in more.as_object().unwrap() {
        binding["canary"][name] = value.clone();
    }
    document["upstreams"]["another"] = json!({"authority": "slack.com"});
    Gate::with(&document)
}

fn head() -> Event {
    headers(fields(&[("x-tap-credential", "slack")]), true)
}

/// A request that waits for its own canary.
fn asked(gate: &Gate) -> Run {
    let mut run = Run::new(gate.pipeline.stream());
    assert_eq!(run.event(head()), Flow::Pause);
    assert_eq!((run.canaries.len(), run.publications.len()), (1, 0));
    run
}

fn line<'a>(call: &'a UpstreamCall, name: &str) -> &'a str {
    let found = call.fields.iter().find(|(have, _)| have == name);
    found.map_or("", |(_, value)| value)
}

fn value(call: &UpstreamCall) -> &str {
    line(call, "authorization").strip_prefix("Bearer ").unwrap()
}

/// Answers the last canary, with the proof.
fn answer(run: &mut Run, more: &[(&str, &str)], body: &str) -> Flow {
    let call = run.canaries.last().unwrap();
    let mark = Mark::open(&permit_keys(), line(call, MARK).as_bytes(), run.now).unwrap();
    let proof = mark.prove(&permit_keys());
    let usual = [(":status", "200"), (MARK, proof.as_str())];
    let fields: Fields = usual.iter().chain(more).copied().collect();
    hear(run, Ok(CallAnswer { fields, ..CallAnswer::of(200, body.into()) }))
}

fn hear(run: &mut Run, result: CallResult) -> Flow {
    let id = run.canaries.last().unwrap().id;
    run.event(Event::CallReply { id, result, entropy: Entropy([5; 32]) })
}

fn verdict(run: &Run) -> Option<Verdict> {
    run.records.last().and_then(|draft| draft.canary)
}

const REFLECTIVE: (u16, &str, &str) = (403, "credential_not_allowed", "route_reflective");
const FAILED: (u16, &str, &str) = (502, "upstream_unscannable", "canary_failed");

fn was(run: &Run, (status, code, reason): (u16, &'static str, &str)) {
    assert_eq!(run.outcome(), refused(status, code, reason));
}

#[test]
fn a_made_up_value_goes_first_to_the_same_site_of_the_same_cluster() {
    let run = asked(&gate(json!({"prefix": "xoxb-"})));
    let call = &run.canaries[0];
    assert_eq!(call.cluster, "slack");
    let names: Vec<&str> = call.fields.iter().map(|(name, _)| name.as_str()).collect();
    let want = [":method", ":path", ":authority", "accept-encoding", "user-agent", MARK];
    assert_eq!(names, [want.as_slice(), &["authorization"]].concat());
    let pseudo = [":method", ":path", ":authority"].map(|name| line(call, name));
    assert_eq!(pseudo, ["GET", "/api/me", "slack.com"]);
    assert!(value(call).starts_with("xoxb-") && value(call).len() == 40);
}

#[test]
fn a_route_that_does_not_give_it_back_gets_the_permit_and_is_not_asked_again() {
    let gate = gate(json!({}));
    let mut run = asked(&gate);
    assert_eq!(answer(&mut run, &[("x-a", "b")], "who are you?"), Flow::Continue);
    assert_eq!(run.permit().map(|permit| permit.uses().len()), Some(1));
    assert_eq!(verdict(&run), Some(Verdict::Clean));
    let mut next = Run::new(gate.pipeline.stream());
    next.now = run.now.after(Duration::from_secs(599));
    assert_eq!(next.event(head()), Flow::Continue);
    assert_eq!((next.canaries.len(), verdict(&next)), (0, Some(Verdict::Clean)));
    let mut late = Run::new(gate.pipeline.stream());
    late.now = run.now.after(Duration::from_secs(600));
    let Event::RequestHeaders { fields, end, around, .. } = head() else { unreachable!() };
    let entropy = Entropy([9; 32]);
    let other = Event::RequestHeaders { fields, end, around, entropy };
    assert_eq!(late.event(other), Flow::Pause);
    assert_ne!(value(&late.canaries[0]), value(&run.canaries[0]));
}

#[test]
fn a_route_that_gives_it_back_is_refused_in_a_field_in_a_name_and_in_content() {
    type Place = fn(&mut Run, &str) -> Flow;
    let places: [Place; 5] = [
        |run, value| answer(run, &[("x-you-sent", &format!("Bearer {value}"))], ""),
        |run, value| answer(run, &[(&format!("x-{}", value.to_lowercase()), "a")], ""),
        |run, value| answer(run, &[("x-a", &value[..20]), ("x-b", value)], "fine"),
        |run, value| answer(run, &[], &format!("no {value}")),
        // A trailer stands behind the fields.
        |run, value| answer(run, &[("content-length", "1"), ("x-sum", value)], "x"),
    ];
    for place in places {
        let gate = gate(json!({}));
        let mut run = asked(&gate);
        let value = value(&run.canaries[0]).to_owned();
        assert_eq!(place(&mut run, &value), Flow::Pause);
        was(&run, REFLECTIVE);
        assert_eq!((verdict(&run), run.permit()), (Some(Verdict::Reflective), None));
        let mut next = Run::new(gate.pipeline.stream());
        next.event(head());
        was(&next, REFLECTIVE);
        assert_eq!(next.canaries.len(), 0);
    }
}

#[test]
fn a_binding_may_allow_it_and_the_record_says_so() {
    let mut run = asked(&gate(json!({"reflective": "allow"})));
    let value = value(&run.canaries[0]).to_owned();
    assert_eq!(answer(&mut run, &[], &value), Flow::Continue);
    assert_eq!(verdict(&run), Some(Verdict::Reflective));
    let mut run = asked(&gate(json!({"reflective": "allow"})));
    assert_eq!(hear(&mut run, Err(CallFailure::TooLarge)), Flow::Continue);
    assert_eq!(verdict(&run), Some(Verdict::Unknown));
}

#[test]
fn what_is_no_answer_of_the_upstreams_that_can_be_read_shows_nothing() {
    let foreign = Mark::new([0; 16], [0; 32], NOW).prove(&permit_keys());
    let with = |lines: &[(&str, &str)]| {
        let fields = lines.iter().copied().collect();
        Ok(CallAnswer { fields, ..CallAnswer::of(200, b"fine".to_vec()) })
    };
    let results: [CallResult; 4] = [
        Err(CallFailure::TooLarge),
        Err(CallFailure::Unreadable),
        with(&[(":status", "200")]),
        with(&[(":status", "200"), (MARK, &foreign)]),
    ];
    for result in results {
        let gate = gate(json!({}));
        let mut run = asked(&gate);
        hear(&mut run, result);
        was(&run, FAILED);
        assert_eq!(verdict(&run), Some(Verdict::Unknown));
        // Not at once, and then again.
        let mut next = Run::new(gate.pipeline.stream());
        next.event(head());
        was(&next, FAILED);
        let mut later = Run::new(gate.pipeline.stream());
        later.now = NOW.after(Duration::from_secs(5));
        later.event(head());
        assert_eq!(later.canaries.len(), 1);
    }
    for (name, value) in [("content-encoding", "compress"), (":status", "206"), ("im", "x")] {
        let mut run = asked(&gate(json!({})));
        answer(&mut run, &[(name, value)], "fine");
        was(&run, FAILED);
    }
}

#[test]
fn a_canary_that_was_not_sent_is_unknown_to_its_own_request_only() {
    let gate = gate(json!({}));
    let mut run = asked(&gate);
    hear(&mut run, Err(CallFailure::NotSent));
    was(&run, FAILED);
    assert_eq!(verdict(&run), Some(Verdict::Unknown));
    // The next request asks, at once.
    let mut next = asked(&gate);
    assert_eq!(answer(&mut next, &[], "fine"), Flow::Continue);
    let mut allowed = asked(&self::gate(json!({"reflective": "allow"})));
    assert_eq!(hear(&mut allowed, Err(CallFailure::NotSent)), Flow::Continue);
    assert_eq!((verdict(&allowed), allowed.canaries.len()), (Some(Verdict::Unknown), 1));
}

#[test]
fn who_is_revoked_while_a_canary_is_out_is_refused() {
    let gate = gate(json!({}));
    let mut run = asked(&gate);
    gate.revocations.revoked.borrow_mut().push((Kind::ApiKey, "GoodKey1".to_owned()));
    answer(&mut run, &[], "fine");
    was(&run, (401, "invalid_token", "revoked"));
    assert_eq!(run.permit(), None);
}

#[test]
fn one_canary_is_out_and_others_take_what_it_shows() {
    let gate = gate(json!({}));
    let mut first = asked(&gate);
    let mut second = Run::new(gate.pipeline.stream());
    assert_eq!(second.event(head()), Flow::Pause);
    assert_eq!(second.event(Event::Tick), Flow::Pause);
    answer(&mut first, &[], "fine");
    assert_eq!(second.event(Event::Tick), Flow::Continue);
    assert_eq!((second.canaries.len(), verdict(&second)), (0, Some(Verdict::Clean)));
}

#[test]
fn nobody_waits_for_ever() {
    let gate = gate(json!({}));
    let (mut own, mut other) = (asked(&gate), Run::new(gate.pipeline.stream()));
    other.event(head());
    for run in [&mut other, &mut own] {
        run.advance(Duration::from_millis(4999));
        assert_eq!(run.event(Event::Tick), Flow::Pause);
        assert_eq!(run.replies.len(), 0);
        run.advance(Duration::from_millis(1));
        run.event(Event::Tick);
        was(run, FAILED);
    }
}

#[test]
fn when_the_caller_leaves_the_next_one_asks() {
    let gate = gate(json!({}));
    let mut run = asked(&gate);
    run.event(Event::Done);
    asked(&gate);
}

#[test]
fn whoever_waits_for_a_canary_whose_caller_has_left_is_refused() {
    let gate = gate(json!({}));
    let mut run = asked(&gate);
    let mut waits = Run::new(gate.pipeline.stream());
    waits.event(head());
    run.event(Event::Done);
    waits.event(Event::Tick);
    was(&waits, FAILED);
}

#[test]
fn what_comes_while_a_canary_is_out_is_read_or_refused() {
    let streaming = || {
        let mut document = document();
        document["body"] = json!("stream");
        document["bindings"][0]["methods"] = json!(["POST", "GET"]);
        document["bindings"][0]["canary"] = json!({"path": "/api/me"});
        let gate = Gate::with(&document);
        let mut run = Run::new(gate.pipeline.stream());
        let head = headers(fields(&[("x-tap-credential", "slack")]), false);
        assert_eq!(run.event(head), Flow::Pause);
        run
    };
    let body = |chunk: &[u8], end| Event::RequestBody { chunk: chunk.to_vec(), end };
    let mut run = streaming();
    assert_eq!(run.event(body(b"fine", false)), Flow::Pause);
    assert_eq!(answer(&mut run, &[], "fine"), Flow::Continue);
    assert_eq!(run.event(body(b"too", true)), Flow::Continue);
    let mut run = streaming();
    run.event(body(b"<CREDENTIAL:slack>", false));
    was(&run, (400, "placeholder_misplaced", "in_content"));
    let mut run = streaming();
    run.event(Event::RequestTrailers([("x-a", "<CREDENTIAL:slack>")].into_iter().collect()));
    was(&run, (400, "placeholder_misplaced", "in_trailer"));
    let mut run = streaming();
    run.event(reply(true));
    was(&run, (500, "internal", "unexpected_event"));
    let mut run = streaming();
    run.event(Event::EffectFailed);
    was(&run, (500, "internal", "effect_failed"));
    let mut run = streaming();
    let answered = [(":status", "413")].into_iter().collect();
    assert_eq!(run.event(Event::ResponseHeaders { fields: answered, end: true }), Flow::Continue);
    assert_eq!(run.permit(), None);
}

#[test]
fn a_request_without_a_binding_that_has_one_is_not_held() {
    let gate = gate(json!({}));
    let outcome = gate.get(&[("x-tap-credential", "maps")]);
    assert!(matches!(outcome, Outcome::Allowed { .. }), "{outcome:?}");
}
