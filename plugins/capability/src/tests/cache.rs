//! The cache of chains: what it saves and what it must not.

use std::cell::Cell;

use super::fixture::{NOW, bare, context, full, further, issuers, token};
use crate::cache::Cache;
use crate::chain::{Context, IssuerKey};
use crate::claims::Claims;
use crate::key::{PublicKey, Signatures, Strict};
use crate::refusal::Refusal;

/// Counts verifications.
#[derive(Default)]
struct Counted(Cell<usize>);

impl Signatures for Counted {
    fn hold(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.set(self.0.get() + 1);
        Strict.hold(key, message, signature)
    }
}

fn named(id: u8) -> String {
    token(&[Claims { id: Some([id; 16]), ..bare() }])
}

#[test]
fn a_token_seen_again_costs_no_signature() {
    let (mut cache, counted, issuers) = (Cache::new(4), Counted::default(), issuers());
    let token = token(&[full(), further(1)]);
    let first = cache.verify(token.as_bytes(), &context(&issuers), &counted).unwrap();
    assert_eq!(counted.0.get(), 2);
    let second = cache.verify(token.as_bytes(), &context(&issuers), &counted).unwrap();
    assert_eq!((second, counted.0.get()), (first, 2));
}

#[test]
fn a_refused_token_is_not_kept() {
    let (mut cache, counted, issuers) = (Cache::new(4), Counted::default(), issuers());
    let mut bad = named(1);
    bad.replace_range(60..61, if &bad[60..61] == "A" { "B" } else { "A" });
    assert!(cache.verify(bad.as_bytes(), &context(&issuers), &counted).is_err());
    assert!(cache.is_empty());
}

#[test]
fn a_kept_chain_is_checked_against_where_and_when_it_is_used() {
    let issuers = issuers();
    let usual = context(&issuers);
    let moved: Vec<IssuerKey> = issuers
        .iter()
        .map(|key| IssuerKey { key: issuers[1].key.clone(), ..key.clone() })
        .collect();
    let rows = [
        (Context { now: NOW + 600, ..usual }, Refusal::Expired),
        (Context { tenant: "umbrella", ..usual }, Refusal::Tenant),
        (Context { audience: "https://other.test", ..usual }, Refusal::Audience),
        (Context { life: 60, ..usual }, Refusal::Life),
        (Context { issuers: &[], ..usual }, Refusal::UnknownIssuer),
        (Context { issuers: &moved, ..usual }, Refusal::Signature),
    ];
    for (context, refusal) in rows {
        let mut cache = Cache::new(4);
        let token = named(1);
        cache.verify(token.as_bytes(), &usual, &Strict).unwrap();
        assert_eq!(cache.verify(token.as_bytes(), &context, &Strict), Err(refusal));
        assert!(cache.is_empty(), "{refusal}");
    }
}

#[test]
fn the_least_recently_used_goes_first() {
    let (mut cache, counted, issuers) = (Cache::new(2), Counted::default(), issuers());
    let mut use_it = |id| {
        let before = counted.0.get();
        cache.verify(named(id).as_bytes(), &context(&issuers), &counted).unwrap();
        counted.0.get() - before
    };
    assert_eq!([1, 2, 1, 3, 1, 2].map(&mut use_it), [1, 1, 0, 1, 0, 1]);
    assert_eq!(cache.len(), 2);
}

#[test]
fn what_is_revoked_or_expired_is_dropped() {
    let (mut cache, issuers) = (Cache::new(8), issuers());
    let passed = token(&[full(), further(1)]);
    for token in [named(1), named(2), passed.clone()] {
        cache.verify(token.as_bytes(), &context(&issuers), &Strict).unwrap();
    }
    assert_eq!(cache.revoke(&[1; 16]), 1);
    assert_eq!(cache.revoke(&[0xa1; 16]), 1, "the id of a further block");
    assert_eq!(cache.expire(NOW + 599), 0);
    assert_eq!(cache.expire(NOW + 600), 1);
    assert!(cache.is_empty());
    cache.verify(passed.as_bytes(), &context(&issuers), &Strict).unwrap();
    cache.clear();
    assert!(cache.is_empty());
}

#[test]
fn a_cache_of_none_keeps_none() {
    let (mut cache, issuers) = (Cache::new(0), issuers());
    cache.verify(named(1).as_bytes(), &context(&issuers), &Strict).unwrap();
    assert!(cache.is_empty());
    let long = vec![b'a'; 4097];
    assert_eq!(cache.verify(&long, &context(&issuers), &Strict), Err(Refusal::TooLong));
}
