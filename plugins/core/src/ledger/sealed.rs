//! How a record is sealed while it waits: AES-256-GCM under a key of its VM's own.
//!
//! Invariant: a key belongs to one VM's chain and a nonce is a place on it, so that no nonce
//! comes twice under a key; what opens is what that VM put at that place.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

use crate::mac::{LENGTH, MacKeys};

const LABEL: &[u8] = b"postern spill/1\0";
const TAG: usize = 16;

/// The key of one VM's records.
pub(super) struct RecordKey(Aes256Gcm);

impl RecordKey {
    /// The key that this VM seals with.
    pub(super) fn of(keys: &MacKeys, vm: &[u8; 16]) -> Self {
        Self::derived(keys.sign(LABEL, &[vm]))
    }

    /// The keys that another VM may have sealed with: the shared key may be in rotation.
    pub(super) fn each(keys: &MacKeys, vm: &[u8; 16]) -> Vec<Self> {
        keys.each(LABEL, &[vm]).into_iter().map(Self::derived).collect()
    }

    fn derived(key: [u8; LENGTH]) -> Self {
        let key = Zeroizing::new(key);
        Self(Aes256Gcm::new((&*key).into()))
    }

    /// `None` only for more bytes than AES-GCM takes.
    pub(super) fn seal(&self, seq: u64, record: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&nonce(seq), record).ok()
    }

    /// The record at this place; `None` for anything else.
    pub(super) fn open(&self, seq: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&nonce(seq), sealed).ok()
    }
}

/// Bytes that a record has once it is sealed.
pub(super) fn length(record: &[u8]) -> usize {
    record.len().saturating_add(TAG)
}

fn nonce(seq: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    let place = nonce.iter_mut().skip(4);
    place.zip(seq.to_be_bytes()).for_each(|(to, from)| *to = from);
    nonce.into()
}
