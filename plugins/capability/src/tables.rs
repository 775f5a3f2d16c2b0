//! Strict verification, faster for keys that are met again.
//!
//! Issuer keys get a large table each when they are configured. The key of a holder gets a
//! small one after [`OFTEN`] signatures of it held, in a pool of [`HOLDERS`]; so a caller
//! with good tokens can make the gateway spend one tenth more on him, and nobody else can.
//!
//! Invariant: the verdict is [`Strict`]'s on every input. What may take less time is listed in
//! [`crate::comb`]: public keys, signatures and messages, no secret.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Add, Neg};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest, Sha512};

use crate::comb::{Full, Small};
use crate::key::{PublicKey, Signatures, Strict};

/// Most issuer keys with a table; each takes 640 KiB. Keys behind these are verified plainly.
pub const ISSUERS: usize = 4;
/// Most holder keys with a table, of 25 KiB.
pub const HOLDERS: usize = 32;
/// Signatures that have to hold before a holder's key gets a table, which costs about one.
pub const OFTEN: u32 = 8;

type Encoded = [u8; 32];

/// Tables of a verifier.
pub struct Tables {
    base: Full,
    issuers: Vec<(Encoded, Full)>,
    holders: RefCell<Pool>,
}

impl Tables {
    /// Tables for the first [`ISSUERS`] of these keys.
    pub fn new<'k>(issuers: impl IntoIterator<Item = &'k PublicKey>) -> Self {
        let mut known: Vec<(Encoded, Full)> = Vec::new();
        for key in issuers {
            let new = known.iter().all(|(encoded, _)| encoded != key.as_bytes());
            if new && known.len() < ISSUERS {
                known.push((*key.as_bytes(), Full::new(&key.point().neg())));
            }
        }
        let base = Full::new(&ED25519_BASEPOINT_POINT);
        Self { base, issuers: known, holders: RefCell::default() }
    }

    /// Drops the tables of holders that were not met lately, down to `most`.
    pub fn shrink(&self, most: usize) {
        if let Ok(mut pool) = self.holders.try_borrow_mut() {
            while pool.0.len() > most {
                pool.drop_oldest();
            }
        }
    }

    /// By a table of the holder's, if there is one.
    fn by_holder(&self, key: &PublicKey, parts: &Parts<'_>) -> Option<bool> {
        let mut pool = self.holders.try_borrow_mut().ok()?;
        let comb = pool.met(key.as_bytes())?;
        Some(parts.hold(&self.base, |number| comb.times(number)))
    }

    fn note(&self, key: &PublicKey) {
        if let Ok(mut pool) = self.holders.try_borrow_mut() {
            pool.note(key);
        }
    }
}

impl Signatures for Tables {
    fn hold(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let Some(parts) = Parts::read(key, message, signature) else { return false };
        if let Some((_, comb)) = self.issuers.iter().find(|(known, _)| known == key.as_bytes()) {
            return parts.hold(&self.base, |number| comb.times(number));
        }
        if let Some(held) = self.by_holder(key, &parts) {
            return held;
        }
        let held = Strict.hold(key, message, signature);
        if held {
            self.note(key);
        }
        held
    }
}

/// A signature in its parts (RFC 8032, 5.1.7).
struct Parts<'a> {
    r: &'a [u8],
    s: Scalar,
    /// The hash of `R`, key and message.
    k: Scalar,
}

impl<'a> Parts<'a> {
    /// `None` when `S` is not below the group order.
    fn read(key: &PublicKey, message: &[u8], signature: &'a [u8; 64]) -> Option<Self> {
        let (r, s) = signature.split_first_chunk::<32>()?;
        let s = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
        let hash = Sha512::new().chain_update(r).chain_update(key.as_bytes());
        let hash: [u8; 64] = hash.chain_update(message).finalize().into();
        Some(Self { r, s, k: Scalar::from_bytes_mod_order_wide(&hash) })
    }

    /// Whether `R` is the encoding of `S` times the base less `k` times the key. What is
    /// compared is the one canonical encoding of that point, so that no other is taken; and
    /// since the points are the same, that one's order is `R`'s. A [`PublicKey`] is of large
    /// order already.
    fn hold(&self, base: &Full, minus_key: impl FnOnce(&Scalar) -> EdwardsPoint) -> bool {
        let point = base.times(&self.s).add(minus_key(&self.k));
        point.compress().as_bytes() == self.r && !point.is_small_order()
    }
}

struct Holder {
    comb: Option<Small>,
    held: u32,
    used: u64,
}

/// Holder keys that were met lately.
#[derive(Default)]
struct Pool(BTreeMap<Encoded, Holder>, u64);

impl Pool {
    fn met(&mut self, key: &Encoded) -> Option<&Small> {
        self.1 = self.1.saturating_add(1);
        let holder = self.0.get_mut(key)?;
        holder.used = self.1;
        holder.comb.as_ref()
    }

    /// A signature of this key held, and there is no table.
    fn note(&mut self, key: &PublicKey) {
        if !self.0.contains_key(key.as_bytes()) && self.0.len() >= HOLDERS {
            self.drop_oldest();
        }
        let fresh = Holder { comb: None, held: 0, used: self.1 };
        let holder = self.0.entry(*key.as_bytes()).or_insert(fresh);
        holder.held = holder.held.saturating_add(1);
        if holder.held >= OFTEN && holder.comb.is_none() {
            holder.comb = Some(Small::new(&key.point().neg()));
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, holder)| holder.used).map(|(key, _)| *key);
        oldest.map(|key| self.0.remove(&key));
    }
}

#[cfg(test)]
mod tests;
