//! Whoever was revoked after the directory answered, and knowledge that is too old.

use super::fixture::*;
use crate::event::Event;
use crate::revocation::{Freshness, Kind};

#[test]
fn a_key_agent_or_user_on_the_list_is_refused_whatever_the_directory_says() {
    let revoked = refused(401, "invalid_token", "revoked");
    let record = record();
    for (kind, name) in [
        (Kind::ApiKey, "GoodKey1"),
        (Kind::Agent, record.agent.as_str()),
        (Kind::User, record.user.as_str()),
    ] {
        let gate = Gate::new();
        assert_eq!(gate.get(&[]), allowed(&[], &["x-tap-key"]));
        gate.revocations.revoked.borrow_mut().push((kind, name.to_owned()));
        assert_eq!(gate.get(&[]), revoked, "{kind:?}");
    }
    let gate = Gate::new();
    gate.revocations.revoked.borrow_mut().push((Kind::User, "somebody-else".to_owned()));
    assert_eq!(gate.get(&[]), allowed(&[], &["x-tap-key"]));
}

#[test]
fn a_revoked_gateway_refuses_everybody() {
    let gate = Gate::new();
    gate.revocations.shut.set(true);
    assert_eq!(gate.get(&[]), refused(403, "policy_denied", "gateway_revoked"));
}

#[test]
fn old_knowledge_refuses_writes_and_older_knowledge_everything() {
    let stale = || refused(503, "revocation_stale", "revocation_stale");
    let fine = || allowed(&[], &["x-tap-key"]);
    for (freshness, get, post) in [
        (Freshness::Live, fine(), fine()),
        (Freshness::Late, fine(), fine()),
        (Freshness::StaleForWrites, fine(), stale()),
        (Freshness::Stale, stale(), stale()),
    ] {
        let gate = Gate::new();
        gate.revocations.freshness.set(freshness);
        assert_eq!(gate.get(&[(":method", "GET")]), get, "{freshness:?}");
        assert_eq!(gate.get(&[(":method", "POST")]), post, "{freshness:?}");
    }
}

#[test]
fn a_key_that_is_no_good_learns_nothing_of_revocations() {
    let gate = Gate::new();
    gate.revocations.freshness.set(Freshness::Stale);
    let unknown = gate.get(&[("x-tap-key", &key(b"NoSuchK1"))]);
    assert_eq!(unknown, refused(401, "invalid_token", "unknown"));
}

#[test]
fn who_is_revoked_while_content_comes_is_refused_at_its_end() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    run.event(Event::RequestBody { chunk: b"a".to_vec(), end: false });
    gate.revocations.revoked.borrow_mut().push((Kind::ApiKey, "GoodKey1".to_owned()));
    run.event(Event::RequestBody { chunk: b"b".to_vec(), end: true });
    assert_eq!(run.outcome(), refused(401, "invalid_token", "revoked"));
}
