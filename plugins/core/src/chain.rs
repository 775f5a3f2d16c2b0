//! Hash chains: the edge's, of records, and the key service's, of events.
//!
//! Owns the two link functions and the head of a running edge chain. Knows nothing of
//! what a record says. Invariant: a link hashes the exact bytes that are stored, so
//! whoever verifies needs no parser.

use sha2::{Digest, Sha256};

/// SHA-256 over a label, the previous hash and the bytes.
pub type Hash = [u8; 32];

/// What the first link of any chain hashes as its predecessor.
pub const START: Hash = [0; 32];

/// `SHA-256("postern edge/1\0" || prev || bytes)`.
pub fn edge_link(prev: &Hash, bytes: &[u8]) -> Hash {
    link(b"postern edge/1\0", prev, bytes)
}

/// `SHA-256("audit/1\0" || prev || bytes)`: the key service's chain of events.
pub fn service_link(prev: &Hash, bytes: &[u8]) -> Hash {
    link(b"audit/1\0", prev, bytes)
}

fn link(label: &[u8], prev: &Hash, bytes: &[u8]) -> Hash {
    Sha256::new().chain_update(label).chain_update(prev).chain_update(bytes).finalize().into()
}

/// A running edge chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    head: Hash,
    next: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: START, next: 0 }
    }
}

impl Chain {
    /// Hash of the last record, [`START`] when there is none.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// Sequence number of the next record; the first is 0.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Adds a record. 2^64 records do not happen; the number would stay at its end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.head = edge_link(&self.head, bytes);
        self.next = self.next.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_fold_of_its_links() {
        let mut chain = Chain::default();
        chain.append(b"a");
        chain.append(b"b");
        let want = edge_link(&edge_link(&START, b"a"), b"b");
        assert_eq!((chain.head(), chain.next()), (want, 2));
    }

    #[test]
    fn a_link_hashes_label_predecessor_and_bytes() {
        let plain: Hash = Sha256::digest([b"audit/1\0".as_slice(), &[0; 32], b"x"].concat()).into();
        assert_eq!(service_link(&START, b"x"), plain);
        assert_ne!(edge_link(&START, b"x"), plain);
    }

    #[test]
    fn any_change_changes_every_later_head() {
        let head = |records: &[&[u8]]| {
            let mut chain = Chain::default();
            records.iter().for_each(|bytes| chain.append(bytes));
            chain.head()
        };
        let good = head(&[b"a", b"b", b"c"]);
        for bad in [&[b"a".as_slice(), b"x", b"c"][..], &[b"a", b"c"], &[b"b", b"a", b"c"]] {
            assert_ne!(head(bad), good);
        }
    }
}
