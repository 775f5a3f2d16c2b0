//! Challenges that are answered together: one report for many nonces (SPEC section 3).
//!
//! Owns how nonces become the one value that R binds, and how each asker finds its own in
//! it. Invariant: who accepts a path knows that the value was made after its nonce was: a
//! nonce has at most 64 bytes and a node has 65, so neither stands in for the other.

use sha2::{Digest, Sha256};

/// Most hashes of a path: [`MOST`] challenges.
const DEPTH: usize = 10;
/// Most challenges that are answered together.
pub const MOST: usize = 1 << DEPTH;

/// A hash of the tree.
pub type Hash = [u8; 32];

/// SHA-256 of the nonce's bytes.
pub fn leaf(nonce: &[u8]) -> Hash {
    Sha256::digest(nonce).into()
}

/// The two in ascending order: a path needs no sides.
fn node(one: &Hash, other: &Hash) -> Hash {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    Sha256::new().chain_update([1]).chain_update(low).chain_update(high).finalize().into()
}

/// The value that `leaf` leads to by `path`.
pub fn root(leaf: Hash, path: &[Hash]) -> Hash {
    path.iter().fold(leaf, |hash, sibling| node(&hash, sibling))
}

/// The value for `leaves`, and the path of each to it. With one leaf it is the leaf.
pub fn together(leaves: &[Hash]) -> (Hash, Vec<Vec<Hash>>) {
    let mut paths = vec![Vec::new(); leaves.len()];
    let mut level = leaves.to_vec();
    let mut height = 0_u32;
    while level.len() > 1 {
        for (index, path) in paths.iter_mut().enumerate() {
            let place = index.checked_shr(height).unwrap_or_default();
            path.extend(level.get(place ^ 1));
        }
        // The last of an odd number goes up as it is.
        let up = level.chunks(2).map(|pair| match pair {
            [one, other] => node(one, other),
            _ => pair.first().copied().unwrap_or_default(),
        });
        level = up.collect();
        height = height.saturating_add(1);
    }
    (level.first().copied().unwrap_or_default(), paths)
}

/// Member `path`: the hashes, one after the other.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    ((1..=DEPTH).contains(&hashes.len()) && rest.is_empty()).then(|| hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nonce_leads_to_the_one_value_and_no_other_does() {
        for count in [1, 2, 3, 5, 8, 9, 1000, MOST] {
            let leaves: Vec<Hash> = (0..count).map(|n| leaf(&n.to_be_bytes())).collect();
            let (value, paths) = together(&leaves);
            for (leaf, path) in leaves.iter().zip(&paths) {
                assert!(path.len() <= DEPTH);
                assert_eq!(root(*leaf, path), value, "{count}");
            }
            assert!(count == 1 || root(leaf(b"another"), &paths[0]) != value);
        }
        assert_eq!(together(&[[7; 32]]), ([7; 32], vec![vec![]]));
    }

    #[test]
    fn a_path_is_one_to_ten_whole_hashes() {
        assert_eq!(read(&[7; 64]), Some(vec![[7; 32]; 2]));
        for length in [0, 31, 33, 11 * 32] {
            assert_eq!(read(&vec![7; length]), None, "{length}");
        }
    }
}
