//! The key service as the modules ask it: implements the core's [`Directory`], [`Exchanges`],
//! [`Approvals`], [`Releases`], [`Vault`], [`Collector`], and, in `watch`, its revocation feed.
//!
//! Owns evidence, caches and calls in flight, shared by all streams of a VM. Knows no
//! socket and no clock: a question turns into a [`Call`](postern_core::key_service::Call)
//! for the host to make. Invariant: total; a value is cached only when the service
//! allows it, is used longer than [`UNWATCHED`] only under a live revocation head, and is
//! wiped when it leaves.

mod cache;
mod feed;
mod question;
#[cfg(test)]
mod tests;
mod watch;
#[cfg(test)]
mod watch_tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use postern_core::api_key::KeyId;
use postern_core::approvals::{Approvals, Ask, NotTold, Told};
use postern_core::config::ConfigError;
use postern_core::config::key_service::{Evidence, KeyService};
use postern_core::credential::{Release, Want};
use postern_core::key_service::{
    Acknowledged, Batch, CallId, CallResult, Collector, Directory, Exchanged, Exchanges, KeyEntry,
    KeyServiceFault, Minted, NotExchanged, Redemption, ReleaseDenied, Released, Releases, Stored,
    Turn, Vault,
};
use postern_core::revocation::{Freshness, Limits};
use postern_core::secret::Secret;
use postern_core::time::{Moment, UnixMillis};
use sha2::{Digest, Sha256};

use self::cache::{Bucket, Cache};
use self::feed::Feed;
use self::question::{Answered, Origin, Question, Questions};
use crate::evidence::Trust;
use crate::identity::{BadSeed, Identity, Role};
use crate::message::{Answer, Message, Status, approval, audit, directory, release};

/// Longest use of a cached value or record while no live revocation head is held: a
/// revoked key must be refused within five seconds.
pub const UNWATCHED: Duration = Duration::from_secs(3);
/// Longest life of a cached value.
pub const MAX_TTL: Duration = Duration::from_secs(300);
/// Life of a key's record. Each look-up tells the service that the key is in use.
const KEY_TTL: Duration = Duration::from_secs(60);
/// Life of a negative answer.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
const DIRECTORY_ENTRIES: usize = 1024;
/// A clock that goes back further than this makes everything kept worthless.
const CLOCK_JUMP: Duration = Duration::from_secs(120);

/// What a client is made from.
pub struct Settings {
    /// Who asks.
    pub gateway_id: [u8; 16],
    /// Tenant of this gateway.
    pub tenant: String,
    /// What the identity was enrolled for.
    pub role: Role,
    /// Seed of the identity's Ed25519 key, 32 bytes.
    pub seed: Secret,
    /// Whose evidence is accepted.
    pub trust: Trust,
    /// Names the service among all that share data: VMs with the same one share heads.
    pub service: [u8; 32],
    /// Longest life of a cached credential; [`MAX_TTL`] at most.
    pub cache_ttl: Duration,
    /// Most cached credentials.
    pub cache_entries: usize,
    /// Names the modules of this gateway, where the configuration says which they are.
    pub modules: Option<[u8; 32]>,
    /// Ages of a revocation head from which requests are refused.
    pub revocation: Limits,
}

impl Settings {
    /// For a module that is configured so; it caches no credentials.
    ///
    /// # Errors
    /// What [`Trust::of`] finds in the configuration.
    pub fn of(
        key_service: &KeyService,
        tenant: &str,
        role: Role,
        seed: Secret,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            gateway_id: key_service.gateway_id,
            tenant: tenant.to_owned(),
            role,
            seed,
            trust: Trust::of(&key_service.evidence)?,
            service: service(key_service),
            cache_ttl: Duration::ZERO,
            cache_entries: 0,
            modules: None,
            revocation: key_service.revocation,
        })
    }
}

/// SHA-256 over all that decides whose heads are good.
fn service(key_service: &KeyService) -> [u8; 32] {
    let place = [key_service.cluster.as_bytes(), key_service.authority.as_bytes()];
    let mut hash = Sha256::new().chain_update(b"crp/1 feed\0");
    for part in place.into_iter().chain(anchors(&key_service.evidence)) {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hash = hash.chain_update(length.to_be_bytes()).chain_update(part);
    }
    hash.finalize().into()
}

/// Whose word is behind the evidence that is accepted.
fn anchors(evidence: &Evidence) -> Vec<&[u8]> {
    match evidence {
        Evidence::Simulated { key } => vec![key.as_slice()],
        Evidence::Hardware(hardware) => {
            let keys = hardware.releases.keys.iter().map(String::as_bytes);
            std::iter::once(&b"hardware"[..]).chain(keys).collect()
        }
    }
}

/// Asks the key service, for all streams of a VM.
pub struct Client {
    origin: Origin,
    cache_ttl: Duration,
    state: RefCell<State>,
}

struct State {
    questions: Questions,
    keys: Cache<KeyId, KeyEntry>,
    unknown: Cache<KeyId, ()>,
    releases: Cache<[u8; 32], Kept>,
    bucket: Bucket,
    exchanges: Bucket,
    feed: Feed,
    latest: UnixMillis,
}

enum Kept {
    Released { release: Rc<Release>, uses_left: u16 },
    Refused(ReleaseDenied),
}

impl Client {
    /// A client with nothing cached and no evidence yet.
    pub fn new(settings: Settings) -> Result<Self, BadSeed> {
        let origin = Origin {
            identity: Identity::from_seed(&settings.seed)?,
            role: settings.role,
            gateway_id: settings.gateway_id,
            tenant: settings.tenant,
            trust: settings.trust,
            modules: settings.modules,
        };
        let state = State {
            questions: Questions::default(),
            keys: Cache::new(DIRECTORY_ENTRIES),
            unknown: Cache::new(DIRECTORY_ENTRIES),
            releases: Cache::new(settings.cache_entries),
            bucket: Bucket::of_ids(UnixMillis(0)),
            exchanges: Bucket::of_exchanges(UnixMillis(0)),
            feed: Feed::new(settings.revocation, &settings.service),
            latest: UnixMillis(0),
        };
        Ok(Self { origin, cache_ttl: settings.cache_ttl.min(MAX_TTL), state: RefCell::new(state) })
    }

    /// Runs `step` on the state. All streams of a VM run one at a time, so the borrow
    /// holds; if a host ever breaks that, the question fails and nothing traps.
    fn with<A>(&self, now: UnixMillis, step: impl FnOnce(&mut State) -> Turn<A>) -> Turn<A> {
        match self.state.try_borrow_mut() {
            Ok(mut state) => {
                state.observe(now);
                step(&mut state)
            }
            Err(_) => Turn::Failed(KeyServiceFault::Local),
        }
    }

    fn forget(&self, call: CallId) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.questions.abandon(call);
        }
    }

    fn take_entry(
        &self,
        state: &mut State,
        turn: Turn<Answered>,
        now: UnixMillis,
    ) -> Turn<Option<KeyEntry>> {
        conclude(turn, |Answered { question, answer, started }| {
            let Question::Key(id) = question else { return Err(KeyServiceFault::NotAuthentic) };
            let entry = match answer {
                Answer::Directory(answer) => self.only_entry(id, answer)?,
                Answer::Denied(_) => return Err(KeyServiceFault::NotReady),
                _ => return Err(KeyServiceFault::NotAuthentic),
            };
            state.remember_key(id, entry.clone(), started, now);
            Ok(entry)
        })
    }

    fn only_entry(
        &self,
        id: KeyId,
        answer: directory::Answer,
    ) -> Result<Option<KeyEntry>, KeyServiceFault> {
        let [(found, entry)] =
            <[_; 1]>::try_from(answer.entries).map_err(|_| KeyServiceFault::NotAuthentic)?;
        let ours = entry.as_ref().is_none_or(|entry| entry.record.tenant == self.origin.tenant);
        if found == id && ours { Ok(entry) } else { Err(KeyServiceFault::NotAuthentic) }
    }

    fn take_release(
        &self,
        state: &mut State,
        turn: Turn<Answered>,
        now: UnixMillis,
    ) -> Turn<Released> {
        conclude(turn, |Answered { question, answer, started }| {
            let (Question::Release(want), Answer::Release(answer)) = (question, answer) else {
                return Err(KeyServiceFault::NotAuthentic);
            };
            if answer.binding_hash != want.binding_hash {
                return Err(KeyServiceFault::NotAuthentic);
            }
            let life = self.lifetime(&want, &answer).min(state.longest(started));
            let kept_until = now.after(life);
            let uses_left = answer.max_uses.saturating_sub(1);
            let released = outcome(answer, now)?;
            state.remember_release(&want, &released, uses_left, kept_until, now);
            Ok(released)
        })
    }

    /// How long a value may be kept; zero for one that may not.
    fn lifetime(&self, want: &Want, answer: &release::Answer) -> Duration {
        if want.approval.is_some() || answer.max_uses < 2 {
            return Duration::ZERO;
        }
        Duration::from_secs(answer.ttl_s.into()).min(self.cache_ttl)
    }
}

/// Turns an answer into what the core asked for; `read` says what it means.
fn conclude<A>(
    turn: Turn<Answered>,
    read: impl FnOnce(Answered) -> Result<A, KeyServiceFault>,
) -> Turn<A> {
    match turn {
        Turn::Ask(call) => Turn::Ask(call),
        Turn::Failed(fault) => Turn::Failed(fault),
        Turn::Answer(answered) => match read(answered) {
            Ok(answer) => Turn::Answer(answer),
            Err(fault) => Turn::Failed(fault),
        },
    }
}

/// What a sealed release answer means.
fn outcome(answer: release::Answer, now: UnixMillis) -> Result<Released, KeyServiceFault> {
    let approval = answer.pending_approval();
    Ok(Err(match answer.status {
        Status::Ok if now < answer.not_after => {
            return Ok(Ok(Rc::new(Release {
                fields: answer.fields,
                version: answer.version,
                not_after: answer.not_after,
                audit_seq: answer.receipt.seq,
            })));
        }
        Status::Ok | Status::Expired => ReleaseDenied::Expired,
        Status::Denied => ReleaseDenied::Denied,
        Status::UnknownCredential => ReleaseDenied::Unknown,
        Status::NeedsApproval | Status::NeedsPasskey => ReleaseDenied::NeedsApproval { approval },
        Status::Revoked => ReleaseDenied::Revoked,
        Status::KekUnavailable | Status::Rate => return Err(KeyServiceFault::NotReady),
        Status::VersionConflict => return Err(KeyServiceFault::NotAuthentic),
    }))
}

impl State {
    fn observe(&mut self, now: UnixMillis) {
        if self.latest.since(now) > CLOCK_JUMP {
            self.questions.forget_evidence();
            self.keys.clear();
            self.unknown.clear();
            self.releases.clear();
            self.bucket = Bucket::of_ids(now);
            self.exchanges = Bucket::of_exchanges(now);
            self.feed.forget_times(now);
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        self.feed.begin(now);
        self.releases.sweep(now);
    }

    /// How long an answer to what was asked at `started` may be kept: it may be older than
    /// a change that we have heard of since.
    fn longest(&self, started: UnixMillis) -> Duration {
        if self.feed.changed_since(started) { UNWATCHED } else { MAX_TTL }
    }

    /// How long ago something kept may have come, for this moment.
    fn oldest(&self, now: UnixMillis) -> Duration {
        match self.feed.freshness(now) {
            Freshness::Live => Duration::MAX,
            _ => UNWATCHED,
        }
    }

    fn remember_key(
        &mut self,
        id: KeyId,
        entry: Option<KeyEntry>,
        started: UnixMillis,
        now: UnixMillis,
    ) {
        match entry {
            Some(entry) => {
                self.unknown.remove(&id);
                let life = KEY_TTL.min(self.longest(started));
                self.keys.put(id, entry, now, now.after(life));
            }
            None => {
                self.bucket.spend();
                self.keys.remove(&id);
                self.unknown.put(id, (), now, now.after(NEGATIVE_TTL));
            }
        }
    }

    fn remember_release(
        &mut self,
        want: &Want,
        released: &Released,
        uses_left: u16,
        kept_until: UnixMillis,
        now: UnixMillis,
    ) {
        match released {
            Ok(release) => {
                let until = kept_until.min(release.not_after);
                if now < until {
                    let kept = Kept::Released { release: Rc::clone(release), uses_left };
                    self.releases.put(cache_key(want), kept, now, until);
                }
            }
            Err(why @ (ReleaseDenied::Denied | ReleaseDenied::Unknown))
                if want.approval.is_none() =>
            {
                let kept = Kept::Refused(*why);
                self.releases.put(cache_key(want), kept, now, now.after(NEGATIVE_TTL));
            }
            Err(_) => {}
        }
    }

    fn remembered_release(&mut self, want: &Want, now: UnixMillis) -> Option<Released> {
        if want.approval.is_some() {
            return None;
        }
        let (key, oldest) = (cache_key(want), self.oldest(now));
        if let Kept::Refused(why) = self.releases.get(&key, now, Duration::MAX)? {
            return Some(Err(*why));
        }
        if self.feed.freshness(now) > Freshness::Late {
            return None;
        }
        match self.releases.get(&key, now, oldest)? {
            Kept::Refused(why) => Some(Err(*why)),
            Kept::Released { release, uses_left } => {
                *uses_left = uses_left.checked_sub(1)?;
                Some(Ok(Rc::clone(release)))
            }
        }
    }
}

/// A cached value serves only the same question. The path is not part of it: the
/// binding says which paths it is good for, and the permit was checked against that.
fn cache_key(want: &Want) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"crp/1 cache\0");
    for text in [&want.tenant, &want.agent, &want.credential, &want.host, &want.method] {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        hash = hash.chain_update(length.to_be_bytes()).chain_update(text.as_bytes());
    }
    let hash = hash.chain_update(want.caller_hash).chain_update(want.binding_hash);
    hash.chain_update(want.policy_hash).finalize().into()
}

impl Directory for Client {
    fn find(&self, id: &KeyId, at: Moment) -> Turn<Option<KeyEntry>> {
        self.with(at.now, |state| {
            let oldest = state.oldest(at.now);
            if let Some(entry) = state.keys.get(id, at.now, oldest) {
                return Turn::Answer(Some(entry.clone()));
            }
            if state.unknown.get(id, at.now, Duration::MAX).is_some() {
                return Turn::Answer(None);
            }
            // A key that was good before is asked for even while others guess ids.
            if !state.keys.knows(id) && state.bucket.is_empty(at.now) {
                return Turn::Failed(KeyServiceFault::Local);
            }
            let turn = state.questions.start(&self.origin, Question::Key(*id), &at);
            self.take_entry(state, turn, at.now)
        })
    }

    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Option<KeyEntry>> {
        self.with(at.now, |state| {
            let turn = state.questions.heard(&self.origin, call, result, &at);
            self.take_entry(state, turn, at.now)
        })
    }

    fn abandon(&self, call: CallId) {
        self.forget(call);
    }
}

impl Exchanges for Client {
    fn exchange(&self, redemption: Redemption, at: Moment) -> Turn<Exchanged> {
        self.with(at.now, |state| {
            // Anybody may ask, so that it must take no place of those who are known.
            if state.exchanges.is_empty(at.now) {
                return Turn::Answer(Err(NotExchanged::Rate));
            }
            state.exchanges.spend();
            let message = Message::Exchange(redemption.into());
            let question = Question::Kept(Box::new(message));
            exchanged(state.questions.start(&self.origin, question, &at))
        })
    }

    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Exchanged> {
        self.with(at.now, |state| exchanged(state.questions.heard(&self.origin, call, result, &at)))
    }

    fn abandon(&self, call: CallId) {
        self.forget(call);
    }
}

fn exchanged(turn: Turn<Answered>) -> Turn<Exchanged> {
    conclude(turn, |answered| match answered.answer {
        Answer::Exchange(answer) => Ok(Ok(answer.token)),
        Answer::Denied(Status::Denied) => Ok(Err(NotExchanged::Refused)),
        Answer::Denied(Status::Rate) => Ok(Err(NotExchanged::Rate)),
        Answer::Denied(_) => Err(KeyServiceFault::NotReady),
        _ => Err(KeyServiceFault::NotAuthentic),
    })
}

impl Approvals for Client {
    fn ask(&self, ask: Ask, at: Moment) -> Turn<Told> {
        self.approval(approval::Request::Ask(Box::new(ask)), at)
    }

    fn poll(&self, id: [u8; 16], subject_hash: [u8; 32], at: Moment) -> Turn<Told> {
        self.approval(approval::Request::Poll { id, subject_hash }, at)
    }

    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Told> {
        self.with(at.now, |state| told(state.questions.heard(&self.origin, call, result, &at)))
    }

    fn abandon(&self, call: CallId) {
        self.forget(call);
    }
}

impl Client {
    fn approval(&self, request: approval::Request, at: Moment) -> Turn<Told> {
        self.with(at.now, |state| {
            let question = Question::Kept(Box::new(Message::Approval(request)));
            told(state.questions.start(&self.origin, question, &at))
        })
    }
}

fn told(turn: Turn<Answered>) -> Turn<Told> {
    conclude(turn, |answered| match answered.answer {
        Answer::Approval(answer) => Ok(Ok(answer.standing)),
        Answer::Denied(Status::Denied) => Ok(Err(NotTold::Unknown)),
        Answer::Denied(Status::Rate) => Ok(Err(NotTold::Rate)),
        Answer::Denied(_) => Err(KeyServiceFault::NotReady),
        _ => Err(KeyServiceFault::NotAuthentic),
    })
}

impl Releases for Client {
    fn ask(&self, want: &Want, at: Moment) -> Turn<Released> {
        self.with(at.now, |state| {
            if want.tenant != self.origin.tenant {
                return Turn::Answer(Err(ReleaseDenied::Denied));
            }
            if self.revokes(state, want) {
                return Turn::Answer(Err(ReleaseDenied::Revoked));
            }
            if !state.feed.freshness(at.now).allows(want.method.as_bytes()) {
                return Turn::Failed(KeyServiceFault::RevocationStale);
            }
            if let Some(released) = state.remembered_release(want, at.now) {
                return Turn::Answer(released);
            }
            let question = Question::Release(Box::new(want.clone()));
            let turn = state.questions.start(&self.origin, question, &at);
            self.take_release(state, turn, at.now)
        })
    }

    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Released> {
        self.with(at.now, |state| {
            let turn = state.questions.heard(&self.origin, call, result, &at);
            self.take_release(state, turn, at.now)
        })
    }

    fn abandon(&self, call: CallId) {
        self.forget(call);
    }
}

impl Vault for Client {
    fn store(&self, minted: Minted, at: Moment) -> Turn<Stored> {
        self.with(at.now, |state| {
            let message = Message::Store(minted.into());
            let question = Question::Kept(Box::new(message));
            stored(state.questions.start(&self.origin, question, &at))
        })
    }

    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Stored> {
        self.with(at.now, |state| stored(state.questions.heard(&self.origin, call, result, &at)))
    }

    fn abandon(&self, call: CallId) {
        self.forget(call);
    }
}

fn stored(turn: Turn<Answered>) -> Turn<Stored> {
    conclude(turn, |answered| match answered.answer {
        Answer::Store(_) => Ok(Stored),
        Answer::Denied(_) => Err(KeyServiceFault::NotReady),
        _ => Err(KeyServiceFault::NotAuthentic),
    })
}

impl Collector for Client {
    fn submit(&self, batch: &Batch, at: Moment) -> Turn<Acknowledged> {
        self.with(at.now, |state| {
            if !audit::fits(batch) {
                return Turn::Failed(KeyServiceFault::Local);
            }
            let question = Question::Batch(Box::new(batch.clone()));
            acknowledged(state.questions.start(&self.origin, question, &at))
        })
    }

    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Acknowledged> {
        self.with(at.now, |state| {
            acknowledged(state.questions.heard(&self.origin, call, result, &at))
        })
    }
}

fn acknowledged(turn: Turn<Answered>) -> Turn<Acknowledged> {
    conclude(turn, |answered| match answered.answer {
        Answer::Audit(answer) => Ok(answer.into()),
        Answer::Denied(_) => Err(KeyServiceFault::NotReady),
        _ => Err(KeyServiceFault::NotAuthentic),
    })
}
