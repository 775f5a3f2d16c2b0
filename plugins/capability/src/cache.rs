//! Chains that were verified before, so that a token seen again costs no signature.
//!
//! Knows neither clock nor revocation feed: both are told to it. Invariant: a chain is
//! found only for the very bytes it was verified from, and only while [`Chain::check`]
//! holds; how many are kept is bounded.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::chain::{self, Chain, Context};
use crate::key::Signatures;
use crate::refusal::Refusal;

type Key = [u8; 32];

struct Entry {
    chain: Chain,
    used: u64,
}

/// The most recently used chains.
pub struct Cache {
    entries: BTreeMap<Key, Entry>,
    /// Keys by when they were used last; each entry has one.
    order: BTreeMap<u64, Key>,
    uses: u64,
    most: usize,
}

impl Cache {
    /// Keeps at most `most` chains.
    pub fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), order: BTreeMap::new(), uses: 0, most }
    }

    /// The chain of a token, verified now or before.
    pub fn verify(
        &mut self,
        token: &[u8],
        context: &Context<'_>,
        signatures: &impl Signatures,
    ) -> Result<Chain, Refusal> {
        // A longer text is no token; hashing it would only cost time.
        if token.len() > crate::token::LENGTH {
            return Err(Refusal::TooLong);
        }
        let key: Key = Sha256::digest(token).into();
        if let Some(chain) = self.find(&key, context) {
            return Ok(chain);
        }
        let chain = chain::verify(token, context, signatures)?;
        self.insert(key, chain.clone());
        Ok(chain)
    }

    /// A kept chain that is good here and now, under a key that its issuer still has.
    fn find(&mut self, key: &Key, context: &Context<'_>) -> Option<Chain> {
        let entry = self.entries.get(key)?;
        if !context.issuers.contains(entry.chain.issuer()) || entry.chain.check(context).is_err() {
            self.remove(key);
            return None;
        }
        self.touch(key)
    }

    fn touch(&mut self, key: &Key) -> Option<Chain> {
        self.uses = self.uses.saturating_add(1);
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        self.order.insert(self.uses, *key);
        entry.used = self.uses;
        Some(entry.chain.clone())
    }

    fn insert(&mut self, key: Key, chain: Chain) {
        if self.most == 0 {
            return;
        }
        self.remove(&key);
        if self.entries.len() >= self.most {
            self.drop_oldest();
        }
        self.uses = self.uses.saturating_add(1);
        self.order.insert(self.uses, key);
        self.entries.insert(key, Entry { chain, used: self.uses });
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.entries.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
        }
    }

    /// Drops chains: those that a revocation touches, those that have expired. How many.
    pub fn drop_where(&mut self, mut gone: impl FnMut(&Chain) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !gone(&entry.chain));
        let entries = &self.entries;
        self.order.retain(|_, key| entries.contains_key(key));
        before.saturating_sub(self.entries.len())
    }

    /// Drops what has expired.
    pub fn expire(&mut self, now: u64) -> usize {
        self.drop_where(|chain| chain.right().expires <= now)
    }

    /// Drops every token with a block of this id.
    pub fn revoke(&mut self, id: &[u8; 16]) -> usize {
        self.drop_where(|chain| chain.ids().contains(id))
    }

    /// Drops everything: issuer keys have changed.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// How many chains are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
