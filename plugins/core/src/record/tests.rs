//! The draft's codec and the exact bytes of a record.

use super::*;

fn full() -> Draft {
    Draft {
        received: UnixMillis(1_700_000_000_000),
        decision_id: Some([1; 16]),
        method: "POST".into(),
        route: "/api/chat.postMessage".into(),
        caller: Some(Caller {
            tenant: "acme".into(),
            user_hash: user_hash("acme", "u1"),
            agent: "agent-7".into(),
            key_id: "AbCd0123".into(),
            platform: Some("cursor".into()),
            scopes: vec!["documents:read".into()],
            kind: "capability".into(),
            widened: vec!["1:scopes".into()],
        }),
        scope_check: ScopeCheck::Passed,
        decision: Decision::Allow,
        credentials: vec!["slack".into()],
        request_digest: Some([2; 32]),
        binding_hash: Some([3; 32]),
        release: Some(ReleaseSource { audit_seq: u64::MAX, cached: true }),
        canary: Some(Verdict::Clean),
        minted: vec!["access-2".into()],
        scrub_hits: 2,
        scrub: Some(receipt(9_007_199_254_740_993)),
        removed_sections: 4,
        attestation: Some("simulated".into()),
        policy_revision: None,
        decide_ms: Some(3),
        release_ms: None,
    }
}

fn receipt(bytes: u64) -> ScrubReceipt {
    let decoders = vec!["gzip".into(), "br".into()];
    ScrubReceipt { bytes, decoders, views: vec!["raw".into()] }
}

fn record(entry: Entry) -> AuditRecord {
    AuditRecord { gateway: [0xab; 16], seq: 7, time: UnixMillis(1_700_000_000_123), entry }
}

fn rendered(entry: Entry) -> String {
    String::from_utf8(record(entry).render()).unwrap()
}

#[test]
fn a_draft_reads_back_as_written() {
    let denied = Draft {
        decision: Decision::Deny { code: "policy_denied".into(), reason: "permit_missing".into() },
        ..Draft::new(UnixMillis(5))
    };
    for draft in [full(), denied, Draft::new(UnixMillis(0))] {
        assert_eq!(Draft::decode(&draft.encode()), Ok(draft));
    }
}

#[test]
fn cut_extended_or_foreign_bytes_are_not_a_draft() {
    let bytes = full().encode();
    for end in 0..bytes.len() {
        assert_eq!(Draft::decode(&bytes[..end]), Err(BadDraft), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Draft::decode(&longer), Err(BadDraft));
    let mut version = bytes;
    version[1] = 1;
    assert_eq!(Draft::decode(&version), Err(BadDraft));
}

#[test]
fn texts_beyond_their_bound_are_cut_at_a_character() {
    let draft = Draft { route: "é".repeat(200), method: "M".repeat(500), ..full() };
    let read = Draft::decode(&draft.encode()).unwrap();
    assert_eq!((read.route.len(), read.method.len()), (256, 128));
    let many = Draft { credentials: vec!["c".into(); 100], ..full() };
    assert_eq!(Draft::decode(&many.encode()).unwrap().credentials.len(), 64);
}

#[test]
fn a_request_renders_as_canonical_json() {
    let facts =
        ResponseFacts { status: Some(200), flags: 0, duration: Some(Duration::from_micros(2943)) };
    let want = concat!(
        r#"{"agent":"agent-7","attestation":"simulated","#,
        r#""binding":"0303030303030303030303030303030303030303030303030303030303030303","#,
        r#""canary":"clean","credentials":["slack"],"decide_ms":3,"decision":"allow","#,
        r#""decision_id":"01010101010101010101010101010101","#,
        r#""digest":"0202020202020202020202020202020202020202020202020202020202020202","#,
        r#""duration_us":"2943","gateway":"abababababababababababababababab","#,
        r#""identity":"capability","#,
        r#""key":"AbCd0123","kind":"request","method":"POST","minted":["access-2"],"#,
        r#""platform":"cursor","#,
        r#""received":"1700000000000","#,
        r#""release":{"audit_seq":"18446744073709551615","cached":true},"removed_sections":"4","#,
        r#""route":"/api/chat.postMessage","scope_check":"passed","#,
        r#""scopes":["documents:read"],"#,
        r#""scrub":{"bytes":"9007199254740993","decoders":["gzip","br"],"views":["raw"]},"#,
        r#""scrub_hits":"2","seq":"7","status":200,"#,
        r#""tenant":"acme","time":"1700000000123","user":""#
    );
    let got = rendered(Entry::Request { draft: Ok(Box::new(full())), facts });
    assert_eq!(got, format!("{want}{}\",\"v\":1,\"widened\":[\"1:scopes\"]}}", user_hex()));
}

fn user_hex() -> String {
    user_hash("acme", "u1").iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keys_stand_in_canonical_order() {
    let denied = Draft {
        decision: Decision::Deny { code: "internal".into(), reason: "x".into() },
        policy_revision: Some("r1".into()),
        release_ms: Some(1),
        ..full()
    };
    let facts = ResponseFacts { status: Some(500), flags: 4, duration: Some(Duration::ZERO) };
    for entry in [
        Entry::Request { draft: Ok(Box::new(denied)), facts },
        Entry::Unlogged { count: 3, root: [1; 16] },
    ] {
        let text = rendered(entry);
        let sorted: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&sorted).unwrap(), text);
    }
}

#[test]
fn a_request_without_a_draft_says_so() {
    let facts = ResponseFacts { status: Some(503), flags: 4, duration: None };
    assert_eq!(
        rendered(Entry::Request { draft: Err(NoDraft::Absent), facts }),
        concat!(
            r#"{"decision":"none","flags":"4","gateway":"abababababababababababababababab","#,
            r#""kind":"request","reason":"draft_absent","seq":"7","status":503,"#,
            r#""time":"1700000000123","v":1}"#
        )
    );
}

#[test]
fn a_gap_names_its_size_and_root() {
    assert_eq!(
        rendered(Entry::Unlogged { count: 2, root: [1; 16] }),
        concat!(
            r#"{"count":"2","gateway":"abababababababababababababababab","kind":"unlogged","#,
            r#""root":"01010101010101010101010101010101","seq":"7","time":"1700000000123","v":1}"#
        )
    );
}

#[test]
fn a_refusal_by_the_credential_module_overrides_allow() {
    let denied = Decision::Deny { code: "credential_not_allowed".into(), reason: "host".into() };
    let part = CredentialPart { denied: Some(denied.clone()), ..CredentialPart::default() };
    assert_eq!(full().with(part), Draft { decision: denied, ..full() });
}

#[test]
fn the_credentials_part_fills_its_fields_and_no_others() {
    let release = Some(ReleaseSource { audit_seq: 9, cached: false });
    let part = CredentialPart {
        credentials: vec!["github.token".into()],
        binding_hash: Some([9; 32]),
        release,
        minted: vec!["access-3".into()],
        scrub_hits: 5,
        scrub: Some(receipt(1)),
        release_ms: Some(12),
        attestation: None,
        denied: None,
    };
    let want = Draft {
        credentials: vec!["github.token".into()],
        binding_hash: Some([9; 32]),
        release,
        minted: vec!["access-3".into()],
        scrub_hits: 5,
        scrub: Some(receipt(1)),
        release_ms: Some(12),
        ..full()
    };
    assert_eq!(full().with(part), want);
}
