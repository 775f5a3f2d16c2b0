//! The tree over the stored events: its roots, and the parts of proofs.
//!
//! Leaf `n - 1` is the hash of event `n`. Of every 256 events the subtree's root is kept in
//! memory (32 bytes), and nothing in the database but the events themselves: a node that
//! somebody could bend there would bend checkpoints. Invariant: what is read is exactly the
//! events that were asked for, or a fault.

use std::ops::Range;

use tokio::sync::Mutex;

use crate::audit::merkle::{self, Growing, Hash};
use crate::fault::Fault;
use crate::store::{Connection, exact};

/// Height of the subtrees that are kept.
const HEIGHT: u32 = 8;
const BLOCK: u64 = 1 << HEIGHT;

/// The tree. Grows with the chain.
#[derive(Default)]
pub struct Tree {
    blocks: Mutex<Vec<Hash>>,
}

impl Tree {
    /// The root over the first `size` events.
    pub async fn root(&self, db: &mut Connection, size: u64) -> Result<Hash, Fault> {
        if size == 0 {
            return Ok(Growing::default().root());
        }
        self.part(db, 0..size).await
    }

    /// The root over each of these ranges of leaves.
    pub async fn parts(
        &self,
        db: &mut Connection,
        ranges: Vec<Range<u64>>,
    ) -> Result<Vec<Hash>, Fault> {
        let mut roots = Vec::with_capacity(ranges.len());
        for range in ranges {
            roots.push(self.part(db, range).await?);
        }
        Ok(roots)
    }

    async fn part(&self, db: &mut Connection, range: Range<u64>) -> Result<Hash, Fault> {
        self.keep(db, range.end).await?;
        let mut roots = Vec::new();
        for (height, start) in merkle::complete(range) {
            roots.push(match height.checked_sub(HEIGHT) {
                Some(above) => self.kept(start / BLOCK, 1 << above).await?,
                None => grown(leaves(db, start..start + (1 << height)).await?).root(),
            });
        }
        merkle::joined(&roots).ok_or(Fault::Malformed("range of events"))
    }

    /// The root over `count` kept subtrees from `first` on.
    async fn kept(&self, first: u64, count: u64) -> Result<Hash, Fault> {
        let blocks = self.blocks.lock().await;
        let range = usize::try_from(first).ok().zip(usize::try_from(first + count).ok());
        let part = range.and_then(|(first, end)| blocks.get(first..end));
        Ok(grown(part.ok_or(Fault::Malformed("range of events"))?.to_vec()).root())
    }

    /// Keeps what is complete below `end`.
    async fn keep(&self, db: &mut Connection, end: u64) -> Result<(), Fault> {
        let mut blocks = self.blocks.lock().await;
        loop {
            let start = blocks.len() as u64 * BLOCK;
            if start + BLOCK > end {
                return Ok(());
            }
            blocks.push(grown(leaves(db, start..start + BLOCK).await?).root());
        }
    }
}

fn grown(hashes: Vec<Hash>) -> Growing {
    let mut tree = Growing::default();
    hashes.into_iter().for_each(|hash| tree.push(hash));
    tree
}

/// The hashes of leaves.
async fn leaves(db: &mut Connection, range: Range<u64>) -> Result<Vec<Hash>, Fault> {
    let number = |n| i64::try_from(n).map_err(|_| Fault::Malformed("event number"));
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT hash FROM audit_events WHERE n > $1 AND n <= $2 ORDER BY n")
            .bind(number(range.start)?)
            .bind(number(range.end)?)
            .fetch_all(db)
            .await?;
    if rows.len() as u64 != range.end - range.start {
        return Err(Fault::Malformed("audit log: events are missing"));
    }
    let leaf =
        |(hash,): (Vec<u8>,)| exact::<32>(&hash, "event hash").map(|hash| merkle::leaf(&hash));
    rows.into_iter().map(leaf).collect()
}
