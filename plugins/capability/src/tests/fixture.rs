//! Fixed keys, claims and a verifier.

use ed25519_dalek::SigningKey;

use crate::chain::{Chain, Context, IssuerKey, LIFE, verify};
use crate::claims::Claims;
use crate::form::Set;
use crate::key::{PublicKey, Strict};
use crate::mint;
use crate::refusal::Refusal;

pub const NOW: u64 = 1_800_000_000;
pub const KEY_ID: &str = "issuer-1";
pub const TENANT: &str = "acme";
pub const AUDIENCE: &str = "https://gateway.test";

/// The issuer's key, then one for each holder.
pub fn key(place: u8) -> SigningKey {
    SigningKey::from_bytes(&[place.wrapping_add(0x11); 32])
}

pub fn public(place: u8) -> PublicKey {
    mint::public(&key(place)).unwrap()
}

pub fn issuers() -> Vec<IssuerKey> {
    let issuer =
        |id: &str, key| IssuerKey { id: id.into(), issuer: "https://issuer.test".into(), key };
    vec![issuer(KEY_ID, public(0)), issuer("issuer-2", public(20))]
}

pub fn context(issuers: &[IssuerKey]) -> Context<'_> {
    Context { tenant: TENANT, audience: AUDIENCE, issuers, life: LIFE, now: NOW }
}

pub fn check(token: &str) -> Result<Chain, Refusal> {
    verify(token.as_bytes(), &context(&issuers()), &Strict)
}

pub fn set(items: &[&str]) -> Option<Set> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

/// The claims that a first block must have, and nothing else.
pub fn bare() -> Claims {
    Claims {
        issuer: Some("https://issuer.test".into()),
        subject: Some("ada".into()),
        audience: Some(AUDIENCE.into()),
        expires: Some(NOW + 600),
        issued_at: Some(NOW),
        id: Some([0xa0; 16]),
        holder: Some(public(1)),
        tenant: Some(TENANT.into()),
        ..Claims::default()
    }
}

/// A first block that says something about everything.
pub fn full() -> Claims {
    Claims {
        not_before: Some(NOW - 1),
        organisation: Some("org-7".into()),
        scopes: set(&["documents:read", "documents:write"]),
        roles: set(&["editor", "viewer"]),
        trust: Some(2),
        clearance: Some(40),
        credentials: set(&["slack", "stripe"]),
        hosts: set(&["api.slack.test", "api.stripe.test:8443"]),
        methods: set(&["GET", "POST"]),
        paths: set(&["/api/v1", "/health"]),
        tools: set(&["search", "write_file"]),
        models: set(&["large", "small"]),
        budget: Some(1_000),
        document: Some("doc-1".into()),
        approval: Some(1),
        depth: Some(3),
        ..bare()
    }
}

/// A further block that says only what it must; `place` counts from one.
pub fn further(place: u8) -> Claims {
    Claims { id: Some([0xa0 + place; 16]), holder: Some(public(place + 1)), ..Claims::default() }
}

/// A token of these blocks, each signed as it should be.
pub fn token(blocks: &[Claims]) -> String {
    let mut token = mint::mint(&blocks[0], KEY_ID, &key(0)).unwrap();
    for (place, claims) in (1u8..).zip(&blocks[1..]) {
        token = mint::attenuate(&token, claims.clone(), &key(place)).unwrap();
    }
    token
}
