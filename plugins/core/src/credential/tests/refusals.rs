//! Every refusal of the credential pipeline, reached once.

use std::rc::Rc;
use std::time::Duration;

use super::requests::sha256;
use super::world::*;
use crate::credential::Release;
use crate::denial::{Denial, NotAllowed, Ours, PolicyReason};
use crate::effect::Flow;
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::key_service::{KeyServiceFault, ReleaseDenied};
use crate::record::Draft;

/// The last effects are those of this refusal, nothing was injected, nothing goes on.
#[track_caller]
fn refused(world: &World, effects: &[String], code: &str, reason: &str) {
    let (status, code) = code.split_once(' ').unwrap();
    let want = [
        format!("publish deny:{code}"),
        format!("count postern.credential.denied.reason={code}.total"),
        if status == "reset" { "reset".into() } else { format!("reply {status} {code}") },
    ];
    assert_eq!(effects[effects.len() - 3..], want);
    let record = &effects[effects.len() - 4];
    assert!(record.starts_with("record ") && record.contains(&format!("\"{reason}\"")), "{record}");
    assert!(!effects.iter().any(|effect| effect.starts_with("inject")));
    assert_eq!(world.flow(), Flow::Pause);
}

#[track_caller]
fn head_refused(sealed: impl Fn(&World) -> Vec<u8>, more: &[(&str, &str)], code: &str, why: &str) {
    let mut world = World::new();
    let sealed = sealed(&world);
    let effects = world.head(sealed, more);
    refused(&world, &effects, code, why);
    assert!(world.keys.asked.borrow().is_empty(), "the key service was asked");
}

fn slack(world: &World) -> Vec<u8> {
    world.permit(&["slack"])
}

#[test]
fn no_permit_is_refused() {
    let mut world = World::new();
    let around = Surroundings { permit: None, ..around(Vec::new()) };
    let effects = world.head_around(around, request(&[]), true);
    refused(&world, &effects, "403 policy_denied", "permit_missing");
}

#[test]
fn a_forged_cut_or_foreign_permit_is_refused() {
    let flipped = |world: &World| {
        let mut sealed = slack(world);
        sealed[20] ^= 1;
        sealed
    };
    head_refused(flipped, &[], "403 policy_denied", "permit_invalid");
    let cut = |world: &World| slack(world)[1..].to_vec();
    head_refused(cut, &[], "403 policy_denied", "permit_invalid");
    head_refused(|_| Vec::new(), &[], "403 policy_denied", "permit_invalid");
}

#[test]
fn an_expired_permit_is_refused() {
    let mut world = World::new();
    let sealed = slack(&world);
    world.now = NOW.after(Duration::from_secs(10));
    let effects = world.head(sealed, &[]);
    refused(&world, &effects, "403 policy_denied", "permit_expired");
}

#[test]
fn a_permit_that_expires_while_the_value_is_fetched_injects_nothing() {
    let mut world = World::new();
    let sealed = slack(&world);
    world.head(sealed, &[]);
    world.now = NOW.after(Duration::from_secs(10));
    let effects = world.reply(1);
    refused(&world, &effects, "403 policy_denied", "permit_expired");
}

#[test]
fn a_cluster_outside_the_table_is_refused() {
    for cluster in [None, Some(b"evil".to_vec()), Some(b"\xff".to_vec())] {
        let mut world = World::new();
        let around = Surroundings { cluster, ..around(slack(&world)) };
        let effects = world.head_around(around, request(&[]), true);
        refused(&world, &effects, "403 policy_denied", "cluster_unknown");
    }
}

#[test]
fn another_cluster_of_the_table_is_refused() {
    let mut world = World::new();
    let around = Surroundings { cluster: Some(b"other".to_vec()), ..around(slack(&world)) };
    let effects = world.head_around(around, request(&[(":authority", "other.com")]), true);
    refused(&world, &effects, "403 credential_not_allowed", "credential_authority");
}

#[test]
fn what_leaves_has_to_fit_the_binding() {
    for (more, why) in [
        (&[(":authority", "evil.com")], "credential_authority"),
        (&[(":authority", "slack.com:8443")], "credential_authority"),
        (&[(":authority", "slack.com@evil.com")], "credential_authority"),
        (&[(":method", "DELETE")], "credential_method"),
        (&[(":method", "get")], "credential_method"),
        (&[(":path", "/apis/x")], "credential_path"),
        (&[(":path", "/api/../x")], "credential_path"),
        (&[(":path", "/api/%2e%2e/x")], "credential_path"),
        (&[("authorization", "Bearer mine")], "credential_site"),
        (&[("authorization", "Bearer <CREDENTIAL:key>")], "credential_site"),
        (&[("authorization", "Bearer <CREDENTIAL:slack.token>")], "credential_site"),
        (&[("authorization", "")], "credential_site"),
        (&[("connection", "close, Authorization")], "credential_site"),
    ] {
        head_refused(slack, more, "403 credential_not_allowed", why);
    }
    let twice = [("authorization", "Bearer <CREDENTIAL:slack>"); 2];
    head_refused(slack, &twice, "403 credential_not_allowed", "credential_site");
}

#[test]
fn a_request_that_reads_two_ways_or_leaves_http_is_refused() {
    for (more, why) in [
        (&[(":path", "/api/x"), (":path", "/api/y")][..], "pseudo_fields"),
        (&[(":scheme", "ftp")], "pseudo_fields"),
        (&[("upgrade", "websocket")], "upgrade"),
        (&[(":protocol", "websocket")], "upgrade"),
    ] {
        head_refused(slack, more, "400 request_ambiguous", why);
    }
    let mut world = World::new();
    let around = around(slack(&world));
    let effects = world.head_around(around, Fields::default(), true);
    refused(&world, &effects, "400 request_ambiguous", "pseudo_fields");
}

#[test]
fn a_binding_that_is_not_configured_here_is_refused() {
    let other_hash = |world: &World| {
        let mut decision = world.decision(&["slack"]);
        decision.uses[0].binding_hash = world.used("key").binding_hash;
        world.seal(decision)
    };
    head_refused(other_hash, &[], "403 credential_not_allowed", "credential_unknown");
    let other_site = |world: &World| {
        let mut decision = world.decision(&["slack"]);
        decision.uses[0].site = "x-echo".into();
        world.seal(decision)
    };
    head_refused(other_site, &[], "403 credential_not_allowed", "credential_site");
    let other_tenant = |world: &World| world.seal_for("evil", world.decision(&["slack"]));
    head_refused(other_tenant, &[], "403 credential_not_allowed", "credential_unknown");
    let twice = |world: &World| world.permit(&["slack", "slack"]);
    head_refused(twice, &[], "403 credential_not_allowed", "credential_site");
}

#[test]
fn what_the_key_service_denies_or_cannot_answer_is_refused() {
    use KeyServiceFault::{Evidence, NotAuthentic, Unreachable};
    for (answer, code, why) in [
        (Err(Unreachable), "503 key_service_unavailable", "unreachable"),
        (Err(NotAuthentic), "503 key_service_unavailable", "not_authentic"),
        (Err(Evidence), "503 attestation_unavailable", "evidence"),
        (Ok(ReleaseDenied::Denied), "403 credential_not_allowed", "release_denied"),
        (Ok(ReleaseDenied::Unknown), "403 credential_not_allowed", "release_unknown"),
        (
            Ok(ReleaseDenied::NeedsApproval { approval: None }),
            "428 approval_required",
            "approval_required",
        ),
    ] {
        let mut world = World::new();
        let sealed = slack(&world);
        world.head(sealed, &[]);
        *world.keys.answer.borrow_mut() = Some(answer.map(Err));
        let effects = world.reply(1);
        refused(&world, &effects, code, why);
    }
}

#[track_caller]
fn value_refused(release: Rc<Release>, name: &str, code: &str, why: &str) {
    let mut world = World::new();
    let sealed = world.permit(&[name]);
    world.head(sealed, &[]);
    *world.keys.answer.borrow_mut() = Some(Ok(Ok(release)));
    let effects = world.reply(1);
    refused(&world, &effects, code, why);
}

#[test]
fn a_value_that_cannot_stand_in_a_field_is_refused() {
    let long = "x".repeat(16 * 1024 + 1);
    for value in ["", "a\r\nb: c", "a\nb", "a\0b", "a\u{7f}", " a", "a\t", long.as_str()] {
        value_refused(release(&[("", value)]), "slack", "500 internal", "credential_value");
    }
    // A user-id has no colon (RFC 7617 2); a password may.
    value_refused(release(&[("", "a:b")]), "user", "500 internal", "credential_value");
}

#[test]
fn a_missing_field_or_an_expired_value_is_refused() {
    let named = release(&[("token", VALUE)]);
    value_refused(named, "slack", "403 credential_not_allowed", "release_field");
    let Ok(old) = Rc::try_unwrap(release(&[("", VALUE)])) else { unreachable!() };
    let old = Rc::new(Release { not_after: NOW, ..old });
    value_refused(old, "slack", "403 credential_not_allowed", "release_expired");
}

#[test]
fn content_that_differs_from_what_was_decided_on_is_refused_before_its_end() {
    let trailers = || Event::RequestTrailers(Fields::default());
    for last in [Event::RequestBody { chunk: b"lo!".to_vec(), end: true }, trailers()] {
        let mut world = World::new();
        world.keys.cached.set(true);
        let mut decision = world.decision(&["slack"]);
        decision.content_digest = Some(sha256(b"hello"));
        let around = around(world.seal(decision));
        world.head_around(around, request(&[]), false);
        world.handle(Event::RequestBody { chunk: b"hel".to_vec(), end: false });
        let effects = world.handle(last);
        refused(&world, &effects, "403 policy_denied", "request_changed");
    }
    let without_content = |world: &World| {
        let mut decision = world.decision(&["slack"]);
        decision.content_digest = Some(sha256(b"hello"));
        world.seal(decision)
    };
    head_refused(without_content, &[], "403 policy_denied", "request_changed");
}

#[test]
fn anything_but_the_reply_while_waiting_is_refused_and_the_call_forgotten() {
    let fields = || Fields::default();
    for event in [
        Event::RequestBody { chunk: Vec::new(), end: true },
        Event::RequestTrailers(fields()),
        Event::ResponseHeaders { fields: fields(), end: true },
        Event::ResponseBody { chunk: Vec::new(), end: true },
        Event::ResponseTrailers(fields()),
    ] {
        let mut world = World::new();
        let sealed = slack(&world);
        world.head(sealed, &[]);
        let effects = world.handle(event);
        refused(&world, &effects, "500 internal", "unexpected_event");
        assert_eq!(world.keys.abandoned.borrow().len(), 1);
    }
}

#[test]
fn a_reply_to_another_call_is_refused() {
    let mut world = World::new();
    let sealed = slack(&world);
    world.head(sealed, &[]);
    let effects = world.reply(7);
    refused(&world, &effects, "500 internal", "unexpected_event");
}

#[test]
fn a_wait_that_nobody_ends_is_ended_by_time() {
    let mut world = World::new();
    let sealed = slack(&world);
    world.head(sealed, &[]);
    world.now = NOW.after(Duration::from_millis(4999));
    assert_eq!(world.handle(Event::Tick), [""; 0]);
    world.now = NOW.after(Duration::from_millis(5000));
    let effects = world.handle(Event::Tick);
    refused(&world, &effects, "503 key_service_unavailable", "timed_out");
}

#[test]
fn an_effect_that_the_host_could_not_perform_is_refused() {
    let mut world = World::new();
    let sealed = slack(&world);
    world.head(sealed, &[]);
    let effects = world.handle(Event::EffectFailed);
    refused(&world, &effects, "500 internal", "effect_failed");

    let mut world = World::forwarded();
    let effects = world.handle(Event::EffectFailed);
    refused(&world, &effects, "500 internal", "effect_failed");

    let mut world = World::forwarded();
    world.answer("200", &[], false);
    let effects = world.handle(Event::EffectFailed);
    refused(&world, &effects, "reset internal", "effect_failed");
}

#[test]
fn a_second_head_is_cut_and_an_answer_without_a_request_refused() {
    let mut world = World::forwarded();
    let again = around(slack(&world));
    let effects = world.head_around(again, request(&[]), true);
    refused(&world, &effects, "reset internal", "unexpected_event");
    assert_eq!(world.keys.asked.borrow().len(), 1);

    let mut world = World::new();
    let effects = world.answer("200", &[], true);
    refused(&world, &effects, "500 internal", "unexpected_event");
}

#[test]
fn a_refused_stream_does_nothing_more() {
    let mut world = World::new();
    world.answer("200", &[], true);
    let sealed = slack(&world);
    assert_eq!(world.head(sealed, &[]), [""; 0]);
    assert_eq!(world.answer("200", &[], false), [""; 0]);
    assert_eq!(world.content("x", true), [""; 0]);
    assert_eq!(world.handle(Event::Done), [""; 0]);
    assert_eq!(world.flow(), Flow::Pause);
}

#[test]
fn a_refusal_keeps_what_the_gate_recorded() {
    let mut world = World::new();
    let draft = Draft { method: "GET".into(), route: "/api/**".into(), ..Draft::new(NOW) };
    let around = Surroundings { permit: None, record: Some(draft.encode()), ..around(Vec::new()) };
    let entropy = crate::time::Entropy([0; 32]);
    let pipeline = crate::credential::Pipeline::new(
        world.config.clone(),
        permit_keys(),
        world.keys.clone(),
        world.keys.clone(),
        Rc::new(StarScrubbing),
    );
    let mut stream = pipeline.stream();
    crate::stream::Stream::handle(
        &mut stream,
        Event::RequestHeaders { fields: request(&[]), end: true, around, entropy },
        world.now,
    );
    let Some(crate::effect::Effect::Record(bytes)) = crate::stream::Stream::poll(&mut stream)
    else {
        panic!("no record")
    };
    let denial = Denial::PolicyDenied(PolicyReason::PermitMissing);
    let decision = crate::record::Decision::Deny {
        code: denial.code().as_str().into(),
        reason: denial.reason().into(),
    };
    assert_eq!(Draft::decode(&bytes), Ok(Draft { decision, ..draft }));
    world.now = NOW;
}

#[test]
fn every_way_an_injection_fails_has_its_denial() {
    // `NotPermitted` cannot be reached through a stream: the plan is made from the permit.
    assert_eq!(Denial::Internal(Ours::Value).reason(), "credential_value");
    assert_eq!(Denial::CredentialNotAllowed(NotAllowed::Field).reason(), "release_field");
}
