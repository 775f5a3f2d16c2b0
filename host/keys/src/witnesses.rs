//! Witnesses of the audit log (C2SP tlog-witness): others sign its checkpoints, as long as
//! each continues the one before.
//!
//! Owns when which witness is asked, and what its answers mean. Invariant: only a line that the
//! witness's key verifies is kept; a witness that is slow, down or says no holds nothing up, and a
//! no that means a bent log is said at the highest level.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;
use postern_tlog::witness::AddCheckpoint;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::merkle;
use crate::config::WitnessAt;
use crate::fault::Fault;
use crate::outgoing::agent;
use crate::service::Service;
use crate::store::{Reach, cosignatures};

/// Least time between two questions to a witness that answers.
const EVERY: Duration = Duration::from_secs(10);
/// Time until one that failed is asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Longest call, and largest answer.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: u64 = 8 << 10;

/// A witness, and where this process is with it.
pub(crate) struct Asked {
    at: WitnessAt,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// The size that it is believed to have.
    old: u64,
    /// Size of the last checkpoint that it has signed for us.
    signed: Option<u64>,
    not_before: UnixMillis,
}

/// What a witness said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// A line that its key verifies.
    Signed(String),
    /// It has seen another size.
    Seen(u64),
    /// It has seen another log.
    Fork,
    /// Anything else, or nothing.
    Failed(String),
}

impl Asked {
    pub(crate) fn new(at: &WitnessAt) -> Self {
        let state = State { old: 0, signed: None, not_before: UnixMillis(0) };
        Self { at: at.clone(), state: Mutex::new(state) }
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The size to begin at, if it is to be asked about a log of `size` now. The log may be
    /// shorter than what it signed: then it is asked too, and says so.
    fn due(&self, size: u64, now: UnixMillis) -> Option<u64> {
        let state = self.state();
        let asked = now >= state.not_before && state.signed != Some(size);
        asked.then_some(state.old.min(size))
    }

    /// Blocking.
    fn ask(&self, question: &AddCheckpoint) -> Said {
        let url = format!("{}/add-checkpoint", self.at.url);
        let failed = |error: ureq::Error| Redacted::new(&error.to_string()).to_string();
        let mut answer = match agent(PATIENCE).post(&url).send(question.text()) {
            Ok(answer) => answer,
            Err(error) => return Said::Failed(failed(error)),
        };
        let status = answer.status().as_u16();
        match answer.body_mut().with_config().limit(ANSWER).read_to_string() {
            Ok(body) => self.read(status, &body, question),
            Err(error) => Said::Failed(failed(error)),
        }
    }

    fn read(&self, status: u16, body: &str, question: &AddCheckpoint) -> Said {
        match status {
            200 => self.signed(body, question),
            409 => match body.strip_suffix('\n').and_then(|size| size.parse().ok()) {
                // The size is right, so it is the tree that is another.
                Some(size) if size == question.old => Said::Fork,
                Some(size) => Said::Seen(size),
                None => Said::Failed("409 without a size".to_owned()),
            },
            422 => Said::Fork,
            _ => Said::Failed(format!("status {status}")),
        }
    }

    /// The one line of several that is this witness's.
    fn signed(&self, body: &str, question: &AddCheckpoint) -> Said {
        let text = postern_tlog::note::parts(&question.note).map(|(text, _)| text);
        let ours = |line: &&str| {
            text.is_some_and(|text| matches!(self.at.key.time(line, text), Ok(Some(_))))
        };
        match body.lines().find(ours) {
            Some(line) => Said::Signed(format!("{line}\n")),
            None => Said::Failed("no signature of its key".to_owned()),
        }
    }

    /// What follows from an answer about a log of `size`.
    fn heard(&self, said: &Said, size: u64, now: UnixMillis) {
        let name = self.at.key.name();
        let state = self.state();
        let next = match said {
            Said::Signed(_) => {
                State { old: size, signed: Some(size), not_before: now.after(EVERY) }
            }
            Said::Seen(seen) if *seen <= size => State { old: *seen, not_before: now, ..state },
            Said::Seen(seen) => {
                tracing::error!(
                    witness = name,
                    seen,
                    events = size,
                    "a witness has seen more events than the audit log has: it was cut off, or \
                     rolled back"
                );
                State { old: *seen, signed: None, not_before: now.after(AFTER_FAILURE) }
            }
            Said::Fork => {
                tracing::error!(
                    witness = name,
                    events = size,
                    "a witness has seen another audit log: this one was written anew"
                );
                State { not_before: now.after(AFTER_FAILURE), ..state }
            }
            Said::Failed(why) => {
                tracing::warn!(witness = name, why, "no cosignature from a witness");
                State { not_before: now.after(AFTER_FAILURE), ..state }
            }
        };
        self.set(next);
    }
}

impl Service {
    /// Asks witnesses about the newest checkpoint. The shell calls it beside
    /// [`Service::maintain`], since it waits for other machines.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_witnesses(&self, now: UnixMillis) -> Result<(), Fault> {
        if self.inner.witnesses.is_empty() {
            return Ok(());
        }
        let mut db = self.inner.pool.read(Reach::All).await?;
        let newest = self.newest_note(&mut db).await?;
        drop(db);
        let Some((note, size)) = newest else { return Ok(()) };
        let mut calls = Vec::new();
        for (at, asked) in self.inner.witnesses.iter().enumerate() {
            let Some(old) = asked.due(size, now) else { continue };
            let question =
                AddCheckpoint { old, proof: self.path(old, size).await?, note: note.clone() };
            let service = self.clone();
            calls.push(tokio::task::spawn_blocking(move || {
                let asked = service.inner.witnesses.get(at)?;
                Some((at, asked.ask(&question)))
            }));
        }
        let mut outcome = Ok(());
        for call in calls {
            if let Ok(Some((at, said))) = call.await {
                // One that cannot be kept must not cost the others theirs.
                outcome = outcome.and(self.witnessed(at, &said, size, now).await);
            }
        }
        outcome
    }

    async fn path(&self, old: u64, size: u64) -> Result<Vec<merkle::Hash>, Fault> {
        // A tree without leaves begins every tree: nothing is to be shown.
        let ranges = if old == 0 { None } else { merkle::consistency(old, size) };
        let mut db = self.inner.pool.read(Reach::All).await?;
        self.inner.checkpoints.parts(&mut db, ranges.unwrap_or_default()).await
    }

    async fn witnessed(
        &self,
        at: usize,
        said: &Said,
        size: u64,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let Some(asked) = self.inner.witnesses.get(at) else { return Ok(()) };
        let Said::Signed(line) = said else {
            let known = self.known(said, size).await?;
            asked.heard(said, known, now);
            return Ok(());
        };
        let count = i64::try_from(size).map_err(|_| Fault::Malformed("event number"))?;
        let mut db = self.inner.pool.write(Reach::All).await?;
        cosignatures::add(&mut db, count, asked.at.key.name(), line).await?;
        let note = crate::audit::integrity::note_of(&mut db, count).await?;
        db.commit().await?;
        asked.heard(said, size, now);
        // The copy beside the database has the signatures too, unless it would not open any more.
        let note = note.filter(|note| Checkpoint::open(note, &self.audit_key()).is_ok());
        note.map_or(Ok(()), |note| self.inner.checkpoints.keep_apart(size, &note))
    }

    /// Events of the newest checkpoint: another replica may have had a witness sign a newer one
    /// than was asked about.
    async fn known(&self, said: &Said, size: u64) -> Result<u64, Fault> {
        if !matches!(said, Said::Seen(seen) if *seen > size) {
            return Ok(size);
        }
        let mut db = self.inner.pool.read(Reach::All).await?;
        let newest = self.newest_note(&mut db).await?;
        Ok(newest.map_or(size, |(_, newest)| newest.max(size)))
    }

    /// The newest checkpoint that so many witnesses have signed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cosigned_checkpoint(&self, witnesses: u8) -> Result<Option<String>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        match cosignatures::newest(&mut db, witnesses.into()).await? {
            Some(count) => crate::audit::integrity::note_of(&mut db, count).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use postern_tlog::{cosignature, note};

    use super::*;

    fn asked() -> (Asked, SigningKey) {
        let key = SigningKey::from_bytes(&[2; 32]);
        let public = cosignature::Witness::new("w.example", key.verifying_key().as_bytes());
        let at = WitnessAt { url: "http://127.0.0.1:1".to_owned(), key: public.unwrap() };
        (Asked::new(&at), key)
    }

    fn question(old: u64) -> AddCheckpoint {
        let log = SigningKey::from_bytes(&[1; 32]);
        let note = note::sign("postern-audit\n9\nAAAA\n", "postern-audit", &[&log]).unwrap();
        AddCheckpoint { old, proof: Vec::new(), note }
    }

    #[test]
    fn only_the_witness_s_own_line_over_this_text_counts() {
        let (asked, key) = asked();
        let line = |text: &str| cosignature::sign(text, 7, "w.example", &key).unwrap();
        let good = line("postern-audit\n9\nAAAA\n");
        let other = note::sign("x\n", "other", &[&key]).unwrap();
        let other = other.rsplit_once("\n\n").unwrap().1;
        let both = format!("{other}{good}");
        assert_eq!(asked.read(200, &both, &question(3)), Said::Signed(good));
        for bad in ["", "x", other, &line("postern-audit\n8\nAAAA\n")] {
            assert!(matches!(asked.read(200, bad, &question(3)), Said::Failed(_)), "{bad}");
        }
    }

    #[test]
    fn what_other_answers_mean() {
        let (asked, _) = asked();
        let read = |status, body| asked.read(status, body, &question(3));
        assert_eq!(read(409, "5\n"), Said::Seen(5));
        assert_eq!(read(409, "3\n"), Said::Fork);
        assert_eq!(read(422, ""), Said::Fork);
        for (status, body) in [(409, "x\n"), (409, ""), (404, ""), (500, "5\n"), (301, "")] {
            assert!(matches!(read(status, body), Said::Failed(_)), "{status} {body}");
        }
    }

    #[test]
    fn when_a_witness_is_asked_again() {
        let (asked, _) = asked();
        let at = UnixMillis;
        assert_eq!(asked.due(9, at(0)), Some(0), "what it has seen it says itself");
        asked.heard(&Said::Seen(5), 9, at(0));
        assert_eq!(asked.due(9, at(0)), Some(5), "at once");
        asked.heard(&Said::Signed(String::new()), 9, at(0));
        assert_eq!((asked.due(9, at(60_000)), asked.due(10, at(9_999))), (None, None));
        assert_eq!(asked.due(10, at(10_000)), Some(9));
        asked.heard(&Said::Failed(String::new()), 10, at(10_000));
        assert_eq!((asked.due(10, at(39_999)), asked.due(10, at(40_000))), (None, Some(9)));
        asked.heard(&Said::Seen(50), 10, at(40_000));
        assert_eq!(asked.due(10, at(70_000)), Some(10), "a log that was cut off is asked about");
        asked.heard(&Said::Fork, 10, at(70_000));
        assert_eq!((asked.due(10, at(99_999)), asked.due(10, at(100_000))), (None, Some(10)));
    }
}
