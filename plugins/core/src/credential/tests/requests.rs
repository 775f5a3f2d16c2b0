//! What the upstream gets: each style in both reference forms.

use super::world::*;
use crate::credential::Want;
use crate::effect::Flow;
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::permit;

const INJECTED: &str = "count postern.credential.injected.total";

#[test]
fn a_permitted_request_waits_for_the_value_and_leaves_with_it() {
    let mut world = World::new();
    let sealed = world.permit(&["slack"]);
    assert_eq!(world.head(sealed, &[]), ["set request accept-encoding: identity", "call 1"]);
    assert_eq!(world.flow(), Flow::Pause);
    assert_eq!(
        world.reply(1),
        [
            "inject authorization: Bearer s3cret-Value",
            INJECTED,
            "record slack Some((42, false)) Undecided hits 0",
        ]
    );
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn the_question_names_what_leaves_and_who_asked() {
    let mut world = World::new();
    let mut decision = world.decision(&["slack"]);
    decision.approval = Some([7; 16]);
    let sealed = world.seal(decision);
    world.head(sealed, &[(":authority", "SLACK.com:443"), (":method", "POST")]);
    let permit = permit_keys().open(&world.permit(&["slack"]), NOW).unwrap();
    assert_eq!(
        *world.keys.asked.borrow(),
        [Want {
            tenant: "acme".into(),
            agent: "bot".into(),
            credential: "slack".into(),
            host: "slack.com:443".into(),
            method: "POST".into(),
            path: "/api/x".into(),
            caller_hash: permit::Permit::subject_hash(&permit),
            request_digest: [2; 32],
            binding_hash: world.used("slack").binding_hash,
            policy_hash: [5; 32],
            approval: Some([7; 16]),
        }]
    );
}

#[test]
fn a_cached_value_is_injected_at_once() {
    let mut world = World::new();
    world.keys.cached.set(true);
    let sealed = world.permit(&["slack"]);
    assert_eq!(
        world.head(sealed, &[])[1..],
        [
            "inject authorization: Bearer s3cret-Value",
            INJECTED,
            "record slack Some((42, true)) Undecided hits 0",
        ]
    );
}

#[test]
fn a_placeholder_is_substituted_within_what_the_caller_wrote() {
    for (name, field, value, want) in [
        ("slack", "authorization", "bearer <CREDENTIAL:slack>", "bearer s3cret-Value"),
        // "bob:<CREDENTIAL:pair>" and "bob:s3cret-Value"
        ("pair", "x-pair", "Basic Ym9iOjxDUkVERU5USUFMOnBhaXI+", "Basic Ym9iOnMzY3JldC1WYWx1ZQ=="),
        ("key", "x-key", "Key <CREDENTIAL:key>;v=1", "Key s3cret-Value;v=1"),
    ] {
        let mut world = World::new();
        world.keys.cached.set(true);
        let sealed = world.permit(&[name]);
        let effects = world.head(sealed, &[(field, value)]);
        assert_eq!(effects[1], format!("inject {field}: {want}"));
    }
}

#[test]
fn without_a_placeholder_the_bindings_template_is_used() {
    for (name, want) in [
        ("pair", "inject x-pair: Basic OnMzY3JldC1WYWx1ZQ=="),
        ("user", "inject x-user: Basic czNjcmV0LVZhbHVlOng="),
        ("key", "inject x-key: Key s3cret-Value;v=1"),
    ] {
        let mut world = World::new();
        world.keys.cached.set(true);
        let sealed = world.permit(&[name]);
        assert_eq!(world.head(sealed, &[])[1], want);
    }
}

#[test]
fn one_field_of_a_credential_of_several_is_injected() {
    let mut world = World::new();
    world.keys.cached.set(true);
    let pair = release(&[("id", "me"), ("token", VALUE)]);
    *world.keys.answer.borrow_mut() = Some(Ok(Ok(pair)));
    let sealed = world.permit(&["slack.token"]);
    let effects = world.head(sealed, &[("authorization", "Bearer <CREDENTIAL:slack.token>")]);
    assert_eq!(effects[1], "inject authorization: Bearer s3cret-Value");
    assert_eq!(effects[3], "record slack.token Some((42, true)) Undecided hits 0");
}

#[test]
fn several_credentials_are_fetched_one_after_the_other() {
    let mut world = World::new();
    let sealed = world.permit(&["slack", "key"]);
    assert_eq!(world.head(sealed, &[])[1..], ["call 1"]);
    assert_eq!(world.reply(1), ["call 2"]);
    assert_eq!(
        world.reply(2)[..2],
        ["inject authorization: Bearer s3cret-Value", "inject x-key: Key s3cret-Value;v=1"]
    );
    let asked = world.keys.asked.borrow();
    assert_eq!((asked[0].credential.as_str(), asked[1].credential.as_str()), ("slack", "key"));
}

#[test]
fn fields_that_ask_for_an_answer_in_parts_or_codings_are_removed() {
    let mut world = World::new();
    let sealed = world.permit(&["slack"]);
    let more = [
        ("range", "bytes=0-9"),
        ("if-range", "\"x\""),
        ("a-im", "gzip"),
        ("te", "gzip"),
        ("accept-encoding", "br"),
    ];
    assert_eq!(
        world.head(sealed, &more),
        [
            "set request accept-encoding: identity",
            "remove request range",
            "remove request if-range",
            "remove request a-im",
            "remove request te",
            "call 1",
        ]
    );
    let mut world = World::new();
    let sealed = world.permit(&["slack"]);
    assert_eq!(world.head(sealed, &[("te", "trailers")]).len(), 2);
}

#[test]
fn a_permit_without_credentials_passes_untouched_both_ways() {
    let mut world = World::new();
    let around = Surroundings { cluster: None, ..around(world.permit(&[])) };
    assert_eq!(world.head_around(around, Fields::default(), false), [""; 0]);
    let rest = [
        Event::RequestBody { chunk: b"x".to_vec(), end: false },
        Event::RequestTrailers(Fields::default()),
        Event::ResponseHeaders { fields: Fields::default(), end: false },
        Event::ResponseBody { chunk: VALUE.into(), end: false },
        Event::ResponseTrailers(Fields::default()),
        Event::Tick,
        Event::Done,
    ];
    for event in rest {
        assert_eq!(world.handle(event), [""; 0]);
        assert_eq!(world.flow(), Flow::Continue);
    }
    assert!(world.keys.asked.borrow().is_empty());
}

#[test]
fn content_that_was_decided_on_goes_through() {
    let mut world = World::new();
    world.keys.cached.set(true);
    let mut decision = world.decision(&["slack"]);
    decision.content_digest = Some(sha256(b"hello"));
    let around = around(world.seal(decision));
    world.head_around(around, request(&[]), false);
    assert_eq!(world.handle(Event::RequestBody { chunk: b"hel".to_vec(), end: false }), [""; 0]);
    assert_eq!(world.handle(Event::RequestBody { chunk: b"lo".to_vec(), end: true }), [""; 0]);
    assert_eq!(world.flow(), Flow::Continue);
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

#[test]
fn a_stream_that_ends_while_it_waits_forgets_its_call() {
    let mut world = World::new();
    let sealed = world.permit(&["slack"]);
    world.head(sealed, &[]);
    assert_eq!(world.handle(Event::Done), [""; 0]);
    assert_eq!(world.keys.abandoned.borrow().len(), 1);
}
