//! Answers, good and bad: whose fault each is.

use postern_core::config::gate::Claims;
use postern_core::key_service::{CallAnswer, CallFailure};
use serde_json::json;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn rules() -> Rules {
    let one = |name: &str| vec![name.to_owned()];
    Rules {
        issuer: "https://idp.test".into(),
        audiences: one("gw"),
        leeway: 30,
        typed: true,
        names: Claims {
            tenant: vec![],
            organisation: vec![],
            user: one("sub"),
            agent: one("client_id"),
            roles: one("roles"),
            scopes: one("scope"),
            trust: vec![],
            clearance: vec![],
        },
        tenant: "acme".into(),
    }
}

fn good() -> Value {
    json!({"active": true, "token_type": "Bearer", "aud": ["gw"], "client_id": "bot",
        "sub": "alice", "scope": "a b", "exp": NOW.seconds() + 60, "iss": "https://idp.test"})
}

fn read(status: u16, body: &[u8]) -> Outcome {
    rules().read(Ok(CallAnswer::of(status, body.to_vec())), &[7; 32], NOW)
}

/// The good answer with one member changed; null removes it.
fn changed(name: &str, value: Value) -> Outcome {
    let mut answer = good();
    match value {
        Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
        value => answer[name] = value,
    }
    read(200, answer.to_string().as_bytes())
}

fn refused(outcome: &Outcome) -> Option<TokenReason> {
    match outcome {
        Outcome::Refused(reason) => Some(*reason),
        _ => None,
    }
}

fn unanswered(outcome: &Outcome) -> Option<KeysReason> {
    match outcome {
        Outcome::Unanswered(reason) => Some(*reason),
        _ => None,
    }
}

#[test]
fn an_answer_becomes_the_identity_document() {
    let Outcome::Good(read) = read(200, good().to_string().as_bytes()) else { panic!("refused") };
    let identity = serde_json::to_value(&read.identity).unwrap();
    assert_eq!(
        identity,
        json!({
            "subject": "introspected:https://idp.test#alice", "kind": "introspected",
            "tenant": "acme", "organisation": "", "user": "alice", "agent": "bot", "roles": [],
            "scopes": ["a", "b"], "trust": "observer", "clearance": null, "document": null,
            "token_id": "07".repeat(16), "expires": NOW.seconds() + 60, "platform": null,
        })
    );
}

#[test]
fn a_client_without_a_subject_is_its_own_and_an_end_need_not_be_said() {
    let Outcome::Good(read) = changed("sub", Value::Null) else { panic!("refused") };
    assert_eq!(read.identity.subject, "introspected:https://idp.test#client:bot");
    assert_eq!(read.identity.user, "client:bot", "no user is called so");
    let Outcome::Good(read) = changed("exp", Value::Null) else { panic!("refused") };
    assert_eq!(read.identity.expires, None);
    for absent in ["iss", "scope"] {
        assert!(matches!(changed(absent, Value::Null), Outcome::Good(_)), "{absent}");
    }
}

#[test]
fn what_makes_a_token_no_good_is_the_callers() {
    let now = NOW.seconds();
    let rows = [
        ("active", json!(false), TokenReason::Inactive),
        ("aud", Value::Null, TokenReason::Audience),
        ("aud", json!([]), TokenReason::Audience),
        ("aud", json!("other"), TokenReason::Audience),
        ("iss", json!("https://other.test"), TokenReason::Issuer),
        ("exp", json!(now - 30), TokenReason::Expired),
        ("nbf", json!(now + 31), TokenReason::NotYet),
        ("iat", json!(now + 31), TokenReason::NotYet),
        ("token_type", Value::Null, TokenReason::Type),
        ("token_type", json!("refresh_token"), TokenReason::Type),
        ("token_use", json!("refresh_token"), TokenReason::Type),
        ("cnf", json!({"kid": "k"}), TokenReason::Bound),
        ("cnf", json!({"jkt": "short"}), TokenReason::Bound),
        // Bound, its issuer says, and not to what.
        ("token_type", json!("DPoP"), TokenReason::Bound),
        ("scope", json!({"a": 1}), TokenReason::Claim),
    ];
    for (name, value, want) in rows {
        assert_eq!(refused(&changed(name, value.clone())), Some(want), "{name}: {value}");
    }
    let nobody = json!({"active": true, "token_type": "bearer", "aud": "gw"}).to_string();
    assert_eq!(refused(&read(200, nobody.as_bytes())), Some(TokenReason::Claim));
}

#[test]
fn what_is_no_answer_is_not_the_callers() {
    let good = good().to_string();
    for status in [201, 204, 302, 400, 401, 403, 404, 429, 500, 503] {
        let outcome = read(status, good.as_bytes());
        assert_eq!(unanswered(&outcome), Some(KeysReason::Unanswered), "{status}");
    }
    for failure in [CallFailure::NotSent, CallFailure::TooLarge, CallFailure::Unreadable] {
        let outcome = rules().read(Err(failure), &[7; 32], NOW);
        assert_eq!(unanswered(&outcome), Some(KeysReason::Unanswered), "{failure:?}");
    }
    let large = good.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(LENGTH)), 1);
    let twice = good.replacen('{', "{\"active\":true,", 1);
    let deep = good.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(9), "]".repeat(9)), 1);
    let bomb = good.replacen('{', &format!("{{\"x\":[{}1],", "1,".repeat(3000)), 1);
    let mark = format!("\u{feff}{good}");
    let behind = format!("{good} x");
    for body in
        ["", "{}", "[]", "true", "null", "<html>", &large, &twice, &deep, &bomb, &mark, &behind]
    {
        let outcome = read(200, body.as_bytes());
        assert_eq!(unanswered(&outcome), Some(KeysReason::Answer), "{body:.60}");
    }
    assert_eq!(
        unanswered(&read(200, b"{\"active\":true,\"x\":\"\xff\"}")),
        Some(KeysReason::Answer)
    );
    for (name, value) in [
        ("active", json!("true")),
        ("active", json!(1)),
        ("active", Value::Null),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("nbf", json!([])),
        ("aud", json!(7)),
        ("aud", json!([7])),
        ("iss", json!(7)),
        ("token_type", json!(["Bearer"])),
    ] {
        let outcome = changed(name, value.clone());
        assert_eq!(unanswered(&outcome), Some(KeysReason::Answer), "{name}: {value}");
    }
}
