//! What is kept of a vault: values for a while, refusals for a moment, and who is asking.
//!
//! Invariant: a value is sealed by a key that this process drew and that nothing else is sealed
//! by, bound to its place and version; its text is in memory while it is released and not longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_vaults::Version;
use tokio::sync::watch;

use super::{NotRead, Outcome, Reference};
use crate::crp::store::decode_fields;
use crate::envelope::{open_kept, put, seal_kept};
use crate::fault::Fault;
use crate::random;

/// A value that was read.
#[derive(Debug)]
pub(crate) struct Held {
    sealed: Vec<u8>,
    version: Version,
    read: UnixMillis,
}

impl Held {
    pub(super) fn new(sealed: Vec<u8>, version: Version, read: UnixMillis) -> Self {
        Self { sealed, version, read }
    }

    /// Its version in the vault.
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// Since it was asked for. A clock that went back makes it older, not younger.
    pub(crate) fn age(&self, now: UnixMillis) -> Duration {
        Duration::from_millis(now.0.abs_diff(self.read.0))
    }
}

type Flight = watch::Receiver<Option<Outcome>>;

/// How somebody comes to an answer.
pub(super) enum Boarding {
    /// The vault has just refused it.
    Told(NotRead),
    /// The answer came since.
    Landed(Arc<Held>),
    /// Others are asking.
    With(Flight),
    /// Nobody is: asks, and tells the others.
    First(watch::Sender<Option<Outcome>>, Flight),
}

/// What is known of one place.
#[derive(Default)]
struct Entry {
    held: Option<Arc<Held>>,
    /// When that came, by the clock that only goes forward.
    landed: Option<Instant>,
    /// Why there was none, and until when nobody asks again.
    told: Option<(NotRead, UnixMillis)>,
    flight: Option<Flight>,
}

impl Entry {
    fn is_asked_for(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.has_changed().is_ok())
    }
}

/// Entries by place.
pub(super) struct Table {
    key: Secret,
    most: usize,
    entries: Mutex<HashMap<Reference, Entry>>,
}

impl Table {
    /// Of at most `most` places.
    pub(super) fn new(most: usize) -> Result<Self, Fault> {
        Ok(Self { key: random::key()?, most, entries: Mutex::default() })
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Reference, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value at `place` that was asked for less than `longest` ago.
    pub(super) fn kept(
        &self,
        place: &Reference,
        now: UnixMillis,
        longest: Duration,
    ) -> Option<Arc<Held>> {
        let entries = self.entries();
        let held = entries.get(place)?.held.as_ref()?;
        (held.age(now) < longest).then(|| Arc::clone(held))
    }

    /// Joins who is asking for `place`, or asks. Who `came` before an answer did takes that one: it
    /// looked too early and boards too late.
    pub(super) fn board(&self, place: &Reference, came: Instant, now: UnixMillis) -> Boarding {
        let mut entries = self.entries();
        let entry = entries.entry(place.clone()).or_default();
        if let Some((not_read, until)) = &entry.told
            && now < *until
        {
            return Boarding::Told(not_read.clone());
        }
        if let Some(held) = &entry.held
            && entry.landed.is_some_and(|landed| came <= landed)
        {
            return Boarding::Landed(Arc::clone(held));
        }
        if let Some(flight) = entry.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Boarding::With(flight.clone());
        }
        let (landing, flight) = watch::channel(None);
        entry.flight = Some(flight.clone());
        Boarding::First(landing, flight)
    }

    /// Keeps what came of it. What is gone there, or may not be read any more, is gone here.
    /// It was asked for at `now`, and `took` so long.
    pub(super) fn land(
        &self,
        place: &Reference,
        outcome: Outcome,
        now: UnixMillis,
        took: Duration,
    ) {
        let mut entries = self.entries();
        let entry = entries.entry(place.clone()).or_default();
        entry.flight = None;
        match outcome {
            Ok(held) => {
                (entry.held, entry.told) = (Some(held), None);
                entry.landed = Some(Instant::now());
            }
            Err(not_read) => {
                if !not_read.may_pass() {
                    entry.held = None;
                }
                // From the answer on, not from the question: it may have taken all its time.
                let until = now.after(took).after(Duration::from_millis(not_read.pause()));
                entry.told = Some((not_read, until));
            }
        }
        if entries.len() > self.most {
            make_room(&mut entries, place);
        }
    }

    /// Wipes values that were asked for `longest` ago or more, and what says nothing any more.
    pub(super) fn forget_old(&self, now: UnixMillis, longest: Duration) {
        self.entries().retain(|_, entry| {
            entry.held = entry.held.take().filter(|held| held.age(now) < longest);
            entry.told = entry.told.take().filter(|(_, until)| now < *until);
            entry.held.is_some() || entry.told.is_some() || entry.is_asked_for()
        });
    }

    pub(super) fn sealed(
        &self,
        place: &Reference,
        version: &Version,
        value: &Secret,
    ) -> Result<Vec<u8>, Fault> {
        seal_kept(&self.key, &aad(place, version), value)
    }

    /// The fields of a value; `None` where it is that of another place.
    pub(super) fn opened(&self, place: &Reference, held: &Held) -> Option<Vec<(String, Secret)>> {
        let opened = open_kept(&self.key, &aad(place, &held.version), &held.sealed);
        decode_fields(&opened.ok()?)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }
}

/// The one that was asked for longest ago goes, but not `place`, nor what is being asked for.
fn make_room(entries: &mut HashMap<Reference, Entry>, place: &Reference) {
    let when = |entry: &Entry| entry.held.as_ref().map(|held| held.read);
    let others = entries.iter().filter(|(other, entry)| *other != place && !entry.is_asked_for());
    let oldest = others.min_by_key(|(_, entry)| when(entry)).map(|(oldest, _)| oldest.clone());
    if let Some(oldest) = oldest {
        entries.remove(&oldest);
    }
}

fn aad(place: &Reference, version: &Version) -> Vec<u8> {
    let mut aad = b"vault/1".to_vec();
    put(&mut aad, version.as_str().as_bytes());
    aad.extend_from_slice(&place.bytes());
    aad
}
