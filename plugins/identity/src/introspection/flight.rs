//! Questions that are out, each about another token.
//!
//! Owns who asks and who waits. A call belongs to the request that has made it: when that goes
//! away first, the host forgets the call, and the background asks again for those who wait.
//! But the call itself goes on until it has an answer or is late, and counts until then.
//!
//! Invariant: of one token one question at a time is waited for, and never more than [`MOST`] of
//! all are out, whoever goes away.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use postern_core::key_service::CallId;
use postern_core::time::UnixMillis;

use super::TIMEOUT;
use super::answer::Outcome;
use crate::cache::Digest;

/// Most questions of one worker at a time: whoever invents tokens gets no more of the endpoint.
pub const MOST: usize = 64;
/// Names of these calls begin here, apart from the key service's.
const FIRST: u32 = 1 << 31;
/// A host that lost a call of the background has given up long ago.
const LOST: Duration = Duration::from_secs(5);

/// A question about a token.
pub struct Flight {
    /// What its answer is remembered by.
    pub name: Digest,
    /// SHA-256 of the token.
    pub token_digest: Digest,
    /// The token.
    pub token: String,
    /// When the call is over, with an answer or without.
    until: UnixMillis,
    outcome: RefCell<Option<Outcome>>,
}

impl Flight {
    /// The answer, if it has come.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.try_borrow().ok()?.clone()
    }
}

/// All that are out.
#[derive(Default)]
pub struct Flights(RefCell<State>);

#[derive(Default)]
struct State {
    out: BTreeMap<Digest, Rc<Flight>>,
    calls: u32,
    /// When the calls are over that nobody hears of any more.
    unheard: VecDeque<UnixMillis>,
    /// Nobody asks any more, and somebody waits.
    left: VecDeque<Rc<Flight>>,
    /// The background asks.
    taken: Option<(CallId, Rc<Flight>, UnixMillis)>,
}

impl State {
    fn next(&mut self) -> CallId {
        self.calls = self.calls.wrapping_add(1);
        CallId(self.calls | FIRST)
    }

    /// Whether anybody has it beside the lists here: `held` of them, and who calls this.
    fn is_waited_for(flight: &Rc<Flight>, held: usize) -> bool {
        Rc::strong_count(flight) > held
    }
}

impl Flights {
    /// The question about this token, if it is out.
    pub fn find(&self, name: &Digest) -> Option<Rc<Flight>> {
        self.0.try_borrow().ok()?.out.get(name).cloned()
    }

    /// Begins one; `None` when there are too many.
    pub fn start(
        &self,
        (name, token_digest): (Digest, Digest),
        token: &str,
        now: UnixMillis,
    ) -> Option<(CallId, Rc<Flight>)> {
        let mut state = self.0.try_borrow_mut().ok()?;
        state.unheard.retain(|until| *until > now);
        if state.out.len().saturating_add(state.unheard.len()) >= MOST {
            return None;
        }
        let (token, outcome) = (token.to_owned(), RefCell::default());
        let until = now.after(TIMEOUT);
        let flight = Rc::new(Flight { name, token_digest, token, until, outcome });
        state.out.insert(name, Rc::clone(&flight));
        Some((state.next(), flight))
    }

    /// It has an answer.
    pub fn land(&self, flight: &Flight, outcome: Outcome) {
        if let Ok(mut state) = self.0.try_borrow_mut() {
            state.out.remove(&flight.name);
        }
        if let Ok(mut place) = flight.outcome.try_borrow_mut() {
            *place = Some(outcome);
        }
    }

    /// Who has asked goes away before the answer.
    pub fn leave(&self, flight: &Rc<Flight>) {
        let Ok(mut state) = self.0.try_borrow_mut() else { return };
        state.unheard.push_back(flight.until);
        // The map's and the caller's.
        if State::is_waited_for(flight, 2) {
            state.left.push_back(Rc::clone(flight));
        } else {
            state.out.remove(&flight.name);
        }
    }

    /// The next question that nobody asks any more; one at a time.
    pub fn take_over(&self, now: UnixMillis) -> Option<(CallId, Rc<Flight>)> {
        let mut state = self.0.try_borrow_mut().ok()?;
        if state.taken.as_ref().is_some_and(|(.., since)| now.since(*since) < LOST) {
            return None;
        }
        if let Some((_, lost, _)) = state.taken.take() {
            state.out.remove(&lost.name);
        }
        while let Some(flight) = state.left.pop_front() {
            // Those who waited may have gone as well.
            if State::is_waited_for(&flight, 2) {
                let id = state.next();
                state.taken = Some((id, Rc::clone(&flight), now));
                return Some((id, flight));
            }
            state.out.remove(&flight.name);
        }
        None
    }

    /// The question that this call of the background is about, once.
    pub fn taken_over(&self, call: CallId) -> Option<Rc<Flight>> {
        let mut state = self.0.try_borrow_mut().ok()?;
        if state.taken.as_ref().is_none_or(|(id, ..)| *id != call) {
            return None;
        }
        state.taken.take().map(|(_, flight, _)| flight)
    }
}
