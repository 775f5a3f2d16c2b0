//! Tiles (C2SP tlog-tiles): the tree as static files of 256 hashes, and the leaves as files
//! of 256 entries.
//!
//! Owns paths, which files a log that grows has to write, and reading hashes back; whoever
//! has the files answers for a path. Invariant: a file of another length than its path says
//! is refused.

use std::ops::Range;

use crate::decimal;
use crate::merkle::{self, Hash};

/// Hashes of a full tile, entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Heights of the tree that a level of tiles spans.
const HEIGHT: u32 = 8;

/// A file of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// 0 has the leaves' hashes; each of the next has the roots of full tiles below.
    pub level: u8,
    /// Number within its level.
    pub index: u64,
    /// Hashes in it, 1 to 256.
    pub width: u64,
}

/// A file of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Number.
    pub index: u64,
    /// Entries in it, 1 to 256.
    pub width: u64,
}

impl Tile {
    /// `tile/<level>/<index>[.p/<width>]`.
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, place(self.index, self.width))
    }

    /// The hashes of a file.
    pub fn read(&self, bytes: &[u8]) -> Option<Vec<Hash>> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let whole = rest.is_empty() && u64::try_from(hashes.len()) == Ok(self.width);
        whole.then(|| hashes.to_vec())
    }
}

impl Bundle {
    /// `tile/entries/<index>[.p/<width>]`.
    pub fn path(&self) -> String {
        format!("tile/entries/{}", place(self.index, self.width))
    }

    /// The entries of a file.
    pub fn read(&self, mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut entries = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            entries.push(entry.to_vec());
            bytes = rest;
        }
        let whole = bytes.is_empty() && u64::try_from(entries.len()) == Ok(self.width);
        whole.then_some(entries)
    }
}

/// An entry with its length in front; `None` when it is longer than such a length can say.
pub fn entry(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).ok()?;
    Some([length.to_be_bytes().as_slice(), bytes].concat())
}

/// `x001/x234/067`, and `.p/<width>` behind it for a file that is not full.
fn place(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH { format!("{path}.p/{width}") } else { path }
}

/// The number in such a path, and its width.
pub fn read_place(path: &str) -> Option<(u64, u64)> {
    let (path_of, width) = match path.split_once(".p/") {
        Some((path, width)) => (path, decimal(width).filter(|it| (1..WIDTH).contains(it))?),
        None => (path, WIDTH),
    };
    let digits: String = path_of.split('/').map(|part| part.trim_start_matches('x')).collect();
    let index = digits.parse().ok()?;
    (place(index, width) == path).then_some((index, width))
}

/// The tiles that a log has at `size` and had not, or not so full, at `old`.
pub fn grown(old: u64, size: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for level in 0_u8..8 {
        let [had, has] = [old, size].map(|leaves| at_level(leaves, level));
        if has == 0 {
            break;
        }
        let numbers = numbers(had, has);
        tiles.extend(numbers.map(|index| Tile { level, index, width: width(index, has) }));
    }
    tiles
}

/// The bundles, as [`grown`] says for tiles.
pub fn grown_bundles(old: u64, size: u64) -> Vec<Bundle> {
    numbers(old, size).map(|index| Bundle { index, width: width(index, size) }).collect()
}

/// Numbers of the files that have grown from `old` to `new` rows.
fn numbers(old: u64, new: u64) -> std::ops::Range<u64> {
    if old < new { old / WIDTH..new.div_ceil(WIDTH) } else { 0..0 }
}

/// Complete subtrees of the height of a level.
fn at_level(leaves: u64, level: u8) -> u64 {
    leaves.checked_shr(HEIGHT.saturating_mul(level.into())).unwrap_or(0)
}

/// How many of `count` are in the file of this number.
fn width(index: u64, count: u64) -> u64 {
    count.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH)
}

/// The bytes of a tile; `root` says the root over a range of leaves that is complete.
pub fn hashes_of(tile: Tile, root: impl Fn(Range<u64>) -> Option<Hash>) -> Option<Vec<u8>> {
    let first = tile.index.checked_mul(WIDTH)?;
    let leaves = 1_u64.checked_shl(HEIGHT.saturating_mul(tile.level.into()))?;
    let mut bytes = Vec::new();
    for at in first..first.checked_add(tile.width)? {
        let start = at.checked_mul(leaves)?;
        bytes.extend(root(start..start.checked_add(leaves)?)?);
    }
    Some(bytes)
}

/// The root over a range of leaves, as the proofs of [`merkle`] ask for, in a log of `size`
/// whose tiles `read` has; `None` when a tile is missing or has another length.
pub fn root_of(
    range: Range<u64>,
    size: u64,
    read: &mut dyn FnMut(Tile) -> Option<Vec<u8>>,
) -> Option<Hash> {
    let mut peaks = Vec::new();
    for (height, start) in merkle::complete(range) {
        peaks.push(subtree(height, start, size, read)?);
    }
    merkle::joined(&peaks)
}

/// The root of a complete subtree: of the hashes of one tile that are under it.
fn subtree(
    height: u32,
    start: u64,
    size: u64,
    read: &mut dyn FnMut(Tile) -> Option<Vec<u8>>,
) -> Option<Hash> {
    let level = u8::try_from(height / HEIGHT).ok()?;
    let first = at_level(start, level);
    let index = first / WIDTH;
    let tile = Tile { level, index, width: width(index, at_level(size, level)) };
    let hashes = tile.read(&read(tile)?)?;
    let from = usize::try_from(first % WIDTH).ok()?;
    let count = 1_usize.checked_shl(height % HEIGHT)?;
    let mut layer = hashes.get(from..from.checked_add(count)?)?.to_vec();
    while layer.len() > 1 {
        let (pairs, _) = layer.as_chunks::<2>();
        layer = pairs.iter().map(|[left, right]| merkle::node(left, right)).collect();
    }
    layer.first().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::merkle::Whole;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |level, index, width| Tile { level, index, width }.path();
        assert_eq!(tile(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile(1, 0, 1), "tile/1/000.p/1");
        assert_eq!(Bundle { index: 1000, width: 256 }.path(), "tile/entries/x001/000");
        assert_eq!(read_place("x001/x234/067"), Some((1_234_067, 256)));
        assert_eq!(read_place("000.p/255"), Some((0, 255)));
        for bad in ["0", "000.p/0", "000.p/256", "001/067", "x001/67", "../000", "", "x000/001"] {
            assert_eq!(read_place(bad), None, "{bad}");
        }
    }

    /// Grows a log by steps of other sizes and keeps its files.
    fn files(size: u64) -> HashMap<String, Vec<u8>> {
        let whole = whole(size);
        let (mut files, mut old) = (HashMap::new(), 0);
        for new in [1, 2, 255, 256, 257, 600, 70_000].into_iter().filter(|new| *new <= size) {
            for tile in grown(old, new) {
                files.insert(tile.path(), hashes_of(tile, |range| whole.part(range)).unwrap());
            }
            old = new;
        }
        files
    }

    fn whole(size: u64) -> Whole {
        Whole::new((0..size).map(|n| merkle::leaf(&n.to_be_bytes())).collect())
    }

    #[test]
    fn every_range_of_a_proof_is_read_from_tiles() {
        let (size, whole) = (70_000, whole(70_000));
        let files = files(size);
        let mut read = |tile: Tile| files.get(&tile.path()).cloned();
        for index in [0, 255, 256, 65_535, 65_536, 69_999] {
            for range in merkle::inclusion(index, size).unwrap() {
                assert_eq!(root_of(range.clone(), size, &mut read), whole.part(range));
            }
        }
        for old in [1, 2, 257, 600, 65_536, 65_537] {
            for range in merkle::consistency(old, size).unwrap() {
                assert_eq!(root_of(range.clone(), size, &mut read), whole.part(range));
            }
        }
        assert_eq!(root_of(0..size, size, &mut read), whole.part(0..size));
        assert_eq!(root_of(0..size, size, &mut |_| None), None);
        let mut short = |tile: Tile| files.get(&tile.path()).map(|file| file[1..].to_vec());
        assert_eq!(root_of(0..size, size, &mut short), None);
    }

    #[test]
    fn only_what_grew_is_written() {
        let paths = |old, new| grown(old, new).iter().map(Tile::path).collect::<Vec<_>>();
        assert_eq!(paths(0, 1), ["tile/0/000.p/1"]);
        assert_eq!(paths(255, 256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(paths(256, 257), ["tile/0/001.p/1"]);
        assert_eq!((paths(7, 7), grown_bundles(7, 7)), (vec![], vec![]));
        assert_eq!(grown_bundles(255, 257).len(), 2);
    }

    #[test]
    fn bundles_are_read_whole_or_not_at_all() {
        let file = [entry(b"a").unwrap(), entry(b"").unwrap()].concat();
        let bundle = Bundle { index: 0, width: 2 };
        assert_eq!(bundle.read(&file), Some(vec![b"a".to_vec(), vec![]]));
        assert_eq!(Bundle { width: 3, ..bundle }.read(&file), None);
        assert_eq!(bundle.read(&file[..4]), None);
        assert_eq!(bundle.read(&[file.as_slice(), &[0]].concat()), None);
        assert_eq!(entry(&[0; 65_536]), None);
    }
}
