//! Capability tokens beside one plain strict verification of Ed25519, measured where they are
//! verified: natively, or as a Proxy-Wasm module in a gateway, one measurement a request.
//!
//! Invariant: both sides take turns, and the other side verifies the very bytes that ours has
//! to verify. What is ours includes reading: base64, CBOR, claims, fields, hashes.
#![forbid(unsafe_code)]
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::missing_panics_doc)]

#[cfg(target_arch = "wasm32")]
mod module;

use std::hint::black_box;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use postern_capability::cache::Cache;
use postern_capability::claims::Claims;
use postern_capability::form::Set;
use postern_capability::mint::{self, Unsigned};
use postern_capability::proof::{self, Request, Window};
use postern_capability::{Chain, Context, IssuerKey, Signatures, Strict, Tables, verify};

const NOW: u64 = 1_800_000_000;
const TENANT: &str = "acme";
const AUDIENCE: &str = "https://gateway.test";
/// About as long as what is signed in a block of the token, and in a proof.
const BLOCK: usize = 400;
const BASE: usize = 900;
/// How often each side runs before the other's turn.
const BURST: u32 = 20;

/// Microseconds of ours and of the other side.
pub type Figures = (f64, f64);

struct Fixture {
    issuers: [IssuerKey; 1],
    token: String,
    fields: mint::Fields,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

impl Fixture {
    /// A token as an agent has it, with so many blocks, and a request that it signed.
    fn new(blocks: u8) -> Self {
        let public = |seed| mint::public(&key(seed)).expect("a key");
        let issuer = IssuerKey { id: "k1".into(), issuer: "https://i.test".into(), key: public(1) };
        let set = |items: &[&str]| -> Option<Set> {
            Some(items.iter().map(|item| (*item).to_owned()).collect())
        };
        let claims = Claims {
            issuer: Some("https://i.test".into()),
            subject: Some("agent-7".into()),
            audience: Some(AUDIENCE.into()),
            expires: Some(NOW + 600),
            issued_at: Some(NOW),
            id: Some([1; 16]),
            holder: Some(public(2)),
            tenant: Some(TENANT.into()),
            organisation: Some("org-1".into()),
            scopes: set(&["documents:read", "documents:write"]),
            roles: set(&["editor"]),
            trust: Some(2),
            credentials: set(&["slack"]),
            hosts: set(&["api.slack.test"]),
            methods: set(&["GET", "POST"]),
            paths: set(&["/api/v1"]),
            ..Claims::default()
        };
        let mut token = mint::mint(&claims, "k1", &key(1)).expect("a token");
        for place in 1..blocks {
            let next = Claims {
                id: Some([place + 1; 16]),
                holder: Some(public(place + 2)),
                scopes: set(&["documents:read"]),
                ..Claims::default()
            };
            token = mint::attenuate(&token, next, &key(place + 1)).expect("a block");
        }
        let request = Unsigned {
            method: "GET",
            scheme: "https",
            authority: "gateway.test",
            target: "/api/v1/documents?page=2",
            token: &token,
            content: None,
            fields: &[],
        };
        let fields = mint::sign_request(&request, &key(blocks + 1), NOW, &[7; 16]);
        Self { issuers: [issuer], fields: fields.expect("a proof"), token }
    }

    fn context(&self) -> Context<'_> {
        let (issuers, now) = (&self.issuers[..], NOW);
        Context { tenant: TENANT, audience: AUDIENCE, issuers, life: 900, now }
    }

    fn chain(&self, signatures: &impl Signatures) -> Chain {
        verify(self.token.as_bytes(), &self.context(), signatures).expect("a chain")
    }

    fn prove(&self, chain: &Chain, signatures: &impl Signatures) {
        let request = Request {
            method: "GET",
            scheme: "https",
            authority: "gateway.test",
            target: "/api/v1/documents?page=2",
            token: &self.token,
            signature_input: &self.fields.signature_input,
            signature: &self.fields.signature,
            content_digest: None,
            has_content: false,
            fields: &[],
        };
        let window = Window::at(NOW);
        _ = black_box(proof::verify(&request, chain.holder(), window, signatures))
            .expect("a proof");
    }

    /// The first request with a token from an issuer: the chain, and with `proof` that too.
    fn first_sight(&self, turn: Duration, proof: bool) -> Figures {
        let tables = Tables::new(self.issuers.iter().map(|issuer| &issuer.key));
        turns(turn, BLOCK, || {
            let chain = black_box(self.chain(&tables));
            if proof {
                self.prove(&chain, &Strict);
            }
        })
    }

    /// A request with a token that was seen before, by a holder who was not (`often` is false)
    /// or was.
    fn seen(&self, turn: Duration, often: bool) -> Figures {
        let tables = Tables::new(self.issuers.iter().map(|issuer| &issuer.key));
        let mut cache = Cache::new(16);
        let mut once = |tables: &Tables| {
            let chain = cache.verify(self.token.as_bytes(), &self.context(), tables);
            let chain = chain.expect("a chain");
            if often { self.prove(&chain, tables) } else { self.prove(&chain, &Strict) }
        };
        (0..postern_capability::tables::OFTEN).for_each(|_| once(&tables));
        turns(turn, BASE, || once(&tables))
    }
}

/// The signature of an issuer alone.
fn signature(turn: Duration) -> Figures {
    let key = key(1);
    let public = mint::public(&key).expect("a key");
    let (tables, message) = (Tables::new([&public]), vec![b'm'; BLOCK]);
    let good = key.sign(&message).to_bytes();
    turns(turn, BLOCK, || assert!(tables.hold(&public, &message, &good)))
}

/// Microseconds of ours, and of one plain verification of so many bytes.
fn turns(turn: Duration, length: usize, mut ours: impl FnMut()) -> Figures {
    let key = key(9);
    let (public, message): (VerifyingKey, _) = (key.verifying_key(), vec![b'm'; length]);
    let good: Signature = key.sign(&message);
    let plain = || assert!(public.verify_strict(black_box(&message), &good).is_ok());
    let (mut least, begun) = ((f64::INFINITY, f64::INFINITY), Instant::now());
    while begun.elapsed() < turn || least.1.is_infinite() {
        least.0 = least.0.min(burst(&mut ours));
        least.1 = least.1.min(burst(plain));
    }
    least
}

/// Microseconds of one of some runs.
fn burst(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..BURST).for_each(|_| run());
    start.elapsed().as_secs_f64() * 1e6 / f64::from(BURST)
}

/// The measurement that a path names, as `/first/1/500` (blocks, milliseconds).
pub fn measured(path: &str) -> Option<Figures> {
    let mut words = path.split('/').skip(1);
    let (what, blocks) = (words.next()?, words.next()?.parse().ok()?);
    let turn = Duration::from_millis(words.next()?.parse().ok()?);
    let fixture = Fixture::new(blocks);
    match what {
        "signature" => Some(signature(turn)),
        "first" => Some(fixture.first_sight(turn, false)),
        "request" => Some(fixture.first_sight(turn, true)),
        "seen" => Some(fixture.seen(turn, false)),
        "often" => Some(fixture.seen(turn, true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measurement_gives_figures() {
        for what in ["signature", "first", "request", "seen", "often"] {
            let (ours, other) = measured(&format!("/{what}/2/1")).unwrap();
            assert!(ours > 0.0 && other > 0.0, "{what}: {ours} {other}");
        }
        assert_eq!(measured("/nothing/1/1"), None);
    }
}
