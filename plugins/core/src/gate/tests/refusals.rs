//! Every refusal of the gate, reached.

use std::time::Duration;

use super::fixture::*;
use crate::event::{AuditState, Event, Surroundings};
use crate::fields::{Field, Fields};
use crate::identity::KeyState;
use crate::key_service::KeyServiceFault;
use crate::time::{Entropy, UnixMillis};

fn check(head: &[(&str, &str)], expected: Outcome) {
    let gate = Gate::new();
    assert_eq!(gate.get(head), expected, "{head:?}");
}

fn with_audit(audit: AuditState, method: &str) -> Outcome {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    let around = Surroundings { audit, ..Surroundings::default() };
    let fields = fields(&[(":method", method)]);
    run.event(Event::RequestHeaders { fields, end: true, around, entropy: Entropy([0; 32]) });
    run.outcome()
}

#[test]
fn without_an_audit_receipt_every_request_is_refused() {
    let behind = refused(503, "audit_unavailable", "receipt_missing");
    let full = refused(503, "audit_unavailable", "buffer_full");
    assert_eq!(with_audit(AuditState::Behind, "GET"), behind);
    assert_eq!(with_audit(AuditState::Full, "GET"), full);
    assert_eq!(with_audit(AuditState::FullForWrites, "POST"), full);
    assert_eq!(with_audit(AuditState::FullForWrites, "GET"), allowed(&[], &["x-tap-key"]));
}

#[test]
fn methods_that_echo_or_tunnel_are_refused() {
    for method in ["TRACE", "TRACK", "CONNECT", "trace"] {
        check(&[(":method", method)], refused(405, "method_refused", "method_refused"));
    }
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused() {
    for (reason, head) in [
        ("pseudo_fields", vec![(":method", "GET"), (":method", "POST")]),
        ("pseudo_fields", vec![(":scheme", "https"), (":scheme", "http")]),
        ("pseudo_fields", vec![(":path", "/api/a"), (":path", "/api/b")]),
        ("authority", vec![(":authority", "a"), (":authority", "b")]),
        ("authority", vec![("host", "evil.example")]),
        ("authority", vec![("host", "gw.example"), ("host", "gw.example")]),
        ("framing", vec![("content-length", "1"), ("content-length", "1")]),
        ("framing", vec![("content-length", "1, 1")]),
        ("framing", vec![("content-length", "+1")]),
        ("framing", vec![("content-length", "1"), ("transfer-encoding", "chunked")]),
        ("upgrade", vec![("upgrade", "websocket"), ("connection", "upgrade")]),
        ("upgrade", vec![("connection", "keep-alive, Upgrade")]),
        ("upgrade", vec![(":protocol", "websocket")]),
        ("path", vec![(":path", "/api/../admin")]),
        ("path", vec![(":path", "/api/%2e%2e/admin")]),
        ("path", vec![(":path", "/api%2fadmin")]),
        ("path", vec![(":path", "/api/a\\b")]),
        ("path", vec![(":path", "/api//b")]),
        ("path", vec![(":path", "/api/a%00")]),
        ("path", vec![(":path", "/api/a#b")]),
        ("path", vec![(":path", "*")]),
        ("field_bytes", vec![("x-a", "b\r\nx-c: d")]),
        ("field_bytes", vec![("x-a", "b\0")]),
        ("field_bytes", vec![("<CREDENTIAL:slack>", "a")]),
        ("credential_field", vec![("x-tap-credential", "slack"), ("x-tap-credential", "slack")]),
    ] {
        check(&head, refused(400, "request_ambiguous", reason));
    }
}

#[test]
fn keys_in_two_fields_are_refused() {
    let bearer = format!("Bearer {}", good_key());
    check(&[("authorization", &bearer)], refused(400, "request_ambiguous", "several_identities"));
}

#[test]
fn without_a_key_the_request_is_challenged() {
    let gate = Gate::new();
    for head in [vec![("x-tap-key-", "x")], vec![("authorization", "Bearer <CREDENTIAL:slack>")]] {
        let mut head = fields(&head);
        head.0.retain(|field| field.name != b"x-tap-key");
        let outcome = gate.send(head, &[], None);
        assert_eq!(outcome, refused(401, "credentials_missing", "credentials_missing"));
    }
}

#[test]
fn a_key_of_bad_form_is_refused_offline() {
    let gate = Gate::new();
    let mut wrong_checksum = good_key();
    wrong_checksum.replace_range(54.., "000000");
    let other_prefix = good_key().replacen("pk_", "tp_", 1);
    let cut = &good_key()[..30];
    for value in [wrong_checksum.as_str(), &other_prefix, cut, "", "x", "Bearer x"] {
        let outcome = gate.get(&[("x-tap-key", value)]);
        assert_eq!(outcome, refused(401, "invalid_token", "syntax"), "{value}");
    }
    assert_eq!(gate.directory.finds.get(), 0);
}

#[test]
fn an_authorization_that_is_not_one_bearer_key_is_refused() {
    let key = good_key();
    let bearer = format!("Bearer {key}");
    let joined = format!("Bearer {key}, Bearer {key}");
    let without_key_field = |lines: &[(&str, &str)]| {
        let mut head = fields(lines);
        head.0.retain(|field| field.name != b"x-tap-key");
        Gate::new().send(head, &[], None)
    };
    for (reason, lines) in [
        ("repeated", vec![("authorization", bearer.as_str()), ("authorization", &bearer)]),
        ("joined", vec![("authorization", joined.as_str())]),
        ("scheme", vec![("authorization", key.as_str())]),
        ("scheme", vec![("authorization", "Basic dTpw")]),
        ("syntax", vec![("authorization", "Bearer pk_x")]),
        ("syntax", vec![("authorization", "Bearer  x")]),
    ] {
        let outcome = without_key_field(&lines);
        assert_eq!(outcome, refused(401, "invalid_token", reason), "{lines:?}");
    }
    assert_eq!(
        without_key_field(&[("authorization", &format!("bearer {key}"))]),
        allowed(&[], &["authorization"])
    );
}

#[test]
fn a_second_authorization_is_refused_beside_a_good_key_too() {
    let lines = [("authorization", "Basic dTpw"), ("authorization", "Basic dTpw")];
    check(&lines, refused(401, "invalid_token", "repeated"));
    check(&[("x-tap-key", "a"), ("x-tap-key", "b")], refused(401, "invalid_token", "repeated"));
}

#[test]
fn header_bytes_that_are_not_utf_8_are_refused_where_they_are_read() {
    for name in ["x-tap-key", "authorization"] {
        let mut head = fields(&[]);
        head.0.retain(|field| field.name != name.as_bytes());
        head.0.push(Field { name: name.into(), value: vec![0xff, 0xfe] });
        let outcome = Gate::new().send(head, &[], None);
        assert_eq!(outcome, refused(401, "invalid_token", "not_utf8"), "{name}");
    }
    let mut head = fields(&[]);
    head.0.push(Field { name: b"x-tap-credential".to_vec(), value: vec![0xff] });
    let outcome = Gate::new().send(head, &[], None);
    assert_eq!(outcome, refused(400, "placeholder_malformed", "placeholder_malformed"));
    let mut head = fields(&[]);
    head.0.push(Field { name: b"x-other".to_vec(), value: vec![0xff, 0xfe] });
    assert_eq!(Gate::new().send(head, &[], None), allowed(&[], &["x-tap-key"]));
}

#[test]
fn unknown_wrong_expired_revoked_and_foreign_keys_get_one_reply() {
    let mut replies = Vec::new();
    let mut answer = |reason: &str, prepare: &dyn Fn(&Gate)| {
        let gate = Gate::new();
        prepare(&gate);
        let mut run = Run::new(gate.pipeline.stream());
        run.event(headers(fields(&[]), true));
        assert_eq!(run.outcome(), refused(401, "invalid_token", reason));
        replies.push(run.replies.remove(0));
    };
    answer("unknown", &|gate| gate.directory.entries.borrow_mut().clear());
    answer("mismatch", &|gate| {
        gate.directory
            .entries
            .borrow_mut()
            .values_mut()
            .for_each(|entry| entry.stored.salt[0] ^= 1);
    });
    answer("revoked", &|gate| gate.change(|record| record.state = KeyState::Revoked));
    answer("expired", &|gate| gate.change(|record| record.not_after = Some(NOW)));
    answer("tenant", &|gate| gate.change(|record| record.tenant = "other".into()));
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    let gate = Gate::new();
    gate.change(|record| record.not_after = Some(UnixMillis(NOW.0 + 1)));
    assert_eq!(gate.get(&[]), allowed(&[], &["x-tap-key"]));
}

#[test]
fn a_missing_scope_is_named_and_an_uncovered_route_is_denied() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[(":method", "GET"), (":path", "/admin")]), true));
    assert_eq!(run.outcome(), refused(403, "insufficient_scope", "insufficient_scope"));
    let body = String::from_utf8(run.replies[0].content.clone()).unwrap();
    assert!(body.contains("\"scope\":\"admin:read admin:write\""), "{body}");
    check(&[(":path", "/admin")], refused(403, "policy_denied", "no_scope_rule"));
    check(&[(":path", "/elsewhere")], refused(403, "policy_denied", "no_scope_rule"));
}

#[test]
fn a_credential_that_is_not_allowed_here_gets_one_reply_whatever_the_reason() {
    let mut replies = Vec::new();
    for (reason, head) in [
        ("credential_unknown", vec![("x-tap-credential", "nothing")]),
        ("credential_unknown", vec![("x-tap-credential", "theirs")]),
        ("credential_unknown", vec![("authorization", "Bearer <CREDENTIAL:theirs>")]),
        ("credential_site", vec![("authorization", "Bearer <CREDENTIAL:maps>")]),
        ("credential_method", vec![(":method", "DELETE"), ("x-tap-credential", "slack")]),
        (
            "credential_path",
            vec![(":method", "GET"), (":path", "/open"), ("x-tap-credential", "slack")],
        ),
        ("credential_authority", vec![("x-tap-credential", "mail")]),
    ] {
        let mut config = document();
        config["bindings"][0]["methods"] = serde_json::json!(["POST", "GET"]);
        config["bindings"][1]["methods"] = serde_json::json!(["POST", "GET"]);
        let gate = Gate::with(&config);
        let mut run = Run::new(gate.pipeline.stream());
        run.event(headers(fields(&head), true));
        assert_eq!(run.outcome(), refused(403, "credential_not_allowed", reason), "{head:?}");
        assert_eq!(run.calls, 0);
        replies.push(run.replies.remove(0));
    }
    assert!(replies.iter().all(|reply| *reply == replies[0]));
}

#[test]
fn a_path_with_parameters_needs_the_scopes_of_the_path_without_them_too() {
    let mut config = document();
    let everything = serde_json::json!({"methods": ["GET"], "path": "/**", "require": []});
    config["scopes"].as_array_mut().unwrap().push(everything);
    let get = |path: &str| Gate::with(&config).get(&[(":method", "GET"), (":path", path)]);
    let admin = refused(403, "insufficient_scope", "insufficient_scope");
    for path in ["/admin", "/admin;x=1", "/admin;", "/%61dmin;x", "/admin%3Bx"] {
        assert_eq!(get(path), admin, "{path}");
    }
    assert_eq!(get("/other;x=1"), allowed(&[], &["x-tap-key"]));
    assert_eq!(get("/open/../admin;x"), refused(400, "request_ambiguous", "path"));
}

#[test]
fn content_that_cannot_be_read_whole_is_refused() {
    let gate = Gate::new();
    for coding in ["gzip", "br", "identity, gzip", ""] {
        let outcome = gate.send(fields(&[("content-encoding", coding)]), &[b"x"], None);
        assert_eq!(outcome, refused(415, "encoding_unsupported", "encoding_unsupported"));
    }
    for coding in ["gzip", "gzip, chunked", "Chunked,deflate"] {
        let outcome = gate.send(fields(&[("transfer-encoding", coding)]), &[b"x"], None);
        assert_eq!(outcome, refused(415, "encoding_unsupported", "encoding_unsupported"));
    }
    let chunked = gate.send(fields(&[("transfer-encoding", "Chunked")]), &[b"x"], None);
    assert_eq!(chunked, allowed(&[], &["x-tap-key"]));
    let too_large = refused(413, "body_too_large", "body_too_large");
    assert_eq!(gate.send(fields(&[("content-length", "65")]), &[], None), too_large);
    assert_eq!(gate.send(fields(&[]), &[&[b'x'; 60], &[b'x'; 5]], None), too_large);
    let whole = gate.send(fields(&[("content-encoding", "Identity")]), &[&[b'x'; 64]], None);
    assert_eq!(whole, allowed(&[], &["x-tap-key"]));
}

#[test]
fn a_key_service_that_does_not_answer_refuses_with_503() {
    for (fault, code, reason) in [
        (KeyServiceFault::Unreachable, "key_service_unavailable", "unreachable"),
        (KeyServiceFault::TimedOut, "key_service_unavailable", "timed_out"),
        (KeyServiceFault::NotAuthentic, "key_service_unavailable", "not_authentic"),
        (KeyServiceFault::NotReady, "key_service_unavailable", "not_ready"),
        (KeyServiceFault::Local, "key_service_unavailable", "local"),
        (KeyServiceFault::Evidence, "attestation_unavailable", "evidence"),
    ] {
        let gate = Gate::new();
        gate.directory.mode.set(Mode::Fails(fault));
        assert_eq!(gate.get(&[]), refused(503, code, reason));
    }
}

#[test]
fn no_reply_within_two_seconds_refuses_and_forgets_the_call() {
    let gate = Gate::new();
    gate.directory.mode.set(Mode::Asks);
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), true));
    run.advance(Duration::from_millis(1999));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), Outcome::Waiting);
    run.advance(Duration::from_millis(1));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), refused(503, "key_service_unavailable", "timed_out"));
    assert_eq!(gate.directory.abandoned.get(), 1);
}

#[test]
fn a_host_that_delivers_no_content_is_our_fault_after_ten_seconds() {
    let gate = Gate::new();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    run.advance(Duration::from_secs(10));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), refused(500, "internal", "content_not_delivered"));
}

#[test]
fn trailers_that_only_a_header_may_have_are_refused() {
    for name in ["authorization", "x-tap-key", "x-tap-credential", "x-api-key", "content-length"] {
        let trailers: Fields = [(name, "x")].into_iter().collect();
        let outcome = Gate::new().send(fields(&[]), &[b"x"], Some(trailers));
        assert_eq!(outcome, refused(400, "request_ambiguous", "trailer_field"), "{name}");
    }
}
