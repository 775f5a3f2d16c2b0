//! What is published and recorded about a request.

use sha2::{Digest, Sha256};

use super::fixture::*;
use crate::digest::request_digest;
use crate::effect::Publication;
use crate::identity::KeyState;
use crate::record::{Caller, Decision, Draft, ScopeCheck, user_hash};

fn run(head: &[(&str, &str)], body: &[u8]) -> Run {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(head), false));
    run.event(crate::event::Event::RequestBody { chunk: body.to_vec(), end: true });
    run
}

#[test]
fn an_allowed_request_publishes_permit_identity_and_decision() {
    let run = run(&[("x-tap-credential", "slack"), ("x-idempotency", "7")], b"hello");
    let [Publication { permit: Some(_), form: None, identity: Some(identity), decision }] =
        run.publications.as_slice()
    else {
        panic!("one whole publication");
    };
    assert_eq!(decision, "allow");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(identity).unwrap(),
        serde_json::json!({
            "subject": "key:GoodKey1", "kind": "api_key", "tenant": "acme",
            "organisation": "acme", "user": "u1", "agent": "bot", "roles": ["AGENT"],
            "scopes": ["tap:write"], "trust": "suggester", "clearance": null,
            "document": null, "token_id": "GoodKey1", "expires": null, "platform": "cursor",
        })
    );
    assert_eq!(run.counted, ["postern.gate.allowed.total"]);
}

#[test]
fn the_permit_is_about_this_request_and_this_caller() {
    let head = [("x-tap-credential", "slack"), ("x-idempotency", "7"), ("x-other", "1")];
    let permit = run(&head, b"hello").permit().unwrap();
    let content: [u8; 32] = Sha256::digest(b"hello").into();
    let bound = ["x-tap-credential", "x-idempotency"];
    assert_eq!(permit.request_digest(), request_digest(&fields(&head), &bound, Some(content)));
    assert_eq!(permit.content_digest(), Some(content));
    assert_eq!((permit.tenant(), permit.agent()), ("acme", "bot"));
    assert_eq!((permit.issued(), permit.expires().0), (NOW, NOW.0 + 10_000));
    assert_eq!(permit.gate_vm(), [0xee; 16]);
}

#[test]
fn the_record_of_an_allowed_request_says_who_what_and_under_which_policy() {
    let gate = Gate::new();
    let run = run(&[("x-tap-credential", "slack")], b"");
    let permit = run.permit().unwrap();
    let revision = gate.pipeline.config.revision.iter().map(|b| format!("{b:02x}")).collect();
    let expected = Draft {
        decision_id: Some(permit.decision_id().0),
        method: "POST".into(),
        route: "/api/**".into(),
        caller: Some(Caller {
            tenant: "acme".into(),
            user_hash: user_hash("acme", "u1"),
            agent: "bot".into(),
            key_id: "GoodKey1".into(),
            platform: Some("cursor".into()),
            scopes: vec!["tap:write".into()],
            kind: "api_key".into(),
            widened: Vec::new(),
        }),
        scope_check: ScopeCheck::Passed,
        decision: Decision::Allow,
        credentials: vec!["slack".into()],
        request_digest: Some(permit.request_digest()),
        binding_hash: Some(permit.uses()[0].binding_hash),
        attestation: Some("simulated".into()),
        policy_revision: Some(revision),
        decide_ms: Some(0),
        ..Draft::new(NOW)
    };
    assert_eq!(run.records, [expected]);
}

#[test]
fn a_refused_request_publishes_no_permit_and_no_identity() {
    let gate = Gate::new();
    gate.change(|record| record.state = KeyState::Revoked);
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[("x-tap-credential", "slack")]), true));
    let refusal = Publication {
        permit: None,
        form: None,
        identity: None,
        decision: "deny:invalid_token".into(),
    };
    assert_eq!(run.publications, [refusal]);
    assert_eq!(run.removed, [""; 0]);
    assert_eq!(run.counted, ["postern.gate.denied.reason=invalid_token.total"]);
    assert_eq!(run.records[0].caller, None);
    let reply = &run.replies[0];
    let hex: String =
        run.records[0].decision_id.unwrap().iter().map(|b| format!("{b:02x}")).collect();
    assert!(String::from_utf8_lossy(&reply.content).contains(&hex));
}

#[test]
fn a_refusal_after_authentication_is_recorded_under_the_callers_name() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[("x-tap-credential", "theirs")]), true));
    let record = &run.records[0];
    assert_eq!(record.caller.as_ref().map(|caller| caller.agent.as_str()), Some("bot"));
    assert_eq!(record.credentials, ["theirs"]);
    assert_eq!(record.scope_check, ScopeCheck::Passed);
}

#[test]
fn no_effect_of_a_request_holds_its_key() {
    let run = run(&[("x-tap-credential", "slack")], b"");
    let key = good_key();
    let secret = &key[12..];
    for text in [format!("{:?}", run.publications), format!("{:?}", run.records)] {
        assert!(!text.contains(secret));
    }
}
