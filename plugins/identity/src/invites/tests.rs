//! What the key service is asked, what it is not asked, and what of its answer is believed.

use std::cell::RefCell;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use postern_capability::claims::Claims;
use postern_capability::mint::{self, Unsigned};
use postern_core::api_key::{INVITE_PREFIX, KeyId, assemble};
use postern_core::config::gate::{Capability, Issuer, NonceDemand};
use postern_core::denial::Ours;
use postern_core::key_service::KeyServiceFault;
use postern_core::nonces::{Met, Nonces};
use postern_core::time::Entropy;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_500);

/// Says the same to everybody, and notes what it is asked.
struct Says(Exchanged, RefCell<Vec<Redemption>>);

impl Exchanges for Says {
    fn exchange(&self, redemption: Redemption, _: Moment) -> Turn<Exchanged> {
        self.1.borrow_mut().push(redemption);
        Turn::Answer(self.0.clone())
    }

    fn heard(&self, _: CallId, _: CallResult, _: Moment) -> Turn<Exchanged> {
        Turn::Failed(KeyServiceFault::Local)
    }

    fn abandon(&self, _: CallId) {}
}

/// Whoever asks for the memory of nonces lets strangers fill it.
struct Nobodys;

impl Nonces for Nobodys {
    fn meet(&self, _: &[u8; 32], _: UnixMillis) -> Met {
        panic!("no nonce of a stranger is remembered")
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn token(holder: u8, change: impl FnOnce(&mut Claims)) -> String {
    let mut claims = Claims {
        issuer: Some("postern-keys".into()),
        subject: Some("invite:AbCd0123".into()),
        audience: Some("gw".into()),
        expires: Some(NOW.seconds() + 60),
        issued_at: Some(NOW.seconds()),
        id: Some([0xa0; 16]),
        holder: mint::public(&key(holder)),
        tenant: Some("acme".into()),
        document: Some("d1".into()),
        ..Claims::default()
    };
    change(&mut claims);
    mint::mint(&claims, "k1", &key(1)).unwrap()
}

fn head() -> Fields {
    let id = KeyId::new(b"AbCd0123").unwrap();
    let invite = assemble(INVITE_PREFIX, &id, &[b'x'; 43]).unwrap();
    let invite = String::from_utf8(invite.expose().to_vec()).unwrap();
    let unsigned = Unsigned {
        method: "POST",
        scheme: "https",
        authority: "gw.test",
        target: "/i",
        token: &invite,
        content: None,
        fields: &[],
    };
    let fields = mint::sign_request(&unsigned, &key(2), NOW.seconds(), &[7; 16]).unwrap();
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gw.test"),
        (":path", "/i"),
        ("postern-capability", invite.as_str()),
        ("signature-input", fields.signature_input.as_str()),
        ("signature", fields.signature.as_str()),
    ];
    head.into_iter().collect()
}

fn without(name: &str) -> Fields {
    Fields(head().0.into_iter().filter(|field| field.name != name.as_bytes()).collect())
}

fn with(name: &str, value: &str) -> Fields {
    let more: Fields = [(name, value)].into_iter().collect();
    Fields(without(name).0.into_iter().chain(more.0).collect())
}

/// The outcome, and what the key service was asked.
fn outcome(says: Exchanged, head: &Fields) -> (Outcome, Vec<Redemption>) {
    let issuer = *key(1).verifying_key().as_bytes();
    let config = Capability {
        audience: "gw".into(),
        issuers: vec![Issuer { kid: "k1".into(), issuer: "postern-keys".into(), key: issuer }],
        max_life: Duration::from_secs(900),
        past: Duration::from_secs(30),
        future: Duration::from_secs(5),
        nonce: NonceDemand::Never,
        invites: Some("/i".into()),
        cache: 4,
    };
    let tokens = Capabilities::new(&config, "acme", Rc::new(Nobodys)).unwrap();
    let service = Rc::new(Says(says, RefCell::default()));
    let exchanges: Rc<dyn Exchanges> = Rc::clone(&service) as _;
    let mut exchange = CapabilityInvites::new(&tokens, &exchanges).presented(head);
    let turn = exchange.start(Moment { now: NOW, entropy: Entropy([0; 32]) });
    let outcome = match turn {
        Turn::Answer(outcome) => outcome,
        Turn::Failed(fault) => Err(fault.into()),
        Turn::Ask(_) => Err(Denial::Internal(Ours::Unexpected)),
    };
    (outcome, service.1.take())
}

#[test]
fn the_service_is_asked_for_the_key_that_has_signed() {
    let token = token(2, |_| {});
    let (outcome, asked) = outcome(Ok(token.clone()), &head());
    let issued = outcome.unwrap();
    assert_eq!(issued.token, token);
    assert_eq!(issued.established.identity().document.as_deref(), Some("d1"));
    let [asked] = asked.as_slice() else { panic!("once") };
    assert_eq!(&asked.holder, key(2).verifying_key().as_bytes());
    assert_eq!((asked.audience.as_str(), asked.max_life.as_secs()), ("gw", 900));
}

#[test]
fn what_is_not_signed_by_the_key_that_it_names_asks_nobody() {
    let other = head().only("signature-input").map(<[u8]>::to_vec).unwrap();
    let other = String::from_utf8(other).unwrap();
    let keyid = |key: &SigningKey| {
        use base64::Engine;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes())
    };
    let another = other.replace(&keyid(&key(2)), &keyid(&key(3)));
    let none = other.replace(&format!(";keyid=\"{}\"", keyid(&key(2))), "");
    let small = other.replace(&keyid(&key(2)), "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let rows = [
        (without("postern-capability"), Denial::CredentialsMissing),
        (with("postern-capability", "inv_x"), Denial::InvalidToken(TokenReason::Syntax)),
        (without("signature"), Denial::InvalidToken(TokenReason::Proof)),
        (with("signature-input", &another), Denial::InvalidToken(TokenReason::ProofSignature)),
        (with("signature-input", &none), Denial::InvalidToken(TokenReason::Proof)),
        (with("signature-input", &small), Denial::InvalidToken(TokenReason::Proof)),
        (with(":path", "/j"), Denial::InvalidToken(TokenReason::ProofSignature)),
        (with("content-length", "3"), Denial::InvalidToken(TokenReason::ProofDigest)),
    ];
    for (row, (head, denial)) in rows.into_iter().enumerate() {
        let (outcome, asked) = outcome(Ok(token(2, |_| {})), &head);
        assert_eq!((outcome, asked.len()), (Err(denial), 0), "row {row}");
    }
}

#[test]
fn a_token_that_this_gate_would_not_take_is_not_handed_out() {
    for (row, token) in [
        token(3, |_| {}),
        token(2, |claims| claims.audience = Some("other".into())),
        token(2, |claims| claims.tenant = Some("other".into())),
        token(2, |claims| claims.issuer = Some("other".into())),
        token(2, |claims| claims.expires = Some(NOW.seconds())),
        token(2, |claims| claims.expires = Some(NOW.seconds() + 901)),
        "pct1.AAAA".to_owned(),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let (outcome, _) = outcome(Ok(token), &head());
        assert_eq!(outcome, Err(Denial::KeysUnavailable(KeysReason::Invites)), "row {row}");
    }
}

#[test]
fn a_refusal_is_one_answer_and_a_flood_another() {
    let refused = outcome(Err(NotExchanged::Refused), &head()).0;
    assert_eq!(refused, Err(Denial::InvalidToken(TokenReason::Invite)));
    assert_eq!(outcome(Err(NotExchanged::Rate), &head()).0, Err(Denial::RateLimited));
}
