//! The endpoint for invites: whatever does not bring a token refuses, and nothing goes on.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::fixture::*;
use crate::authenticator::Established;
use crate::config::gate::Config;
use crate::credential::tests::StarScrubbing;
use crate::denial::{Denial, TokenReason};
use crate::event::Event;
use crate::fields::Fields;
use crate::gate::{Loaded, Pipeline};
use crate::identity::{Identity, Kind};
use crate::invites::{Exchange, Invites, Issued, Outcome as Exchanged};
use crate::key_service::{
    Call, CallId, CallResult, Destination, KeyServiceFault, MAX_ANSWER, Turn,
};
use crate::revocation::{Freshness, Kind as Revoked};
use crate::time::Moment;

const PATH: &str = "/.postern/invites";

/// Asks once, and then has a token, or none.
struct Fake {
    answer: Result<(), Denial>,
    abandoned: Rc<Cell<u32>>,
}

struct FakeExchange {
    answer: Result<(), Denial>,
    abandoned: Rc<Cell<u32>>,
}

impl Invites for Fake {
    fn presented(&self, _: &Fields) -> Box<dyn Exchange> {
        let (answer, abandoned) = (self.answer.clone(), Rc::clone(&self.abandoned));
        Box::new(FakeExchange { answer, abandoned })
    }
}

impl Exchange for FakeExchange {
    fn start(&mut self, _: Moment) -> Turn<Exchanged> {
        Turn::Ask(Call {
            id: CallId(1),
            to: Destination::KeyService,
            method: "POST",
            path: "/crp/v1/message".into(),
            content_type: "application/crp",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: Duration::from_secs(2),
        })
    }

    fn heard(&mut self, _: CallId, result: CallResult, _: Moment) -> Turn<Exchanged> {
        if result.is_err() {
            return Turn::Failed(KeyServiceFault::Unreachable);
        }
        Turn::Answer(self.answer.clone().map(|()| issued()))
    }

    fn abandon(&mut self) {
        self.abandoned.set(self.abandoned.get() + 1);
    }
}

fn issued() -> Issued {
    let established = Established::verified(Identity {
        subject: "capability:a0".into(),
        kind: Kind::Capability,
        tenant: "acme".into(),
        organisation: String::new(),
        user: "invite:AbCd0123".into(),
        agent: "invite:AbCd0123".into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        trust: "observer".into(),
        clearance: None,
        document: Some("d1".into()),
        token_id: "a0".into(),
        expires: Some(7),
        platform: None,
    });
    Issued { token: "pct1.x".into(), established }
}

struct Door {
    pipeline: Rc<Pipeline>,
    revocations: Rc<FakeRevocations>,
    abandoned: Rc<Cell<u32>>,
}

fn door(answer: Result<(), Denial>) -> Door {
    let abandoned = Rc::new(Cell::new(0));
    let invites = Fake { answer, abandoned: Rc::clone(&abandoned) };
    Door { abandoned, ..opened(Some(Rc::new(invites))) }
}

fn opened(invites: Option<Rc<dyn Invites>>) -> Door {
    let mut document = document();
    let key = URL_SAFE_NO_PAD.encode([7; 32]);
    let issuers = json!([{"kid": "k", "issuer": "i", "key": key}]);
    document["authenticators"] =
        json!([{"capability": {"audience": "gw", "issuers": issuers, "invites": {}}}]);
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    let revocations = FakeRevocations::none();
    let list = Rc::clone(&revocations);
    let loaded = Loaded { config, policy: None, tallies: None, invites, approvals: None };
    let scrubbing = Rc::new(StarScrubbing);
    let pipeline =
        Pipeline::new(loaded, permit_keys(), Vec::new(), list, detector(), scrubbing, [0; 16]);
    Door { pipeline, revocations, abandoned: Rc::default() }
}

impl Door {
    fn run(&self) -> Run {
        let mut run = Run::new(self.pipeline.stream());
        run.event(headers(fields(&[(":path", PATH)]), true));
        run
    }
}

#[test]
fn a_token_is_handed_out_and_recorded_and_nothing_goes_on() {
    let mut run = door(Ok(())).run();
    assert_eq!((run.calls, run.outcome()), (1, Outcome::Waiting));
    run.event(reply(true));
    let [answer] = run.replies.as_slice() else { panic!("one answer") };
    assert_eq!((answer.status, answer.details), (200, "invite_exchanged"));
    assert!(answer.fields.contains(&("cache-control".to_owned(), "no-store".to_owned())));
    assert_eq!(answer.content, br#"{"document":"d1","expires":7,"token":"pct1.x"}"#);
    assert!(run.permit().is_none());
    let record = run.records.last().unwrap();
    assert_eq!((record.route.as_str(), record.caller.is_some()), (PATH, true));
}

#[test]
fn what_brings_no_token_refuses() {
    let invite = Denial::InvalidToken(TokenReason::Invite);
    let mut run = door(Err(invite)).run();
    run.event(reply(true));
    assert_eq!(run.outcome(), refused(401, "invalid_token", "invite"));
    assert_eq!(run.records.last().unwrap().route, PATH);
    let mut run = door(Ok(())).run();
    run.event(reply(false));
    assert_eq!(run.outcome(), refused(503, "key_service_unavailable", "unreachable"));
    let run = opened(None).run();
    assert_eq!(run.outcome(), refused(500, "internal", "unreachable"));
}

#[test]
fn whoever_waits_too_long_or_loses_the_host_is_refused_and_the_call_forgotten() {
    for (event, after, want) in [
        (Event::Tick, 2, refused(503, "key_service_unavailable", "timed_out")),
        (Event::Tick, 1, Outcome::Waiting),
        (Event::EffectFailed, 0, refused(500, "internal", "effect_failed")),
        (reply_to(2, true), 0, refused(500, "internal", "unexpected_event")),
    ] {
        let door = door(Ok(()));
        let mut run = door.run();
        run.advance(Duration::from_secs(after));
        run.event(event);
        assert_eq!(run.outcome(), want);
        assert_eq!(door.abandoned.get() == 0, want == Outcome::Waiting);
    }
    let door = door(Ok(()));
    let mut run = door.run();
    run.event(Event::Done);
    assert_eq!((run.replies.len(), door.abandoned.get(), run.records.len()), (0, 1, 1));
}

#[test]
fn a_token_of_which_anything_is_revoked_stays() {
    for (kind, id) in [(Revoked::Token, "a0"), (Revoked::Agent, "invite:AbCd0123")] {
        let door = door(Ok(()));
        door.revocations.revoked.borrow_mut().push((kind, id.to_owned()));
        let mut run = door.run();
        run.event(reply(true));
        assert_eq!(run.outcome(), refused(401, "invalid_token", "revoked"));
    }
    let door = door(Ok(()));
    door.revocations.freshness.set(Freshness::StaleForWrites);
    let run = door.run();
    assert_eq!(run.calls, 0, "nobody is asked");
    assert_eq!(run.outcome(), refused(503, "revocation_stale", "revocation_stale"));
}
