//! Merkle trees of RFC 6962, section 2.1: roots, inclusion proofs, consistency proofs.
//!
//! Pure: whoever makes a proof is told which ranges of leaves it needs and says their hashes;
//! whoever checks one gets hashes alone. Invariant: a proof of another length than the tree's
//! shape asks for is refused.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// A hash of the tree.
pub type Hash = [u8; 32];

/// `SHA-256(0x00 || data)`.
pub fn leaf(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// `SHA-256(0x01 || left || right)`.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows at its end: the roots of its complete subtrees, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growing {
    size: u64,
    peaks: Vec<Hash>,
}

impl Growing {
    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each one bit at the end of the size is a subtree that is complete now.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            hash = node(&left, &hash);
        }
        self.peaks.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root; of an empty tree the hash of nothing.
    pub fn root(&self) -> Hash {
        joined(&self.peaks).unwrap_or_else(|| Sha256::digest([]).into())
    }
}

/// A tree that is here whole, for many proofs.
pub struct Whole {
    /// Hashes of the complete subtrees of each height, leaves first.
    levels: Vec<Vec<Hash>>,
}

impl Whole {
    /// Of these hashes of leaves.
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let (pairs, _) = last.as_chunks::<2>();
            levels.push(pairs.iter().map(|[left, right]| node(left, right)).collect());
        }
        Self { levels }
    }

    /// The root over a range as [`complete`] takes it; `None` where it is empty or ends
    /// behind the last leaf.
    pub fn part(&self, range: Range<u64>) -> Option<Hash> {
        let subtree = |(height, start): (u32, u64)| {
            let place = usize::try_from(start.checked_shr(height)?).ok()?;
            self.levels.get(usize::try_from(height).ok()?)?.get(place).copied()
        };
        joined(&complete(range).into_iter().map(subtree).collect::<Option<Vec<Hash>>>()?)
    }
}

/// The root over subtrees that lie side by side, each larger than the next.
pub fn joined(peaks: &[Hash]) -> Option<Hash> {
    peaks.iter().copied().rev().reduce(|right, left| node(&left, &right))
}

/// The complete subtrees of a range of leaves that starts at a multiple of its own size
/// rounded up: height and the number of the first leaf, the largest first.
pub fn complete(range: Range<u64>) -> Vec<(u32, u64)> {
    let (mut start, mut parts) = (range.start, Vec::new());
    while start < range.end {
        let height = range.end.saturating_sub(start).ilog2();
        parts.push((height, start));
        start = start.saturating_add(1_u64.checked_shl(height).unwrap_or(u64::MAX));
    }
    parts
}

/// Where a range of at least two leaves is parted: the largest power of two below its size,
/// behind its start.
fn middle(range: &Range<u64>) -> u64 {
    let last = range.end.saturating_sub(range.start).saturating_sub(1);
    let half = last.checked_ilog2().and_then(|height| 1_u64.checked_shl(height));
    range.start.saturating_add(half.unwrap_or(1))
}

/// The ranges whose roots are the inclusion proof of leaf `index` in the first `size`; `None`
/// when there is no such leaf.
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    let mut range = (index < size).then_some(0..size)?;
    let mut proof = Vec::new();
    while range.end.saturating_sub(range.start) > 1 {
        let middle = middle(&range);
        let (near, far) = if index < middle {
            (range.start..middle, middle..range.end)
        } else {
            (middle..range.end, range.start..middle)
        };
        proof.push(far);
        range = near;
    }
    proof.reverse();
    Some(proof)
}

/// The ranges whose roots show that the first `old` leaves are the beginning of the first
/// `new`; `None` unless `0 < old <= new`.
pub fn consistency(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    let mut range = (0 < old && old <= new).then_some(0..new)?;
    let mut proof = Vec::new();
    while range.end != old {
        let middle = middle(&range);
        let (near, far) = if old <= middle {
            (range.start..middle, middle..range.end)
        } else {
            (middle..range.end, range.start..middle)
        };
        proof.push(far);
        range = near;
    }
    // The old root itself is known to whoever checks.
    if range.start > 0 {
        proof.push(range);
    }
    proof.reverse();
    Some(proof)
}

/// The root that a leaf's hash and its proof lead to.
pub fn root_of_inclusion(index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    let ranges = inclusion(index, size)?;
    if ranges.len() != proof.len() {
        return None;
    }
    let climb = |hash: Hash, (range, sibling): (&Range<u64>, &Hash)| {
        if range.start > index { node(&hash, sibling) } else { node(sibling, &hash) }
    };
    Some(ranges.iter().zip(proof).fold(leaf, climb))
}

/// Whether the tree of `new` leaves begins with the one of `old`.
pub fn is_consistent(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let Some(ranges) = consistency(old.0, new.0) else { return false };
    if ranges.len() != proof.len() {
        return false;
    }
    let mut steps = ranges.iter().zip(proof);
    // Where both climb from: the old tree, or its last subtree when it is not complete.
    let start = if old.0.is_power_of_two() || old.0 == new.0 {
        old.1
    } else {
        steps.next().map_or(old.1, |(_, hash)| *hash)
    };
    let (mut one, mut other) = (start, start);
    for (range, sibling) in steps {
        if range.end <= old.0 {
            one = node(sibling, &one);
            other = node(sibling, &other);
        } else {
            other = node(&other, sibling);
        }
    }
    (one, other) == (old.1, new.1)
}

#[cfg(test)]
mod tests {
    use postern_core::hex;

    use super::*;

    /// The leaves, roots and proofs that implementations of Certificate Transparency test
    /// with (transparency-dev/merkle, `proof/verify_test.go`).
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    const B: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const E: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const GH: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const EF: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    /// Index from 0, size, proof.
    const INCLUDED: [(u64, u64, &[&str]); 4] = [
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                B,
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (5, 8, &[E, GH, ROOTS[3]]),
        (2, 3, &[ROOTS[1]]),
        (1, 5, &[ROOTS[0], B, E]),
    ];
    const CONSISTENT: [(u64, u64, &[&str]); 5] = [
        (1, 1, &[]),
        (1, 8, INCLUDED[0].2),
        (6, 8, &[EF, GH, ROOTS[3]]),
        (2, 5, &[B, E]),
        (6, 7, &[EF, "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f", ROOTS[3]]),
    ];

    fn hash(text: &str) -> Hash {
        hex::read(text.as_bytes()).unwrap()
    }

    fn hashes(texts: &[&str]) -> Vec<Hash> {
        texts.iter().map(|text| hash(text)).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Growing::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    fn roots(leaves: &[Hash], ranges: &[Range<u64>]) -> Vec<Hash> {
        let tree = Whole::new(leaves.to_vec());
        let part = |range: &Range<u64>| {
            let hash = root(&leaves[range.start as usize..range.end as usize]);
            assert_eq!(tree.part(range.clone()), Some(hash));
            hash
        };
        ranges.iter().map(part).collect()
    }

    #[test]
    fn the_roots_are_those_of_certificate_transparency() {
        let leaves = LEAVES.map(leaf);
        for (size, wanted) in (1..).zip(ROOTS) {
            assert_eq!(root(&leaves[..size]), hash(wanted), "{size}");
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(root(&[]), hash(empty));
    }

    #[test]
    fn the_proofs_are_those_of_certificate_transparency() {
        let leaves = LEAVES.map(leaf);
        for (index, size, proof) in INCLUDED {
            assert_eq!(roots(&leaves, &inclusion(index, size).unwrap()), hashes(proof));
            let own = leaves[index as usize];
            let led = root_of_inclusion(index, size, own, &hashes(proof));
            assert_eq!(led, Some(hash(ROOTS[size as usize - 1])));
        }
        let tree = |size: u64| (size, hash(ROOTS[size as usize - 1]));
        for (old, new, proof) in CONSISTENT {
            assert_eq!(roots(&leaves, &consistency(old, new).unwrap()), hashes(proof));
            assert!(is_consistent(tree(old), tree(new), &hashes(proof)), "{old} {new}");
        }
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_a_changed_one_does_not() {
        let leaves: Vec<Hash> = (0..33_u8).map(|n| leaf(&[n])).collect();
        let tree = |size: u64| (size, root(&leaves[..size as usize]));
        for new in 1..=33 {
            for index in 0..new {
                let proof = roots(&leaves, &inclusion(index, new).unwrap());
                let led =
                    |proof: &[Hash]| root_of_inclusion(index, new, leaves[index as usize], proof);
                assert_eq!(led(&proof), Some(tree(new).1));
                for bad in changed(&proof) {
                    assert_ne!(led(&bad), Some(tree(new).1), "{index} {new}");
                }
                let old = index + 1;
                let proof = roots(&leaves, &consistency(old, new).unwrap());
                assert!(is_consistent(tree(old), tree(new), &proof), "{old} {new}");
                for bad in changed(&proof) {
                    assert!(!is_consistent(tree(old), tree(new), &bad), "{old} {new}");
                }
                assert!(!is_consistent((old, [7; 32]), tree(new), &proof));
                assert!(!is_consistent(tree(old), (new, [7; 32]), &proof));
            }
        }
        assert_eq!((inclusion(3, 3), consistency(0, 3), consistency(4, 3)), (None, None, None));
    }

    /// One hash changed, one more, one less.
    fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all: Vec<Vec<Hash>> = (0..proof.len())
            .map(|at| {
                let mut proof = proof.to_vec();
                proof[at][31] ^= 1;
                proof
            })
            .collect();
        all.push([proof, &[[0; 32]]].concat());
        all.extend(proof.split_last().map(|(_, rest)| rest.to_vec()));
        all
    }

    #[test]
    fn a_range_is_made_of_its_complete_subtrees() {
        assert_eq!(complete(0..7), [(2, 0), (1, 4), (0, 6)]);
        assert_eq!(complete(8..13), [(2, 8), (0, 12)]);
        assert_eq!(complete(5..5), []);
    }
}
