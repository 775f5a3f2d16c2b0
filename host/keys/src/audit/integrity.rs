//! The service's check of its own chain, for `/audit/integrity`.
//!
//! Invariant: the same verifier as offline, over the stored rows and the last checkpoint, be
//! it in the database or in the copy beside it.

use ed25519_dalek::VerifyingKey;

use crate::audit::entry::Judge;
use crate::audit::export;
use crate::audit::verify::{Break, Report, Verifier};
use crate::fault::Fault;
use crate::store::{Connection, cosignatures};

/// A check under way, page by page.
pub struct Check<'a> {
    chain: Verifier<'a>,
    judge: Judge,
    after: i64,
    end: Option<Result<(), Break>>,
}

impl<'a> Check<'a> {
    /// Against the newest checkpoint of the database and of `kept`, the copy beside it.
    pub async fn begin(
        db: &mut Connection,
        key: &'a VerifyingKey,
        kept: Option<String>,
    ) -> Result<Self, Fault> {
        let mut chain = Verifier::new(key);
        let notes = [last_note(db).await?, kept];
        let noted = notes.iter().flatten().try_for_each(|note| chain.against(note));
        let judge = Judge::of_many(key);
        Ok(Self { chain, judge, after: 0, end: noted.is_err().then_some(noted) })
    }

    /// Verifies the next events; `false` when nothing is left to look at.
    pub async fn page(&mut self, db: &mut Connection) -> Result<bool, Fault> {
        if self.end.is_some() {
            return Ok(false);
        }
        let rows = export::page(db, self.after).await?;
        let Some(last) = rows.last().map(|row| row.n) else {
            self.end = Some(self.chain.finish(0));
            return Ok(false);
        };
        self.after = last;
        let mut entries = rows.into_iter().map(|row| self.judge.line(export::line(row, None)));
        let broken = entries.try_for_each(|entry| self.chain.push(entry));
        self.end = broken.is_err().then_some(broken);
        Ok(self.end.is_none())
    }

    /// What was found.
    pub fn report(self) -> Report {
        self.chain.report(self.end.unwrap_or(Ok(())))
    }
}

/// The newest checkpoint note, with what witnesses have signed of it.
pub async fn last_note(db: &mut Connection) -> Result<Option<String>, Fault> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT count FROM checkpoints ORDER BY count DESC LIMIT 1")
            .fetch_optional(&mut *db)
            .await?;
    match row {
        Some((count,)) => note_of(db, count).await,
        None => Ok(None),
    }
}

/// The note of the checkpoint over `count` events, with what witnesses have signed of it.
pub async fn note_of(db: &mut Connection, count: i64) -> Result<Option<String>, Fault> {
    let row: Option<(String,)> = sqlx::query_as("SELECT note FROM checkpoints WHERE count = $1")
        .bind(count)
        .fetch_optional(&mut *db)
        .await?;
    match row {
        Some((note,)) => cosignatures::under(db, count, note).await.map(Some),
        None => Ok(None),
    }
}
