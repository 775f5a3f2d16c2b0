//! When a request is held, let go, cut or forgotten.

use serde_json::json;

use super::fixture::*;
use crate::effect::Flow;
use crate::event::Event;
use crate::fields::Fields;
use crate::record::Decision;

fn body(chunk: &[u8], end: bool) -> Event {
    Event::RequestBody { chunk: chunk.to_vec(), end }
}

fn response() -> Event {
    let fields = [(":status", "413")].into_iter().collect();
    Event::ResponseHeaders { fields, end: true }
}

fn asking() -> (Gate, Run) {
    let gate = Gate::new();
    gate.directory.mode.set(Mode::Asks);
    let run = Run::new(gate.pipeline.stream());
    (gate, run)
}

fn mode(body: &str) -> Gate {
    let mut document = document();
    document["body"] = json!(body);
    Gate::with(&document)
}

#[test]
fn a_held_request_goes_on_at_the_end_of_its_content_and_not_before() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    assert_eq!(run.event(headers(fields(&[]), false)), Flow::Pause);
    assert_eq!(run.event(body(b"a", false)), Flow::Pause);
    assert_eq!(run.event(Event::Tick), Flow::Pause);
    assert_eq!(run.publications, []);
    assert_eq!(run.event(body(b"", true)), Flow::Continue);
    assert_eq!(run.outcome(), allowed(&[], &["x-tap-key"]));
}

#[test]
fn content_that_comes_before_the_directorys_reply_is_read_too() {
    let (_, mut run) = asking();
    assert_eq!(run.event(headers(fields(&[]), false)), Flow::Pause);
    assert_eq!(run.event(body(b"<CREDENTIAL", false)), Flow::Pause);
    assert_eq!(run.event(body(b":slack>", true)), Flow::Pause);
    assert_eq!(run.event(reply(true)), Flow::Pause);
    assert_eq!(run.outcome(), refused(400, "placeholder_misplaced", "in_content"));
    let (_, mut run) = asking();
    run.event(headers(fields(&[]), false));
    run.event(body(b"fine", true));
    assert_eq!(run.event(reply(true)), Flow::Continue);
    assert_eq!(run.outcome(), allowed(&[], &["x-tap-key"]));
}

#[test]
fn content_after_its_end_is_refused_while_the_directory_is_asked_too() {
    for late in [body(b"<CREDENTIAL:slack>", false), Event::RequestTrailers(Fields::default())] {
        let (_, mut run) = asking();
        run.event(headers(fields(&[]), false));
        run.event(body(b"fine", true));
        run.event(late);
        assert_eq!(run.event(reply(true)), Flow::Pause);
        assert_eq!(run.outcome(), refused(500, "internal", "unexpected_event"));
    }
}

#[test]
fn too_much_content_is_refused_without_waiting_for_the_directory() {
    let (gate, mut run) = asking();
    run.event(headers(fields(&[]), false));
    run.event(body(&[b'x'; 65], false));
    assert_eq!(run.outcome(), refused(413, "body_too_large", "body_too_large"));
    assert_eq!(gate.directory.abandoned.get(), 1);
}

#[test]
fn a_failed_call_is_refused_and_nothing_goes_on_afterwards() {
    let (_, mut run) = asking();
    run.event(headers(fields(&[]), true));
    assert_eq!(run.calls, 1);
    assert_eq!(run.event(reply(false)), Flow::Pause);
    assert_eq!(run.outcome(), refused(503, "key_service_unavailable", "unreachable"));
    assert_eq!(run.event(body(b"x", true)), Flow::Pause);
    assert_eq!(run.event(Event::Tick), Flow::Pause);
    assert_eq!(run.event(response()), Flow::Continue);
    assert_eq!((run.replies.len(), run.records.len()), (1, 1));
}

#[test]
fn a_question_that_is_asked_again_waits_for_the_second_reply() {
    let (gate, mut run) = asking();
    gate.directory.mode.set(Mode::AsksAgain);
    run.event(headers(fields(&[]), true));
    assert_eq!(run.event(reply_to(1, true)), Flow::Pause);
    assert_eq!(run.calls, 2);
    assert_eq!(run.event(reply_to(2, true)), Flow::Continue);
    assert_eq!(run.outcome(), allowed(&[], &["x-tap-key"]));
}

#[test]
fn a_reply_to_another_call_refuses() {
    let (gate, mut run) = asking();
    run.event(headers(fields(&[]), true));
    assert_eq!(run.event(reply_to(7, true)), Flow::Pause);
    assert_eq!(run.outcome(), refused(500, "internal", "unexpected_event"));
    assert_eq!(gate.directory.abandoned.get(), 1);
}

#[test]
fn a_client_that_goes_away_is_forgotten() {
    let (gate, mut run) = asking();
    run.event(headers(fields(&[]), true));
    run.event(Event::Done);
    assert_eq!(gate.directory.abandoned.get(), 1);
    let record = &run.records[0];
    assert_eq!((record.method.as_str(), &record.decision), ("POST", &Decision::Undecided));
    assert_eq!(run.event(reply(true)), Flow::Pause);
    assert_eq!(run.outcome(), Outcome::Waiting);
}

#[test]
fn an_answer_of_the_host_itself_passes_and_is_recorded() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    assert_eq!(run.event(response()), Flow::Continue);
    assert_eq!(run.publications[0].decision, "deny:internal");
    assert_eq!((run.records.len(), run.replies.len()), (1, 0));
}

#[test]
fn an_effect_that_failed_refuses_and_after_the_head_has_left_cuts() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), true));
    assert_eq!(run.event(Event::EffectFailed), Flow::Pause);
    assert_eq!(run.outcome(), refused(500, "internal", "effect_failed"));
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), true));
    run.event(response());
    run.event(Event::EffectFailed);
    assert_eq!(run.outcome(), Outcome::Cut("effect_failed".into()));
}

#[test]
fn an_event_that_no_state_expects_refuses() {
    let gate = Gate::new();
    let unexpected = refused(500, "internal", "unexpected_event");
    for event in [body(b"x", true), reply(true), Event::RequestTrailers(Fields::default())] {
        let mut run = Run::new(gate.pipeline.stream());
        run.event(event);
        assert_eq!(run.outcome(), unexpected);
    }
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    run.event(headers(fields(&[]), false));
    assert_eq!(run.outcome(), unexpected);
}

#[test]
fn content_after_the_end_cuts_the_stream() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), true));
    assert_eq!(run.event(body(b"", true)), Flow::Continue);
    assert_eq!(run.event(body(b"smuggled", true)), Flow::Pause);
    assert_eq!(run.outcome(), Outcome::Cut("unexpected_event".into()));
}

#[test]
fn streamed_content_passes_and_a_placeholder_in_it_cuts() {
    let gate = mode("stream");
    let mut run = Run::new(gate.pipeline.stream());
    assert_eq!(run.event(headers(fields(&[("x-tap-credential", "slack")]), false)), Flow::Continue);
    assert_eq!(run.permit().unwrap().content_digest(), None);
    assert_eq!(run.event(body(&[b'x'; 1000], false)), Flow::Continue);
    assert_eq!(run.event(body(b"<CREDENTIAL:slack>", false)), Flow::Pause);
    assert_eq!(run.resets, 1);
    assert_eq!(run.publications[1].decision, "deny:placeholder_misplaced");
    let outcome = gate.send(fields(&[("content-encoding", "gzip")]), &[b"x"], None);
    assert_eq!(outcome, refused(415, "encoding_unsupported", "encoding_unsupported"));
}

#[test]
fn a_trailer_after_streamed_content_is_read() {
    let gate = mode("stream");
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    let trailers = [("x-t", "<CREDENTIAL:slack>")].into_iter().collect();
    assert_eq!(run.event(Event::RequestTrailers(trailers)), Flow::Pause);
    assert_eq!(run.resets, 1);
}

#[test]
fn content_is_not_read_when_switched_off_but_must_be_readable_beside_a_credential() {
    let gate = mode("off");
    let mut run = Run::new(gate.pipeline.stream());
    assert_eq!(run.event(headers(fields(&[]), false)), Flow::Continue);
    assert_eq!(run.event(body(b"<CREDENTIAL:slack>", true)), Flow::Continue);
    assert_eq!(run.outcome(), allowed(&[], &["x-tap-key"]));
    let coded = [("content-encoding", "gzip")];
    assert_eq!(gate.send(fields(&coded), &[b"x"], None), allowed(&[], &["x-tap-key"]));
    let coded = [("content-encoding", "gzip"), ("x-tap-credential", "slack")];
    let refusal = refused(415, "encoding_unsupported", "encoding_unsupported");
    assert_eq!(gate.send(fields(&coded), &[b"x"], None), refusal);
}
