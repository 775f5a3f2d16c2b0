//! What a caller's requests have carried, which any of its answers may tell.
//!
//! An upstream that lists credentials, or knows one from another call, tells a caller of
//! values that this very request does not carry. So an answer is scrubbed of everything
//! that this worker has injected for the same caller lately.
//!
//! Invariant: what the request at hand carries is always among it; of a caller at most
//! [`MOST_SECRETS`] of at least [`SHORTEST_KEPT`] bytes are kept, for [`LIFE`] after their last
//! use, and of at most [`MOST_CALLERS`] callers. Nothing here is ever injected.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::guard::{Guard, Guarded};
use crate::inject::{InPlay, Keep};
use crate::scrubbing::{Known, Scrubbing};
use crate::time::UnixMillis;

/// How long a value is looked for after its last use.
const LIFE: Duration = Duration::from_secs(600);
/// As many credentials as are cached.
const MOST_CALLERS: usize = 256;
/// The longest unused makes room.
const MOST_SECRETS: usize = 64;
/// A shorter value is looked for in answers to its own request and in no others, where it may
/// stand by chance.
const SHORTEST_KEPT: usize = 8;

/// Callers by the hash of their identity, and what no request may hold.
#[derive(Default)]
pub(super) struct Sessions {
    callers: BTreeMap<[u8; 32], Session>,
    guard: Guard,
}

struct Session {
    secrets: Vec<(Rc<InPlay>, UnixMillis)>,
    used: UnixMillis,
}

/// What an answer is scrubbed of.
pub(super) struct Looked {
    pub(super) secrets: Vec<Rc<InPlay>>,
    pub(super) known: Rc<dyn Known>,
}

impl Sessions {
    /// Looks through a request that is about to leave.
    pub(super) fn request(&self) -> Guarded {
        self.guard.request()
    }

    /// Notes what a request of `caller` carries; gives all that its answer is scrubbed of.
    pub(super) fn note(
        &mut self,
        caller: [u8; 32],
        carried: Vec<InPlay>,
        scrubbing: &dyn Scrubbing,
        now: UnixMillis,
    ) -> Looked {
        let Self { callers, guard } = self;
        callers.retain(|_, session| now.since(session.used) < LIFE);
        if callers.len() >= MOST_CALLERS && !callers.contains_key(&caller) {
            let oldest = callers.iter().min_by_key(|(_, session)| session.used);
            let oldest = oldest.map(|(caller, _)| *caller);
            oldest.and_then(|caller| callers.remove(&caller));
        }
        let fresh = || Session { secrets: Vec::new(), used: now };
        let session = callers.entry(caller).or_insert_with(fresh);
        session.used = now;
        let most = MOST_SECRETS.max(carried.len());
        let mut changed = session.forget(now);
        let (once, carried): (Vec<_>, Vec<_>) =
            carried.into_iter().partition(|secret| secret.keep == Keep::Request);
        for secret in carried {
            changed |= session.keep(secret, guard, now);
        }
        changed |= session.make_room(most);
        if changed {
            guard.settle(scrubbing);
        }
        let kept = session.secrets.iter().map(|(it, _)| Rc::clone(it));
        let secrets: Vec<_> = kept.chain(once.into_iter().map(Rc::new)).collect();
        Looked { known: scrubbing.known(&secrets), secrets }
    }
}

/// Each says whether the set of secrets is another one than before.
impl Session {
    fn forget(&mut self, now: UnixMillis) -> bool {
        self.secrets.retain(|(secret, _)| secret.value.len() >= SHORTEST_KEPT);
        let before = self.secrets.len();
        self.secrets.retain(|(_, used)| now.since(*used) < LIFE);
        self.secrets.len() != before
    }

    /// The last used stand last.
    fn keep(&mut self, secret: InPlay, guard: &mut Guard, now: UnixMillis) -> bool {
        // Short ones come and go, and the guard has none of them.
        let lasts = secret.value.len() >= SHORTEST_KEPT;
        let at = self.secrets.iter().position(|(known, _)| known.is_same(&secret));
        let known = at.map(|at| self.secrets.remove(at).0);
        self.secrets.push((known.unwrap_or_else(|| guard.note(secret)), now));
        at.is_none() && lasts
    }

    fn make_room(&mut self, most: usize) -> bool {
        let excess = self.secrets.len().saturating_sub(most);
        self.secrets.drain(..excess);
        excess > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::StarScrubbing;
    use super::*;
    use crate::fields::Fields;
    use crate::secret::Secret;

    fn secret(text: &str) -> InPlay {
        let value = || Secret::new(text.as_bytes().to_vec());
        InPlay { value: value(), rendered: value(), keep: Keep::Worker }
    }

    fn note(sessions: &mut Sessions, caller: u8, carried: &[&str], seconds: u64) -> Vec<String> {
        let carried = carried.iter().map(|text| secret(text)).collect();
        let now = UnixMillis(seconds * 1000);
        let looked = sessions.note([caller; 32], carried, &StarScrubbing, now);
        let text = |it: &Rc<InPlay>| String::from_utf8(it.value.expose().to_vec()).unwrap();
        looked.secrets.iter().map(text).collect()
    }

    #[test]
    fn an_answer_is_scrubbed_of_what_the_callers_other_requests_carried() {
        const A: &str = "value--a";
        const B: &str = "value--b";
        let mut sessions = Sessions::default();
        assert_eq!(note(&mut sessions, 1, &[A], 0), [A]);
        assert_eq!(note(&mut sessions, 1, &[B], 1), [A, B]);
        assert_eq!(note(&mut sessions, 2, &["value--c"], 2), ["value--c"]);
        assert_eq!(note(&mut sessions, 1, &[A], 500), [B, A]);
        // `B` was last used ten minutes ago.
        assert_eq!(note(&mut sessions, 1, &[A], 601), [A]);
        assert_eq!(note(&mut sessions, 1, &[B], 1300), [B]);
    }

    #[test]
    fn a_short_value_is_looked_for_in_answers_to_its_own_request_only() {
        let mut sessions = Sessions::default();
        assert_eq!(note(&mut sessions, 1, &["1234567"], 0), ["1234567"]);
        assert_eq!(note(&mut sessions, 1, &["12345678"], 1), ["12345678"]);
        assert_eq!(note(&mut sessions, 1, &["1234567"], 2), ["12345678", "1234567"]);
    }

    #[test]
    fn the_longest_unused_makes_room_and_what_is_carried_never_does() {
        let mut sessions = Sessions::default();
        for number in 0..100_u64 {
            note(&mut sessions, 1, &[&format!("secret-{number}")], number);
        }
        let kept = note(&mut sessions, 1, &["last one"], 100);
        assert_eq!(kept.len(), MOST_SECRETS);
        assert_eq!(kept.last().map(String::as_str), Some("last one"));
        assert!(!kept.contains(&"secret-36".into()) && kept.contains(&"secret-37".into()));
        let many: Vec<String> = (0..80).map(|number| format!("one-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(note(&mut sessions, 1, &many, 101), many);
        for caller in 0..=255 {
            note(&mut sessions, caller, &["value--x"], 200);
        }
        assert!(sessions.callers.len() <= MOST_CALLERS);
    }

    #[test]
    fn no_request_may_hold_what_any_caller_was_given_until_nobody_uses_it() {
        let mut sessions = Sessions::default();
        let holds = |sessions: &Sessions, text: &str| {
            let fields: Fields = [("x-note", format!("see {text}"))].into_iter().collect();
            sessions.request().fields(&fields).is_err()
        };
        for number in 0..20_u8 {
            note(&mut sessions, number % 3, &[&format!("value-{number:02}")], number.into());
            assert!((0..=number).all(|it| holds(&sessions, &format!("value-{it:02}"))));
        }
        assert!(!holds(&sessions, "value-20"));
        // The same value in two sessions outlives the first.
        note(&mut sessions, 9, &["value-00"], 500);
        note(&mut sessions, 9, &["value-00", "other-01"], 700);
        assert!(holds(&sessions, "value-00") && holds(&sessions, "other-01"));
        assert!(!holds(&sessions, "value-03"));
    }
}
