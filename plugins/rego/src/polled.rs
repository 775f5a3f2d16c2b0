//! A bundle that is fetched again and again, as OPA's bundle plugin does it.
//!
//! Owns when it is asked for, what is taken, and how long the last good one decides. One
//! worker polls for itself. Requests never fetch, and never wait.
//!
//! Invariant: nothing decides but a bundle whose signature a configured key has made, that loads
//! whole, and that is not older than the one before; whatever else comes replaces nothing. A
//! policy that nobody has confirmed for the time it is kept decides no more.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use postern_core::config::gate::{PolicySource, Poll};
use postern_core::effect::Metric;
use postern_core::fields::Fields;
use postern_core::key_service::{
    Background, Call, CallAnswer, CallId, CallResult, Destination, Told,
};
use postern_core::policy::{Policies, Policy};
use postern_core::time::UnixMillis;
use postern_jose::KeySet;
use sha2::{Digest, Sha256};

use crate::bundle::{self, Bundle, LARGEST_PACKED};
use crate::{Rego, of_bundle};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Before a failed fetch is tried again; doubles up to [`SLOWEST`] or the usual interval.
const RETRY: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);
/// Longest entity tag that is sent back.
const LONGEST_TAG: usize = 256;
/// Longest line about what happened.
const LONGEST_LINE: usize = 300;

const TAKEN: Metric = Metric("postern.policy.taken.total");
const REFUSED: Metric = Metric("postern.policy.refused.total");
const UNREACHABLE: Metric = Metric("postern.policy.unreachable.total");
const EXPIRED: Metric = Metric("postern.policy.expired.total");

/// The policy of a gate whose bundle is polled.
pub(crate) struct Polled {
    poll: Poll,
    source: PolicySource,
    keys: KeySet,
    /// Content is held, so a policy may read it.
    holds: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    policy: Option<Rc<Rego>>,
    /// When somebody last said that it is the one; `None` before the first tick or request.
    at: Option<UnixMillis>,
    /// What the server calls it.
    tag: Option<String>,
    /// Of the last one that was taken, and stays when that has expired.
    digest: [u8; 32],
    serial: Option<u64>,
    out: Option<Out>,
    next: UnixMillis,
    failures: u32,
    calls: u32,
    told: Vec<Told>,
}

struct Out {
    call: CallId,
    since: UnixMillis,
    /// It has said what is here.
    conditional: bool,
}

/// Why a fetch has brought nothing.
enum Miss {
    Unreachable(String),
    Refused(String),
}

impl Polled {
    /// Begins with this bundle of the document, or with none.
    pub(crate) fn new(
        poll: &Poll,
        source: &PolicySource,
        keys: KeySet,
        holds: bool,
        first: Option<(Rc<Rego>, Option<u64>, [u8; 32])>,
    ) -> Self {
        let mut state = State::default();
        if let Some((policy, serial, digest)) = first {
            state = State { policy: Some(policy), serial, digest, ..state };
        }
        // The document's own bundle is not needed again.
        let source = PolicySource { bundle: None, ..source.clone() };
        Self { poll: poll.clone(), source, keys, holds, state: RefCell::new(state) }
    }

    /// What an answer means; true when another policy decides from now on.
    fn take(&self, state: &mut State, result: CallResult, out: &Out) -> Result<bool, Miss> {
        let answer = result.map_err(|failure| Miss::Unreachable(format!("{failure:?}")))?;
        match answer.status {
            Some(304) if out.conditional && state.policy.is_some() => Ok(false),
            Some(200) => self.replace(state, &answer),
            status => {
                let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
                Err(Miss::Unreachable(format!("status {status}")))
            }
        }
    }

    fn replace(&self, state: &mut State, answer: &CallAnswer) -> Result<bool, Miss> {
        let digest: [u8; 32] = Sha256::digest(&answer.body).into();
        let known = digest == state.digest;
        let news = !known || state.policy.is_none();
        if news {
            let bundle = bundle::read(&answer.body, Some(&self.keys)).map_err(Miss::Refused)?;
            let serial = bundle.serial;
            self.check_order(state, serial, known).map_err(Miss::Refused)?;
            state.policy = Some(Rc::new(self.load(bundle).map_err(Miss::Refused)?));
            (state.digest, state.serial) = (digest, serial);
        }
        state.tag = tag(&answer.fields);
        Ok(news)
    }

    /// Nothing that has a number goes back to a smaller one, or to none.
    fn check_order(&self, state: &State, serial: Option<u64>, known: bool) -> Result<(), String> {
        let text = serial.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
        if self.poll.least_serial > 0 && serial.is_none_or(|it| it < self.poll.least_serial) {
            return Err(format!("serial {text}: expected at least {}", self.poll.least_serial));
        }
        let Some(have) = state.serial else { return Ok(()) };
        match serial {
            Some(serial) if serial > have || (serial == have && known) => Ok(()),
            Some(serial) if serial == have => {
                Err(format!("serial {text}: another bundle had the same"))
            }
            _ => Err(format!("serial {text}: {have} was taken before")),
        }
    }

    fn load(&self, bundle: Bundle) -> Result<Rego, String> {
        let rego = of_bundle(bundle, &self.source)
            .map_err(|error| error.problems.first().map(ToString::to_string).unwrap_or_default())?;
        if rego.reads_content() && !self.holds {
            return Err("it reads the content, and `body` is not hold".to_owned());
        }
        Ok(rego)
    }

    fn settle(&self, state: &mut State, taken: Result<bool, Miss>, now: UnixMillis) {
        let miss = match taken {
            Ok(news) => {
                (state.at, state.failures) = (Some(now), 0);
                state.next = now.after(self.poll.every);
                if news {
                    state.note(TAKEN, &format!("policy bundle taken: {}", state.name()));
                }
                return;
            }
            Err(miss) => miss,
        };
        let longer = 1_u32.checked_shl(state.failures.min(8)).unwrap_or(u32::MAX);
        let pause = RETRY.saturating_mul(longer).min(SLOWEST).min(self.poll.every);
        state.failures = state.failures.saturating_add(1);
        state.next = now.after(pause);
        match miss {
            Miss::Unreachable(why) => {
                state.note(UNREACHABLE, &format!("policy bundle not fetched: {why}"));
            }
            Miss::Refused(why) => state.note(REFUSED, &format!("policy bundle refused: {why}")),
        }
    }

    /// A clock that was set back makes nothing younger: what was confirmed in the future is
    /// confirmed now, and is asked about now.
    fn set_back(&self, state: &mut State, now: UnixMillis) {
        let ahead = |at: UnixMillis| at > now;
        if state.at.is_some_and(ahead) || state.next > now.after(self.poll.every) {
            state.at = state.at.map(|at| at.min(now));
            state.next = now;
        }
        state.out.take_if(|out| ahead(out.since));
    }

    /// A policy that nobody has confirmed for too long is none.
    fn expire(&self, state: &mut State, now: UnixMillis) {
        self.set_back(state, now);
        let at = *state.at.get_or_insert(now);
        if state.policy.is_some() && now.since(at) >= self.poll.keep {
            (state.policy, state.tag) = (None, None);
            state.note(EXPIRED, "policy bundle too old: every request is refused");
        }
    }
}

impl State {
    fn name(&self) -> String {
        let revision = self.policy.as_ref().and_then(|policy| policy.revision());
        let serial = self.serial.map(|serial| format!(", serial {serial}")).unwrap_or_default();
        format!("revision {}{serial}", revision.unwrap_or("without a name"))
    }

    /// What a server chose to say does not end a line, and is short.
    fn note(&mut self, metric: Metric, text: &str) {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let text = text.chars().map(plain).take(LONGEST_LINE).collect();
        self.told.push(Told { metric, text });
    }
}

/// The entity tag (RFC 9110, 8.8.3), if it can be sent back.
fn tag(fields: &Fields) -> Option<String> {
    let tag = str::from_utf8(fields.only("etag")?).ok()?;
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    let quoted = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))?;
    let plain = quoted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    (plain && tag.len() <= LONGEST_TAG).then(|| tag.to_owned())
}

impl Policies for Polled {
    fn current(self: Rc<Self>, now: UnixMillis) -> Option<Rc<dyn Policy>> {
        let mut state = self.state.try_borrow_mut().ok()?;
        self.expire(&mut state, now);
        state.policy.clone().map(|policy| policy as Rc<dyn Policy>)
    }
}

impl Background for Polled {
    fn due(&self, now: UnixMillis) -> Option<Call> {
        let mut state = self.state.try_borrow_mut().ok()?;
        self.expire(&mut state, now);
        // A host that lost the call has given up long ago.
        let out = state.out.as_ref().is_some_and(|out| now.since(out.since) < SLOWEST);
        if out || state.next > now {
            return None;
        }
        let call = CallId(state.calls);
        state.calls = state.calls.wrapping_add(1);
        let unless = state.tag.clone();
        state.out = Some(Out { call, since: now, conditional: unless.is_some() });
        let from = &self.poll.from;
        Some(Call {
            id: call,
            to: Destination::Named {
                cluster: from.cluster.clone(),
                authority: from.authority.clone(),
            },
            method: "GET",
            path: from.path.clone().into(),
            content_type: "",
            authorization: None,
            unless,
            most: LARGEST_PACKED,
            body: Vec::new(),
            timeout: TIMEOUT,
        })
    }

    fn heard(&self, call: CallId, result: CallResult, now: UnixMillis) -> bool {
        let Ok(mut state) = self.state.try_borrow_mut() else { return false };
        let Some(out) = state.out.take_if(|out| out.call == call) else { return false };
        let taken = self.take(&mut state, result, &out);
        self.settle(&mut state, taken, now);
        false
    }

    fn told(&self) -> Vec<Told> {
        let state = self.state.try_borrow_mut();
        state.map(|mut state| std::mem::take(&mut state.told)).unwrap_or_default()
    }

    fn needed(&self) -> bool {
        self.state.try_borrow().is_ok_and(|state| state.policy.is_none())
    }
}

#[cfg(test)]
mod tests;
