//! The keys of an issuer: as configured, or fetched in the background.
//!
//! Owns when a set is fetched and how long the last good one is kept. Requests never fetch:
//! one that needs a key which nobody has asks for it here and waits, so a fetch is single by
//! construction.
//!
//! Invariant: a set that does not parse, is too large or has no usable key replaces nothing;
//! the last good one ends with its time; and whatever callers present, there are at most
//! [`MOST_WANTED`] fetches in [`WINDOW`] beside the regular ones.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use postern_core::config::gate::{Endpoint, KeySource};
use postern_core::key_service::{Background, Call, CallId, CallResult, Destination, MAX_ANSWER};
use postern_core::time::UnixMillis;
use postern_jose::{KeySet, Usage};

/// A fetch takes no longer than a request waits.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Before a failed fetch is tried again; doubles up to [`SLOWEST`].
const RETRY: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);
/// Fetches that unknown key ids may cause.
const MOST_WANTED: usize = 4;
const WINDOW: Duration = Duration::from_secs(60);

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
}

#[derive(Default)]
struct State {
    set: Option<Rc<KeySet>>,
    /// When it came.
    at: UnixMillis,
    /// Sets that have come.
    generation: u64,
    /// Fetches that have ended.
    ended: u64,
    out: Option<(CallId, UnixMillis)>,
    /// Not before this.
    next: UnixMillis,
    failures: u32,
    /// A request needs a key that is not there.
    wanted: bool,
    /// When requests caused a fetch lately.
    caused: Vec<UnixMillis>,
    calls: u32,
}

/// What there is to verify with now.
pub struct Standing {
    /// The keys, if there are any.
    pub set: Option<Rc<KeySet>>,
    /// Changes when another set has come.
    pub generation: u64,
    /// Changes when a fetch has ended, well or not.
    pub ended: u64,
    /// The last fetch has brought nothing, so the set may be an old one.
    pub failing: bool,
}

impl Keys {
    /// The keys of this source; `None` when those in the document are no set, or none of
    /// them can be used.
    pub fn new(source: &KeySource, usage: Usage) -> Option<Self> {
        let mut state = State::default();
        let fetched = match source {
            KeySource::Inline(set) => {
                state.set = Some(Rc::new(usable(set, usage)?));
                None
            }
            KeySource::Fetched { from, refresh, keep } => {
                Some(Fetched { from: from.clone(), refresh: *refresh, keep: *keep })
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
        if state.out.is_some() || state.wanted {
            return true;
        }
        if state.set.is_none() {
            // Fetched in any case, as soon as it is due.
            return state.next <= now;
        }
        state.caused.retain(|earlier| now.since(*earlier) < WINDOW);
        if state.caused.len() >= MOST_WANTED || state.failures > 0 {
            return false;
        }
        state.caused.push(now);
        state.wanted = true;
        true
    }
}

impl Background for Keys {
    fn due(&self, now: UnixMillis) -> Option<Call> {
        let from = self.fetched.as_ref()?;
        let mut state = self.state.try_borrow_mut().ok()?;
        // A host that lost the call has given up long ago.
        let out = state.out.is_some_and(|(_, since)| now.since(since) < SLOWEST);
        if out || !(state.wanted || state.next <= now) {
            return None;
        }
        state.wanted = false;
        let id = CallId(state.calls);
        state.calls = state.calls.wrapping_add(1);
        state.out = Some((id, now));
        Some(Call {
            id,
            to: Destination::Named {
                cluster: from.from.cluster.clone(),
                authority: from.from.authority.clone(),
            },
            method: "GET",
            path: from.from.path.clone().into(),
            content_type: "",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: TIMEOUT,
        })
    }

    fn heard(&self, call: CallId, result: CallResult, now: UnixMillis) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return false };
        let Some(from) = self.fetched.as_ref() else { return false };
        if state.out.is_none_or(|(id, _)| id != call) {
            return false;
        }
        state.out = None;
        state.ended = state.ended.wrapping_add(1);
        let body = result.ok().filter(|answer| answer.status == Some(200));
        match body.and_then(|answer| usable(&answer.body, self.usage)) {
            Some(set) => {
                state.set = Some(Rc::new(set));
                state.at = now;
                state.generation = state.generation.wrapping_add(1);
                state.failures = 0;
                state.next = now.after(from.refresh);
            }
            None => {
                let longer = 1_u32.checked_shl(state.failures.min(8)).unwrap_or(u32::MAX);
                state.failures = state.failures.saturating_add(1);
                state.next = now.after(RETRY.saturating_mul(longer).min(SLOWEST));
            }
        }
        true
    }
}

/// A set with at least one key that verifies something.
fn usable(set: &[u8], usage: Usage) -> Option<KeySet> {
    KeySet::parse_for(set, usage).ok().filter(|set| !set.keys().is_empty())
}

#[cfg(test)]
mod tests {
    use postern_core::key_service::{CallAnswer, CallFailure};

    use super::*;

    const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis(1_800_000_000_000).after(Duration::from_secs(seconds))
    }

    fn keys() -> Keys {
        let text = |text: &str| text.to_owned();
        let from = Endpoint { cluster: text("idp"), authority: text("idp.test"), path: text("/j") };
        let (refresh, keep) = (Duration::from_secs(300), Duration::from_secs(600));
        Keys::new(&KeySource::Fetched { from, refresh, keep }, Usage::Signatures).unwrap()
    }

    fn answer(status: u16, body: &[u8]) -> CallResult {
        Ok(CallAnswer::of(status, body.to_vec()))
    }

    /// The next fetch is due and ends like this.
    fn fetch(keys: &Keys, seconds: u64, result: CallResult) {
        let call = keys.due(at(seconds)).unwrap();
        assert!(keys.heard(call.id, result, at(seconds)));
    }

    fn has_set(keys: &Keys, seconds: u64) -> bool {
        keys.standing(at(seconds)).set.is_some()
    }

    #[test]
    fn a_set_is_fetched_at_once_and_again_when_its_time_has_come() {
        let keys = keys();
        assert!(!has_set(&keys, 0));
        fetch(&keys, 0, answer(200, SET));
        assert!(has_set(&keys, 0) && keys.due(at(299)).is_none());
        let call = keys.due(at(300)).unwrap();
        assert_eq!((call.method, call.path.as_ref()), ("GET", "/j"));
        assert!(keys.due(at(301)).is_none(), "one at a time");
    }

    #[test]
    fn what_is_no_set_replaces_nothing_and_the_last_good_one_ends() {
        let keys = keys();
        fetch(&keys, 0, answer(200, SET));
        let mut when = 300;
        for bad in [
            answer(200, b"{}"),
            answer(200, br#"{"keys":[]}"#),
            answer(503, SET),
            Err(CallFailure::TooLarge),
            Err(CallFailure::NotSent),
        ] {
            fetch(&keys, when, bad);
            assert!(has_set(&keys, when));
            when += 60;
        }
        assert!(has_set(&keys, 599));
        assert!(!has_set(&keys, 600));
    }

    #[test]
    fn a_failed_fetch_is_tried_again_later_and_later() {
        let keys = keys();
        let mut when = 0;
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            fetch(&keys, when, answer(500, b""));
            assert!(!keys.want(at(when)), "nothing to wait for");
            assert!(keys.due(at(when + pause - 1)).is_none());
            when += pause;
            assert!(keys.want(at(when)));
        }
    }

    #[test]
    fn unknown_ids_cause_a_bounded_number_of_fetches() {
        let keys = keys();
        fetch(&keys, 0, answer(200, SET));
        for when in 1..=4 {
            assert!(keys.want(at(when)) && keys.want(at(when)));
            fetch(&keys, when, answer(200, SET));
        }
        assert!(!keys.want(at(5)) && keys.due(at(5)).is_none());
        assert!(keys.want(at(61)));
    }

    #[test]
    fn a_reply_to_another_call_is_nobodys() {
        let keys = keys();
        let call = keys.due(at(0)).unwrap();
        assert!(!keys.heard(CallId(call.id.0 + 1), answer(200, SET), at(0)));
        assert!(!has_set(&keys, 0));
    }

    #[test]
    fn configured_keys_are_never_fetched() {
        let new = |set: &[u8], usage| Keys::new(&KeySource::Inline(set.to_vec()), usage);
        let keys = new(SET, Usage::Signatures).unwrap();
        assert!(has_set(&keys, 1_000_000) && keys.due(at(0)).is_none() && !keys.want(at(0)));
        assert!(new(b"{\"keys\":[]}", Usage::Signatures).is_none());
    }

    #[test]
    fn keys_of_a_trust_bundle_are_those_for_tokens() {
        let new = |said: &str, usage| {
            let set = String::from_utf8_lossy(SET).replace("\"kid\"", &format!("{said}\"kid\""));
            Keys::new(&KeySource::Inline(set.into_bytes()), usage).is_some()
        };
        let said = |word: &str| format!("\"use\":\"{word}\",");
        for (word, signatures, svids) in
            [("sig", true, true), ("jwt-svid", false, true), ("x509-svid", false, false)]
        {
            let (one, other) =
                (new(&said(word), Usage::Signatures), new(&said(word), Usage::Svids));
            assert_eq!((one, other), (signatures, svids), "{word}");
        }
    }
}
