//! The keys of an issuer: as configured, or fetched in the background.
//!
//! Owns when a set is fetched and how long the last good one is kept. Requests never fetch:
//! one that needs a key which nobody has asks for it here and waits. Of all workers of a
//! process one fetches, under a lease, and leaves what came to the others ([`board`]).
//!
//! Invariant: a set that does not parse, is too large or has no usable key replaces nothing;
//! the last good one ends with its time; and whatever callers present, all workers together
//! make at most [`MOST_WANTED`] fetches in [`WINDOW`] beside the regular ones, or each of them
//! where nothing can be written for the others.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use postern_core::commons::Commons;
use postern_core::config::gate::{Endpoint, KeySource};
use postern_core::key_service::{
    Background, Call, CallId, CallResult, Destination, MAX_ANSWER, Told,
};
use postern_core::time::UnixMillis;
use postern_jose::{KeySet, Usage};

use board::{Board, Left, Notice};

mod board;

/// A fetch takes no longer than a request waits.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// How long whoever fetches keeps the others from it: two ticks, and a half for a late one.
const LEASE: Duration = Duration::from_millis(2500);
/// Before a failed fetch is tried again; doubles up to [`SLOWEST`].
const RETRY: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);
/// Fetches that unknown key ids may cause.
const MOST_WANTED: usize = 4;
const WINDOW: Duration = Duration::from_secs(60);
/// How often a notice is written again when another worker was faster.
const TRIES: usize = 3;
/// Leases that could not be written in a row before a worker fetches without.
const REFUSED: u32 = 3;

/// The keys of one issuer.
pub struct Keys {
    usage: Usage,
    fetched: Option<Fetched>,
    state: RefCell<State>,
}

struct Fetched {
    from: Endpoint,
    refresh: Duration,
    keep: Duration,
    board: Board,
}

#[derive(Default)]
struct State {
    set: Option<Rc<KeySet>>,
    /// When it came.
    at: UnixMillis,
    /// Sets that have come.
    generation: u64,
    /// Fetches that have ended as far as requests here are concerned.
    ended: u64,
    /// Fetches of all workers that are known to have ended.
    seen: u64,
    out: Option<(CallId, UnixMillis)>,
    /// Not before this.
    next: UnixMillis,
    failures: u32,
    /// Since when a request needs a key that is not there.
    wanted: Option<UnixMillis>,
    /// When requests caused a fetch lately, on any worker.
    caused: Vec<UnixMillis>,
    /// Leases in a row that could not be written.
    refused: u32,
    calls: u32,
}

/// What there is to verify with now.
pub struct Standing {
    /// The keys, if there are any.
    pub set: Option<Rc<KeySet>>,
    /// Changes when another set has come.
    pub generation: u64,
    /// Changes when a fetch has ended, well or not, that may have brought what requests need.
    pub ended: u64,
    /// The last fetch has brought nothing, so the set may be an old one.
    pub failing: bool,
}

impl Keys {
    /// The keys of this source; `None` when those in the document are no set, or none of
    /// them can be used.
    pub fn new(source: &KeySource, usage: Usage, commons: &Rc<dyn Commons>) -> Option<Self> {
        let mut state = State::default();
        let fetched = match source {
            KeySource::Inline(set) => {
                state.set = Some(Rc::new(usable(set, usage)?));
                None
            }
            KeySource::Fetched { from, refresh, keep } => {
                let board = Board::new(commons, from, usage);
                let (from, refresh, keep) = (from.clone(), *refresh, *keep);
                Some(Fetched { from, refresh, keep, board })
            }
        };
        Some(Self { usage, fetched, state: RefCell::new(state) })
    }

    /// What there is now.
    pub fn standing(&self, now: UnixMillis) -> Standing {
        let Ok(mut state) = self.state.try_borrow_mut() else {
            return Standing { set: None, generation: 0, ended: 0, failing: true };
        };
        let over = self.fetched.as_ref().is_some_and(|from| now.since(state.at) >= from.keep);
        if over {
            state.set = None;
        }
        Standing {
            set: state.set.clone(),
            generation: state.generation,
            ended: state.ended,
            failing: state.failures > 0,
        }
    }

    /// Asks for a key that is not there: true when a fetch will end that may bring it.
    pub fn want(&self, now: UnixMillis) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return false };
        if self.fetched.is_none() {
            return false;
        }
        if state.out.is_some() || state.wanted.is_some() {
            return true;
        }
        if state.set.is_none() {
            // Fetched in any case, as soon as it is due.
            return state.next <= now;
        }
        state.forget(now);
        if state.caused.len() >= MOST_WANTED || state.failures > 0 {
            return false;
        }
        state.wanted = Some(now);
        true
    }
}

impl State {
    fn forget(&mut self, now: UnixMillis) {
        self.caused.retain(|earlier| *earlier <= now && now.since(*earlier) < WINDOW);
    }

    /// A host that lost the call has given up long ago.
    fn is_out(&self, now: UnixMillis) -> bool {
        self.out.is_some_and(|(_, since)| since <= now && now.since(since) < SLOWEST)
    }

    /// The clock went back: what lies far ahead would keep everything from being fetched.
    fn observe(&mut self, from: &Fetched, now: UnixMillis) {
        self.at = self.at.min(now);
        if self.next > now.after(from.refresh.max(SLOWEST)) {
            self.next = now;
        }
    }

    /// Requests learn that nothing comes now.
    fn give_up(&mut self) {
        self.wanted = None;
        self.ended = self.ended.wrapping_add(1);
    }

    /// Takes what others have fetched and learned.
    fn take(&mut self, from: &Fetched, notice: &Notice, usage: Usage, now: UnixMillis) {
        self.caused.extend(&notice.caused);
        self.caused.sort_unstable();
        self.caused.dedup();
        self.forget(now);
        if notice.ended <= self.seen {
            return;
        }
        (self.seen, self.failures) = (notice.ended, notice.failures);
        let newer = (notice.generation > self.generation).then(|| from.board.left()).flatten();
        let newer = newer.filter(|left| left.generation > self.generation && left.at <= now);
        if let Some(left) = newer
            && let Some(set) = usable(&left.set, usage)
        {
            self.set = Some(Rc::new(set));
            (self.at, self.generation) = (left.at, left.generation);
        }
        self.next = match self.failures {
            0 => self.at.after(from.refresh),
            _ => notice.next,
        };
        // What began before a request asked may not have what it needs.
        if self.wanted.is_none_or(|since| since <= notice.began) {
            self.give_up();
        }
    }

    /// Takes the lease: whether this worker is the one that fetches.
    fn leads(&mut self, board: &Board, notice: Notice, version: u32, now: UnixMillis) -> bool {
        let held = now < notice.lease && notice.lease <= now.after(LEASE);
        if held {
            return false;
        }
        let mut caused = self.caused.clone();
        if self.wanted.is_some() && self.next > now {
            caused.push(now);
        }
        // What stood there may have been spoilt: others know what this worker has seen.
        let ended = notice.ended.max(self.seen);
        let generation = notice.generation.max(self.generation);
        let (lease, told) = (now.after(LEASE), caused.clone());
        let written =
            board.write(&Notice { ended, generation, lease, caused: told, ..notice }, version);
        // Somebody was faster, or nothing can be written here at all.
        self.refused = if written { 0 } else { self.refused.saturating_add(1) };
        let leads = written || self.refused >= REFUSED;
        if leads {
            self.caused = caused;
        }
        leads
    }

    /// Leaves the other workers what this one knows now.
    fn tell(&mut self, board: &Board, began: UnixMillis) {
        for _ in 0..TRIES {
            let (notice, version) = board.read(self.seen);
            let ended = notice.ended.max(self.seen).saturating_add(1);
            let notice = Notice {
                ended,
                began,
                failures: self.failures,
                next: self.next,
                lease: UnixMillis(0),
                generation: self.generation.max(notice.generation),
                caused: self.caused.clone(),
            };
            if board.write(&notice, version) {
                self.seen = ended;
                return;
            }
        }
    }
}

impl Background for Keys {
    fn due(&self, now: UnixMillis) -> Option<Call> {
        let from = self.fetched.as_ref()?;
        let mut state = self.state.try_borrow_mut().ok()?;
        if state.is_out(now) {
            return None;
        }
        state.observe(from, now);
        let (notice, version) = from.board.read(state.seen);
        state.take(from, &notice, self.usage, now);
        if state.next > now {
            state.wanted?;
            if state.failures > 0 || state.caused.len() >= MOST_WANTED {
                state.give_up();
                return None;
            }
        }
        if !state.leads(&from.board, notice, version, now) {
            return None;
        }
        state.wanted = None;
        let id = CallId(state.calls);
        state.calls = state.calls.wrapping_add(1);
        state.out = Some((id, now));
        Some(from.call(id))
    }

    fn heard(&self, call: CallId, result: CallResult, now: UnixMillis) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return false };
        let Some(from) = self.fetched.as_ref() else { return false };
        let Some((_, began)) = state.out.take_if(|(id, _)| *id == call) else { return false };
        state.ended = state.ended.wrapping_add(1);
        let body = result.ok().filter(|answer| answer.status == Some(200));
        match body.and_then(|answer| Some((usable(&answer.body, self.usage)?, answer.body))) {
            Some((set, bytes)) => {
                state.set = Some(Rc::new(set));
                state.at = now;
                let (notice, _) = from.board.read(state.seen);
                state.generation = state.generation.max(notice.generation).saturating_add(1);
                state.failures = 0;
                state.next = now.after(from.refresh);
                from.board.leave(&Left { generation: state.generation, at: now, set: bytes });
            }
            None => {
                let longer = 1_u32.checked_shl(state.failures.min(8)).unwrap_or(u32::MAX);
                state.failures = state.failures.saturating_add(1);
                state.next = now.after(RETRY.saturating_mul(longer).min(SLOWEST));
            }
        }
        state.tell(&from.board, began);
        true
    }

    fn told(&self) -> Vec<Told> {
        self.fetched.as_ref().map(|from| from.board.told()).unwrap_or_default()
    }
}

impl Fetched {
    fn call(&self, id: CallId) -> Call {
        let Endpoint { cluster, authority, path } = self.from.clone();
        Call {
            id,
            to: Destination::Named { cluster, authority },
            method: "GET",
            path: path.into(),
            content_type: "",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: TIMEOUT,
        }
    }
}

/// A set with at least one key that verifies something.
fn usable(set: &[u8], usage: Usage) -> Option<KeySet> {
    KeySet::parse_for(set, usage).ok().filter(|set| !set.keys().is_empty())
}

#[cfg(test)]
mod tests;
