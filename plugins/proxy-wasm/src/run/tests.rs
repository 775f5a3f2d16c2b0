//! Hostcalls that fail become refusals; held lengths are counted per direction.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use postern_core::config::key_service::{Evidence, KeyService};
use postern_core::effect::{Metric, Part, Reply};
use postern_core::fields::Fields;
use postern_core::key_service::{Call, CallAnswer, MAX_ANSWER};
use postern_core::receipt::SharedData;
use postern_core::revocation::{Feed, Limits};
use postern_core::time::{Moment, UnixMillis};

use super::*;
use crate::abi::native;
use crate::module::Module;

const INTERNAL_FAILURE: u32 = 10;
const OK: u32 = 0;

/// A stream that gives the next answer to whatever it hears.
struct Script {
    heard: Rc<RefCell<Vec<&'static str>>>,
    answers: VecDeque<(Vec<Effect>, Flow)>,
    effects: VecDeque<Effect>,
    flow: Flow,
}

impl Stream for Script {
    fn handle(&mut self, event: Event, _: UnixMillis) {
        self.heard.borrow_mut().push(match event {
            Event::RequestHeaders { .. } => "request headers",
            Event::RequestBody { .. } => "request body",
            Event::CallReply { result: Err(CallFailure::NotSent), .. } => "not sent",
            Event::CallReply { .. } => "call reply",
            Event::ResponseHeaders { .. } => "response headers",
            Event::ResponseBody { .. } => "response body",
            Event::EffectFailed => "effect failed",
            Event::Tick => "tick",
            Event::Done => "done",
            _ => "another event",
        });
        if let Some((effects, flow)) = self.answers.pop_front() {
            self.effects.extend(effects);
            self.flow = flow;
        }
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn flow(&self) -> Flow {
        self.flow
    }
}

struct Stage {
    run: Run,
    heard: Rc<RefCell<Vec<&'static str>>>,
}

struct NoFeed;

impl Feed for NoFeed {
    fn tick(&self, _: &mut dyn SharedData, _: Moment) -> Option<Call> {
        None
    }

    fn heard(&self, _: CallId, _: CallResult, _: &mut dyn SharedData, _: Moment) -> Option<Call> {
        None
    }

    fn counts(&self) -> Vec<Metric> {
        Vec::new()
    }
}

fn stage(status: u32, answers: Vec<(Vec<Effect>, Flow)>) -> Stage {
    native::answer(status);
    native::calls();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let (script, heard_too) = (RefCell::new(VecDeque::from(answers)), Rc::clone(&heard));
    let streams = move || -> Box<dyn Stream> {
        let (heard, answers) = (Rc::clone(&heard_too), script.take());
        Box::new(Script { heard, answers, effects: VecDeque::new(), flow: Flow::Pause })
    };
    let key_service = KeyService {
        cluster: "keys".into(),
        authority: "keys.internal".into(),
        gateway_id: [0; 16],
        evidence: Evidence::Simulated { key: [0; 32] },
        revocation: Limits::LONGEST,
    };
    let place = Place::Cluster;
    let (feed, background) = (Rc::new(NoFeed), Vec::new());
    let module = Module { streams: Box::new(streams), feed, background, key_service, place };
    let sent = |_: &str, _: Vec<(&str, &str)>, _: Option<&[u8]>, _: Duration| Some(7);
    let unsent = |_: &str, _: Vec<(&str, &str)>, _: Option<&[u8]>, _: Duration| None;
    let ready = Ready::new(module, if status == OK { sent } else { unsent });
    Stage { run: Run::new(Rc::new(ready)), heard }
}

impl Stage {
    fn heard(&self) -> Vec<&'static str> {
        self.heard.take()
    }
}

fn body() -> Option<Event> {
    Some(Event::RequestBody { chunk: vec![], end: true })
}

fn response_headers() -> Option<Event> {
    Some(Event::ResponseHeaders { fields: Fields::default(), end: false })
}

fn refusal() -> Effect {
    Effect::Reply(Reply { status: 403, fields: vec![], content: vec![], details: "x" })
}

fn remove() -> Effect {
    Effect::RemoveField { part: Part::Request, name: "x".into() }
}

fn call() -> Effect {
    Effect::Call(Call {
        id: CallId(1),
        to: postern_core::key_service::Destination::KeyService,
        method: "POST",
        path: "/x".into(),
        content_type: "x/y",
        authorization: None,
        unless: None,
        most: MAX_ANSWER,
        body: vec![1],
        timeout: Duration::from_secs(1),
    })
}

#[test]
fn what_the_host_does_not_give_is_told_to_the_stream() {
    let mut stage = stage(OK, vec![(vec![], Flow::Pause)]);
    assert_eq!(stage.run.request(None), Flow::Pause);
    assert_eq!(stage.heard(), ["effect failed"]);
}

#[test]
fn a_refused_effect_is_told_and_the_stream_that_cannot_answer_is_cut() {
    let answers = vec![(vec![remove()], Flow::Continue), (vec![refusal()], Flow::Pause)];
    let mut stage = stage(INTERNAL_FAILURE, answers);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert_eq!(stage.heard(), ["request body", "effect failed"]);
    let calls = native::calls();
    assert_eq!(
        calls,
        [
            "proxy_remove_header_map_value",
            "proxy_send_local_response",
            "proxy_close_stream",
            "proxy_close_stream"
        ]
    );
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert_eq!(stage.run.response(response_headers()), Flow::Pause);
    assert_eq!(stage.heard(), [""; 0]);
}

#[test]
fn a_stream_whose_effects_never_succeed_is_cut_after_some_events() {
    let answers = (0..20).map(|_| (vec![remove()], Flow::Continue)).collect();
    let mut stage = stage(INTERNAL_FAILURE, answers);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert_eq!(stage.heard().len(), MOST_EVENTS);
    assert!(native::calls().ends_with(&["proxy_close_stream", "proxy_close_stream"]));
    assert_eq!(stage.run.response(response_headers()), Flow::Pause);
}

#[test]
fn a_counter_that_is_refused_changes_nothing() {
    let count = Effect::Count(Metric("postern.x.total"));
    let mut stage = stage(INTERNAL_FAILURE, vec![(vec![count], Flow::Continue)]);
    assert_eq!(stage.run.request(body()), Flow::Continue);
    assert_eq!(stage.heard(), ["request body"]);
}

#[test]
fn a_reply_in_the_request_passes_its_own_response_callbacks() {
    let mut stage = stage(OK, vec![(vec![refusal()], Flow::Pause)]);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert_eq!(stage.run.response(response_headers()), Flow::Continue);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert_eq!(stage.heard(), ["request body"]);
}

#[test]
fn after_a_reply_in_the_response_nothing_of_the_upstream_passes() {
    let mut stage = stage(OK, vec![(vec![refusal()], Flow::Pause)]);
    assert_eq!(stage.run.response(response_headers()), Flow::Pause);
    let more = Event::ResponseBody { chunk: vec![1], end: true };
    assert_eq!(stage.run.response(Some(more)), Flow::Pause);
    assert_eq!(stage.heard(), ["response headers"]);
}

#[test]
fn a_call_that_is_not_sent_comes_back_as_that() {
    let answers = vec![(vec![call()], Flow::Pause), (vec![], Flow::Pause)];
    let mut stage = stage(INTERNAL_FAILURE, answers);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert_eq!(stage.heard(), ["request body", "not sent"]);
}

#[test]
fn a_call_comes_back_once_and_resumes_the_paused_request() {
    let answers = vec![(vec![call()], Flow::Pause), (vec![], Flow::Continue)];
    let mut stage = stage(OK, answers);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    assert!(stage.run.waits());
    let id = stage.run.called(7).unwrap();
    assert_eq!(stage.run.called(7), None);
    stage.run.meanwhile(reply(id, Ok(CallAnswer::of(200, vec![]))));
    assert_eq!(stage.heard(), ["request body", "call reply"]);
    assert_eq!(native::calls(), ["proxy_continue_stream"]);
    assert!(!stage.run.waits());
}

#[test]
fn time_does_not_resume_what_still_waits() {
    let answers = vec![(vec![], Flow::Pause), (vec![], Flow::Pause)];
    let mut stage = stage(OK, answers);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    stage.run.tick();
    assert_eq!(native::calls(), [""; 0]);
    assert!(stage.run.waits());
}

#[test]
fn no_call_is_sent_when_time_is_told() {
    let answers = vec![(vec![], Flow::Pause), (vec![call()], Flow::Pause)];
    let mut stage = stage(OK, answers);
    assert_eq!(stage.run.request(body()), Flow::Pause);
    stage.run.tick();
    assert_eq!(stage.heard(), ["request body", "tick", "not sent"]);
}

#[test]
fn a_stream_that_is_over_writes_its_record_once_and_forwards_nothing() {
    let last = vec![Effect::Record(vec![1]), remove(), refusal(), call()];
    let mut stage = stage(OK, vec![(last, Flow::Continue)]);
    stage.run.finish();
    stage.run.finish();
    assert_eq!(stage.heard(), ["done"]);
    assert_eq!(native::calls(), ["proxy_set_property"]);
    stage.run.tick();
    assert_eq!(stage.heard(), [""; 0]);
}

#[test]
fn content_that_the_host_reports_and_does_not_give_is_no_content() {
    let mut stage = stage(INTERNAL_FAILURE, vec![]);
    assert_eq!(stage.run.content(Direction::Request, 3), None);
    assert_eq!(stage.run.content(Direction::Response, 0), Some(vec![]));
}
