//! The key service as the modules ask it: implements the core's [`Directory`],
//! [`Releases`], [`Vault`] and [`Collector`].
//!
//! Owns evidence, caches and calls in flight, shared by all streams of a VM. Knows no
//! socket and no clock: a question turns into a [`Call`](postern_core::key_service::Call)
//! for the host to make. Invariant: total; a value is cached only when the service
//! allows it, never longer than [`MAX_TTL`], and is wiped when it leaves.

mod cache;
mod question;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use postern_core::api_key::KeyId;
use postern_core::config::key_service::KeyService;
use postern_core::credential::{Release, Want};
use postern_core::key_service::{
    Acknowledged, Batch, CallId, CallResult, Collector, Directory, KeyEntry, KeyServiceFault,
    Minted, ReleaseDenied, Released, Releases, Stored, Turn, Vault,
};
use postern_core::secret::Secret;
use postern_core::time::{Moment, UnixMillis};
use sha2::{Digest, Sha256};

use self::cache::{Bucket, Cache};
use self::question::{Answered, Origin, Question, Questions};
use crate::evidence::Trust;
use crate::identity::{BadSeed, Identity, Role};
use crate::message::{Answer, Message, Status, audit, directory, release};

/// Longest life of a cached value or record: there is no revocation feed yet, and a
/// revoked key must be refused within five seconds.
pub const MAX_TTL: Duration = Duration::from_secs(3);
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
    /// Development key whose `sim` evidence is accepted; with `None` no evidence is.
    pub simulated: Option<[u8; 32]>,
    /// Longest life of a cached credential; [`MAX_TTL`] at most.
    pub cache_ttl: Duration,
    /// Most cached credentials.
    pub cache_entries: usize,
}

impl Settings {
    /// For a module that is configured so; it caches no credentials.
    pub fn of(key_service: &KeyService, tenant: &str, role: Role, seed: Secret) -> Self {
        Self {
            gateway_id: key_service.gateway_id,
            tenant: tenant.to_owned(),
            role,
            seed,
            simulated: key_service.evidence.simulated(),
            cache_ttl: Duration::ZERO,
            cache_entries: 0,
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
            trust: Trust { simulated: settings.simulated },
        };
        let state = State {
            questions: Questions::default(),
            keys: Cache::new(DIRECTORY_ENTRIES),
            unknown: Cache::new(DIRECTORY_ENTRIES),
            releases: Cache::new(settings.cache_entries),
            bucket: Bucket::full(UnixMillis(0)),
            latest: UnixMillis(0),
        };
        Ok(Self { origin, cache_ttl: settings.cache_ttl.min(MAX_TTL), state: RefCell::new(state) })
    }

    /// Wipes what has expired. Good to call now and then; nothing expired is ever used.
    pub fn tick(&self, now: UnixMillis) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.observe(now);
        }
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
        conclude(turn, |question, answer| {
            let Question::Key(id) = question else { return Err(KeyServiceFault::NotAuthentic) };
            let entry = match answer {
                Answer::Directory(answer) => self.only_entry(id, answer)?,
                Answer::Denied(_) => return Err(KeyServiceFault::NotReady),
                _ => return Err(KeyServiceFault::NotAuthentic),
            };
            state.remember_key(id, entry.clone(), now);
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
        conclude(turn, |question, answer| {
            let (Question::Release(want), Answer::Release(answer)) = (question, answer) else {
                return Err(KeyServiceFault::NotAuthentic);
            };
            if answer.binding_hash != want.binding_hash {
                return Err(KeyServiceFault::NotAuthentic);
            }
            let kept_until = now.after(self.lifetime(&want, &answer));
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
    read: impl FnOnce(Question, Answer) -> Result<A, KeyServiceFault>,
) -> Turn<A> {
    match turn {
        Turn::Ask(call) => Turn::Ask(call),
        Turn::Failed(fault) => Turn::Failed(fault),
        Turn::Answer((question, answer)) => match read(question, answer) {
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
            self.bucket = Bucket::full(now);
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        self.releases.sweep(now);
    }

    fn remember_key(&mut self, id: KeyId, entry: Option<KeyEntry>, now: UnixMillis) {
        match entry {
            Some(entry) => {
                self.unknown.remove(&id);
                self.keys.put(id, entry, now.after(MAX_TTL));
            }
            None => {
                self.bucket.spend();
                self.keys.remove(&id);
                self.unknown.put(id, (), now.after(NEGATIVE_TTL));
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
                    self.releases.put(cache_key(want), kept, until);
                }
            }
            Err(why @ (ReleaseDenied::Denied | ReleaseDenied::Unknown))
                if want.approval.is_none() =>
            {
                self.releases.put(cache_key(want), Kept::Refused(*why), now.after(NEGATIVE_TTL));
            }
            Err(_) => {}
        }
    }

    fn remembered_release(&mut self, want: &Want, now: UnixMillis) -> Option<Released> {
        if want.approval.is_some() {
            return None;
        }
        match self.releases.get(&cache_key(want), now)? {
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
    hash.chain_update(want.caller_hash).chain_update(want.binding_hash).finalize().into()
}

impl Directory for Client {
    fn find(&self, id: &KeyId, at: Moment) -> Turn<Option<KeyEntry>> {
        self.with(at.now, |state| {
            if let Some(entry) = state.keys.get(id, at.now) {
                return Turn::Answer(Some(entry.clone()));
            }
            if state.unknown.get(id, at.now).is_some() {
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

impl Releases for Client {
    fn ask(&self, want: &Want, at: Moment) -> Turn<Released> {
        self.with(at.now, |state| {
            if want.tenant != self.origin.tenant {
                return Turn::Answer(Err(ReleaseDenied::Denied));
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
            let question = Question::Store(Box::new(message));
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
    conclude(turn, |_, answer| match answer {
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
    conclude(turn, |_, answer| match answer {
        Answer::Audit(answer) => Ok(answer.into()),
        Answer::Denied(_) => Err(KeyServiceFault::NotReady),
        _ => Err(KeyServiceFault::NotAuthentic),
    })
}
