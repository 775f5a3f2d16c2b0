//! Capability tokens as an authenticator: chains, proofs, nonces and caches together.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use postern_capability::claims::Claims;
use postern_capability::mint::{self, Unsigned};
use postern_core::config::gate::{Issuer, NonceDemand};
use postern_core::time::Entropy;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_500);

struct Always(Met);

impl Nonces for Always {
    fn meet(&self, _: &[u8; 32], _: UnixMillis) -> Met {
        self.0
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn config() -> Capability {
    let key = *key(1).verifying_key().as_bytes();
    Capability {
        audience: "gw".into(),
        issuers: vec![Issuer { kid: "k1".into(), issuer: "i".into(), key }],
        max_life: Duration::from_secs(900),
        past: Duration::from_secs(30),
        future: Duration::from_secs(5),
        nonce: NonceDemand::Never,
        invites: None,
        cache: 4,
    }
}

fn token() -> String {
    mint::mint(&claims(), "k1", &key(1)).unwrap()
}

fn claims() -> Claims {
    Claims {
        issuer: Some("i".into()),
        subject: Some("ada".into()),
        audience: Some("gw".into()),
        expires: Some(NOW.seconds() + 60),
        issued_at: Some(NOW.seconds()),
        id: Some([0xa0; 16]),
        holder: mint::public(&key(2)),
        tenant: Some("acme".into()),
        trust: Some(3),
        clearance: Some(40),
        ..Claims::default()
    }
}

fn head(more: &[(&str, &str)]) -> Signed {
    let token = token();
    let unsigned = Unsigned {
        method: "GET",
        scheme: "https",
        authority: "gw.test",
        target: "/a?b",
        token: &token,
        content: None,
        fields: &[],
    };
    let fields = mint::sign_request(&unsigned, &key(2), NOW.seconds(), &[7; 16]).unwrap();
    let own = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "gw.test"),
        (":path", "/a?b"),
        ("signature-input", fields.signature_input.as_str()),
        ("signature", fields.signature.as_str()),
    ];
    let fields: Fields = own.iter().chain(more).map(|(name, value)| (*name, *value)).collect();
    Signed::read(&fields, &token)
}

fn verdict(met: Met, signed: Signed) -> Verdict {
    let all = Capabilities::new(&config(), "acme", Rc::new(Always(met))).unwrap();
    let mut attempt = CapabilityAttempt { verifier: Rc::clone(&all.0), signed };
    match attempt.start(Moment { now: NOW, entropy: Entropy([0; 32]) }) {
        Progress::Done(verdict) => verdict,
        _ => panic!("nobody has to be asked"),
    }
}

#[test]
fn the_identity_document_is_the_right_of_the_token() {
    let established = verdict(Met::New, head(&[])).unwrap();
    let nothing: [u8; 32] = Sha256::digest(b"").into();
    assert_eq!(established.content(), Some(nothing));
    assert_eq!(
        *established.identity(),
        Identity {
            subject: format!(
                "capability:{}#{}",
                "a0".repeat(16),
                hex::lower(key(2).verifying_key().as_bytes())
            ),
            kind: Kind::Capability,
            tenant: "acme".into(),
            organisation: String::new(),
            user: "ada".into(),
            agent: "ada".into(),
            roles: Vec::new(),
            scopes: Vec::new(),
            trust: "autonomous".into(),
            clearance: Some("40".into()),
            document: None,
            token_id: "a0".repeat(16),
            expires: Some(NOW.seconds() + 60),
            platform: None,
        }
    );
}

#[test]
fn no_two_holders_of_a_tree_of_tokens_are_the_same_caller() {
    let root = token();
    let block = |id, holder| Claims {
        id: Some([id; 16]),
        holder: mint::public(&key(holder)),
        ..Claims::default()
    };
    let narrowed =
        |token: &str, id, holder, by| mint::attenuate(token, block(id, holder), &key(by));
    let one = narrowed(&root, 0xb1, 3, 2).unwrap();
    let tokens = [
        narrowed(&one, 0xb3, 5, 3).unwrap(),
        narrowed(&root, 0xb2, 4, 2).unwrap(),
        // Whoever has made a block can use its name again, for another key.
        narrowed(&root, 0xb1, 6, 2).unwrap(),
        one,
        root,
    ];
    let all = Capabilities::new(&config(), "acme", Rc::new(Always(Met::New))).unwrap();
    let subjects = tokens.map(|token| {
        let chain = all.0.chain(&token, NOW.seconds()).unwrap();
        identity(&chain).subject
    });
    for (index, subject) in subjects.iter().enumerate() {
        assert!(!subjects[index + 1..].contains(subject), "{subjects:?}");
    }
}

#[test]
fn a_nonce_that_is_not_surely_new_establishes_nobody() {
    for (met, denial) in [
        (Met::Before, Denial::InvalidToken(TokenReason::Replayed)),
        (Met::Full, Denial::RateLimited),
        (Met::Forged, Denial::Internal(Ours::NoncesForged)),
        (Met::Unwritten, Denial::Internal(Ours::NoncesUnwritten)),
    ] {
        assert_eq!(verdict(met, head(&[])).unwrap_err(), denial);
    }
}

#[test]
fn a_field_of_the_proof_on_two_lines_is_none() {
    for (more, reason) in [
        (vec![("signature", "x=::")], TokenReason::Proof),
        (vec![("content-digest", "a"), ("content-digest", "b")], TokenReason::ProofDigest),
        (vec![("content-length", "3")], TokenReason::ProofDigest),
        (vec![("transfer-encoding", "chunked")], TokenReason::ProofDigest),
        (vec![(":path", "/b")], TokenReason::Proof),
    ] {
        let denial = verdict(Met::New, head(&more)).unwrap_err();
        assert_eq!(denial, Denial::InvalidToken(reason), "{more:?}");
    }
    assert!(verdict(Met::New, head(&[("content-length", "0")])).is_ok());
}

#[test]
fn an_issuer_key_that_is_no_point_is_a_problem_at_its_place() {
    let mut config = config();
    config.issuers[0].key = [0; 32];
    let error = Capabilities::new(&config, "acme", Rc::new(Always(Met::New))).err().unwrap();
    assert_eq!(error.to_string(), "issuers[0].key: expected a key of Ed25519");
}
