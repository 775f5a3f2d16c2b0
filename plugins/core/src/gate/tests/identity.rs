//! What is published and recorded about a request.

use sha2::{Digest, Sha256};

use super::fixture::{key as key_of, *};
use crate::api_key::DIGESTS;
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

#[test]
fn a_record_with_a_role_or_trust_level_that_nobody_knows_is_refused() {
    for (roles, trust) in [
        (&["AGENT", "ROOT"][..], "suggester"),
        (&["agent"], "suggester"),
        (&[""], "suggester"),
        (&["AGENT"], "omnipotent"),
        (&["AGENT"], "Suggester"),
        (&["AGENT"], ""),
    ] {
        let gate = Gate::new();
        gate.change(|record| {
            record.roles = roles.iter().map(|role| (*role).to_owned()).collect();
            trust.clone_into(&mut record.trust);
        });
        let unknown = refused(401, "invalid_token", "record_name");
        assert_eq!(gate.get(&[]), unknown, "{roles:?} {trust}");
    }
    let gate = Gate::new();
    gate.change(|record| record.roles = crate::identity::ROLES.map(str::to_owned).to_vec());
    assert_eq!(gate.get(&[]), allowed(&[], &["x-tap-key"]));
}

/// Work and answer of one refused request: look-ups, hashes of keys, calls, and what the caller
/// gets without the decision's id.
fn work(gate: &Gate, head: &[(&str, &str)]) -> (u32, u32, usize, String) {
    let (finds, digests) = (gate.directory.finds.get(), DIGESTS.get());
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(head), true));
    let [reply] = run.replies.as_slice() else { panic!("one answer") };
    let id: String =
        run.records[0].decision_id.unwrap().iter().map(|b| format!("{b:02x}")).collect();
    let answer =
        format!("{} {:?} {}", reply.status, reply.fields, String::from_utf8_lossy(&reply.content));
    let (finds, digests) = (gate.directory.finds.get() - finds, DIGESTS.get() - digests);
    (finds, digests, run.calls, answer.replace(&id, "ID"))
}

#[test]
fn whatever_is_wrong_with_a_key_costs_one_look_up_and_one_hash_and_gets_one_answer() {
    let key = |gate: &Gate, text: &str| work(gate, &[("x-tap-key", text)]);
    let unknown = key(&Gate::new(), &key_of(b"NoSuchK1"));
    assert_eq!((unknown.0, unknown.1, unknown.2), (1, 1, 0));
    type Change = fn(&mut crate::identity::DirectoryRecord);
    let changes: [Change; 5] = [
        |record| record.state = KeyState::Revoked,
        |record| record.not_after = Some(NOW),
        |record| record.trust = "omnipotent".into(),
        |record| record.tenant = "globex".into(),
        |record| record.roles = vec!["ROOT".into()],
    ];
    for change in changes {
        let gate = Gate::new();
        gate.change(change);
        assert_eq!(key(&gate, &good_key()), unknown);
    }
    let guessed = Gate::new();
    let other = crate::secret::Secret::new(b"another key".to_vec());
    let stored = crate::api_key::StoredKey::of([9; 16], &other);
    guessed.directory.entries.borrow_mut().values_mut().for_each(|one| one.stored = stored.clone());
    assert_eq!(key(&guessed, &good_key()), unknown);
    let revoked = Gate::new();
    let name = (crate::revocation::Kind::ApiKey, "GoodKey1".to_owned());
    revoked.revocations.revoked.borrow_mut().push(name);
    assert_eq!(key(&revoked, &good_key()), unknown);
}

#[test]
fn a_credential_that_may_not_be_used_costs_the_same_whether_or_not_there_is_one() {
    let gate = Gate::new();
    let unknown = work(&gate, &[("x-tap-credential", "unheard-of")]);
    assert_eq!((unknown.0, unknown.1, unknown.2), (1, 1, 0));
    // Another tenant's, at another upstream, for another path and another method.
    for head in [
        &[("x-tap-credential", "theirs")][..],
        &[("x-tap-credential", "mail")],
        &[("x-tap-credential", "slack"), (":method", "GET")],
        &[("x-tap-credential", "slack"), (":path", "/open"), (":method", "GET")],
    ] {
        assert_eq!(work(&gate, head), unknown, "{head:?}");
    }
}
