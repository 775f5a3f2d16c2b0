//! Keeps the revocation head fresh: shared data first, then a call, a lease between them.
//!
//! Owns what is held of revocations and how old it is. Knows no cache. Invariant: what is
//! held was signed by the key of valid evidence and never goes back; shared data and
//! leases only say where to look and when to ask.

use std::borrow::Cow;
use std::time::Duration;

use postern_core::effect::Metric;
use postern_core::hex;
use postern_core::key_service::{Call, CallId, Destination, MAX_ANSWER};
use postern_core::receipt::{ABSENT, SharedData};
use postern_core::revocation::{Freshness, Limits};
use postern_core::time::{Moment, UnixMillis};
use sha2::{Digest, Sha256};

use crate::revocation::{self, Head, List, Opened, Refusal};

/// Least time between two heads, in ticks of a second: every second tick.
const EVERY: Duration = Duration::from_millis(1500);
/// A lease: two ticks, and a half for a late one.
const LEASE: Duration = Duration::from_millis(2500);
/// With a head older than this, whatever the lease says, it is fetched.
const OVERDUE: Duration = Duration::from_secs(5);
/// From here on a head is late.
const LATE: Duration = Duration::from_secs(10);
/// A head may be signed this far ahead of our clock.
const AHEAD_S: u64 = 10;
const TIMEOUT: Duration = Duration::from_secs(2);

const LATE_COUNT: Metric = Metric("postern.revocation.late.total");
const FORGED: Metric = Metric("postern.revocation.refused.reason=forged.total");
const MALFORMED: Metric = Metric("postern.revocation.refused.reason=malformed.total");
const BACKWARDS: Metric = Metric("postern.revocation.refused.reason=backwards.total");
const AHEAD: Metric = Metric("postern.revocation.refused.reason=ahead.total");
const UNREACHABLE: Metric = Metric("postern.revocation.refused.reason=unreachable.total");

/// What a VM holds of revocations.
pub(super) struct Feed {
    limits: Limits,
    names: Names,
    /// When this VM began to look; a VM without a head counts from here.
    started: Option<UnixMillis>,
    held: Option<Held>,
    list: List,
    /// When the list last changed, by our clock.
    changed: UnixMillis,
    /// SHA-256 of what was last seen in shared data.
    seen: Option<[u8; 32]>,
    /// The holder's name in leases.
    me: [u8; 16],
    pending: Option<Pending>,
    asked: Option<UnixMillis>,
    calls: u32,
    /// The next answer has to bring its entries.
    whole: bool,
    late: bool,
    counts: Vec<Metric>,
}

struct Held {
    head: Head,
    /// When a newer one than before last came, by our clock.
    at: UnixMillis,
}

struct Pending {
    id: CallId,
    stage: Stage,
    until: UnixMillis,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Evidence, whose key signs heads.
    Evidence,
    /// The head.
    Head,
}

/// Keys of shared data. A module with another key service has others.
struct Names {
    head: String,
    lease: String,
}

impl Names {
    fn of(service: &[u8; 32]) -> Self {
        let of = |what: &str| {
            let digits: String = hex::lower(service.get(..8).unwrap_or(service));
            format!("revocation/{digits}/{what}")
        };
        Self { head: of("head"), lease: of("lease") }
    }
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Newer than what was held.
    Newer,
    /// Nothing new.
    Same,
    /// It says that evidence is no longer that of the service.
    UnknownKey,
    /// Refused.
    Refused,
}

impl Feed {
    /// `service` names whose heads they are: VMs with the same one share them.
    pub(super) fn new(limits: Limits, service: &[u8; 32]) -> Self {
        Self {
            limits,
            names: Names::of(service),
            started: None,
            held: None,
            list: List::default(),
            changed: UnixMillis(0),
            seen: None,
            me: [0; 16],
            pending: None,
            asked: None,
            calls: 0,
            whole: false,
            late: false,
            counts: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, now: UnixMillis) {
        self.started.get_or_insert(now);
    }

    /// The clock went back: no time that is held means anything.
    pub(super) fn forget_times(&mut self, now: UnixMillis) {
        self.started = Some(now);
        self.held = None;
        (self.asked, self.pending) = (None, None);
        self.changed = now;
        self.whole = true;
    }

    pub(super) fn list(&self) -> &List {
        &self.list
    }

    /// Whether what was asked for at `started` may be older than the list.
    pub(super) fn changed_since(&self, started: UnixMillis) -> bool {
        started <= self.changed
    }

    pub(super) fn freshness(&self, now: UnixMillis) -> Freshness {
        let ahead = |held: &&Held| held.head.ts > now.seconds().saturating_add(AHEAD_S);
        let held = self.held.as_ref().filter(|held| !ahead(held));
        let signed = held.map(|held| UnixMillis(held.head.ts.saturating_mul(1000)));
        let age = now.since(signed.or(self.started).unwrap_or(now));
        if age >= self.limits.all {
            Freshness::Stale
        } else if age >= self.limits.writes {
            Freshness::StaleForWrites
        } else if signed.is_none() || age >= LATE {
            Freshness::Late
        } else {
            Freshness::Live
        }
    }

    /// Whether it is time to ask, and nobody is asked.
    pub(super) fn is_due(&mut self, at: &Moment) -> bool {
        if self.me == [0; 16] {
            self.me.iter_mut().zip(at.entropy.0).for_each(|(to, from)| *to = from);
        }
        if self.pending.as_ref().is_some_and(|pending| at.now < pending.until) {
            return false;
        }
        self.pending = None;
        let rested = |since: UnixMillis| at.now.since(since) >= EVERY;
        self.held.as_ref().is_none_or(|held| rested(held.at)) && self.asked.is_none_or(rested)
    }

    /// Takes the lease, unless somebody else has it and does what it is for.
    pub(super) fn takes_lease(&self, shared: &mut dyn SharedData, now: UnixMillis) -> bool {
        let overdue = self.held.as_ref().is_none_or(|held| now.since(held.at) >= OVERDUE);
        let (lease, version) = match shared.read(&self.names.lease) {
            Some((bytes, version)) => (Lease::decode(&bytes), version),
            None => (None, ABSENT),
        };
        let theirs = lease.filter(|lease| lease.holder != self.me && lease.holds(now));
        if theirs.is_some() && !overdue {
            return false;
        }
        let mine = Lease { holder: self.me, until: now.after(LEASE) };
        shared.replace(&self.names.lease, &mine.encode(), version) || overdue
    }

    /// A call for `stage`.
    pub(super) fn call(&mut self, stage: Stage, now: UnixMillis) -> Call {
        let id = CallId(self.calls);
        self.calls = self.calls.wrapping_add(1);
        self.asked = Some(now);
        self.pending = Some(Pending { id, stage, until: now.after(TIMEOUT) });
        let path = match stage {
            Stage::Evidence => Cow::Borrowed("/crp/v1/evidence"),
            Stage::Head => self.path(),
        };
        Call {
            id,
            to: Destination::KeyService,
            method: "GET",
            path,
            content_type: "",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: TIMEOUT,
        }
    }

    fn path(&self) -> Cow<'static, str> {
        match &self.held {
            Some(held) if !self.whole => {
                format!("/crp/v1/revocations?since={}", held.head.epoch).into()
            }
            _ => Cow::Borrowed("/crp/v1/revocations"),
        }
    }

    /// What the call that came back was for.
    pub(super) fn answered(&mut self, call: CallId) -> Option<Stage> {
        let pending = self.pending.take_if(|pending| pending.id == call)?;
        Some(pending.stage)
    }

    /// Counts a call that brought nothing.
    pub(super) fn failed(&mut self) {
        self.counts.push(UNREACHABLE);
    }

    /// What others have put into shared data, if that is new.
    pub(super) fn found(&mut self, shared: &mut dyn SharedData) -> Option<Vec<u8>> {
        let (bytes, _) = shared.read(&self.names.head)?;
        let hash = Some(Sha256::digest(&bytes).into());
        (std::mem::replace(&mut self.seen, hash) != hash).then_some(bytes)
    }

    /// Shared data is to be looked at again: it could not be judged.
    pub(super) fn look_again(&mut self) {
        self.seen = None;
    }

    /// Opens an answer, from the service or from shared data.
    pub(super) fn take(&mut self, body: &[u8], key: &[u8; 32], now: UnixMillis) -> Taken {
        let opened = match revocation::open(body, key) {
            Ok(opened) => opened,
            Err(Refusal::UnknownKey) => return Taken::UnknownKey,
            Err(Refusal::Malformed) => return self.refused(MALFORMED),
            Err(Refusal::Forged | Refusal::List) => return self.refused(FORGED),
        };
        match self.judge(&opened, now) {
            Ok(true) => self.hold(opened, now),
            Ok(false) => Taken::Same,
            Err(metric) => self.refused(metric),
        }
    }

    /// Whether it is newer than what is held; an error when it cannot be genuine and new.
    fn judge(&mut self, opened: &Opened<'_>, now: UnixMillis) -> Result<bool, Metric> {
        let head = opened.head;
        if head.ts > now.seconds().saturating_add(AHEAD_S) {
            return Err(AHEAD);
        }
        if opened.list.is_none() && self.list.hash() != head.hash {
            self.whole = true;
            return Err(MALFORMED);
        }
        let Some(Held { head: held, .. }) = &self.held else { return Ok(true) };
        if head.epoch == held.epoch && head.hash != held.hash {
            return Err(FORGED);
        }
        if head.epoch < held.epoch || head.ts < held.ts {
            return Err(BACKWARDS);
        }
        Ok(head.epoch > held.epoch || head.ts > held.ts)
    }

    fn hold(&mut self, opened: Opened<'_>, now: UnixMillis) -> Taken {
        if let Some(list) = opened.list.filter(|list| *list != self.list) {
            self.list = list;
            self.changed = now;
        }
        self.held = Some(Held { head: opened.head, at: now });
        self.whole = false;
        Taken::Newer
    }

    fn refused(&mut self, metric: Metric) -> Taken {
        self.counts.push(metric);
        Taken::Refused
    }

    /// Leaves what was fetched to the other VMs; `note` is that of the head that is held.
    pub(super) fn share(&mut self, body: &[u8], shared: &mut dyn SharedData) {
        let note = crate::wire::Reader::new(body).lp16().ok().and_then(|n| str::from_utf8(n).ok());
        let whole = note.and_then(|note| revocation::answer(note, Some(&self.list)).ok());
        let Some(whole) = whole else { return };
        let version = shared.read(&self.names.head).map_or(ABSENT, |(_, version)| version);
        // Whoever was faster had it from the same service.
        let _ = shared.replace(&self.names.head, &whole, version);
        self.seen = Some(Sha256::digest(&whole).into());
    }

    /// What is to be counted; a head that is late counts once each time that it becomes so.
    pub(super) fn counts(&mut self, now: UnixMillis) -> Vec<Metric> {
        let late = self.held.is_some() && self.freshness(now) != Freshness::Live;
        if late && !self.late {
            self.counts.push(LATE_COUNT);
        }
        self.late = late;
        std::mem::take(&mut self.counts)
    }
}

/// Who fetches. Anybody can write one: see [`OVERDUE`].
struct Lease {
    holder: [u8; 16],
    until: UnixMillis,
}

impl Lease {
    fn holds(&self, now: UnixMillis) -> bool {
        now < self.until && self.until <= now.after(LEASE)
    }

    fn encode(&self) -> Vec<u8> {
        [self.holder.as_slice(), &self.until.0.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (holder, until) = bytes.split_first_chunk::<16>()?;
        let until = UnixMillis(u64::from_be_bytes(until.try_into().ok()?));
        Some(Self { holder: *holder, until })
    }
}
