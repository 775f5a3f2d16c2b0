//! API keys: recognised by their prefix, compared with what the directory holds.
//!
//! Invariant: unknown, wrong, expired and revoked keys cost the same comparison and get the
//! same answer, and so does one whose record has a role or trust level that this gate does not
//! know; a key whose form or checksum is wrong is refused without a look-up.

use std::rc::Rc;

use crate::api_key::{PresentedKey, StoredKey};
use crate::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Sight, Verdict,
};
use crate::config::gate::ApiKeyField;
use crate::denial::{Denial, TokenReason};
use crate::identity::{DirectoryRecord, Identity, KeyState, Kind, ROLES, TRUST_LEVELS};
use crate::key_service::{CallId, CallResult, Directory, KeyEntry, KeyServiceFault, Turn};
use crate::time::{Moment, UnixMillis};

/// The API keys of one field.
pub struct ApiKeys {
    field: ApiKeyField,
    directory: Rc<dyn Directory>,
}

impl ApiKeys {
    /// Keys in this field, looked up there.
    pub fn new(field: ApiKeyField, directory: Rc<dyn Directory>) -> Self {
        Self { field, directory }
    }
}

impl Authenticator for ApiKeys {
    fn kind(&self) -> Kind {
        Kind::ApiKey
    }

    fn sight(&self, presented: &Presented<'_>) -> Sight {
        let header = self.field.header.as_str();
        if presented.value(header).is_none() {
            return Sight::Absent;
        }
        let bare = match self.field.is_bearer() {
            true => presented.token(header, &["Bearer"]),
            false => presented.value(header),
        };
        let Some(bare) = bare else { return Sight::Unlike(TokenReason::Scheme) };
        if !self.field.prefixes.iter().any(|prefix| bare.starts_with(prefix)) {
            return Sight::Unlike(TokenReason::Syntax);
        }
        let key = PresentedKey::parse(bare.as_bytes(), &self.field.prefixes);
        let attempt = KeyAttempt { key, directory: Rc::clone(&self.directory), call: None };
        Sight::Recognised { place: header.to_owned(), attempt: Box::new(attempt) }
    }
}

/// One key; `None` where only its prefix is right.
struct KeyAttempt {
    key: Option<PresentedKey>,
    directory: Rc<dyn Directory>,
    call: Option<CallId>,
}

impl Attempt for KeyAttempt {
    fn start(&mut self, at: Moment) -> Progress {
        let now = at.now;
        match self.key.as_ref().map(|key| self.directory.find(&key.id(), at)) {
            Some(turn) => self.turn(turn, now),
            None => Progress::Done(Err(Denial::InvalidToken(TokenReason::Syntax))),
        }
    }

    fn heard(&mut self, call: CallId, result: CallResult, at: Moment) -> Progress {
        let now = at.now;
        let turn = self.directory.heard(call, result, at);
        self.turn(turn, now)
    }

    fn look(&mut self, _: UnixMillis) -> Option<Verdict> {
        None
    }

    fn abandon(&mut self) {
        if let Some(call) = self.call.take() {
            self.directory.abandon(call);
        }
    }

    fn late(&self) -> Denial {
        Denial::from(KeyServiceFault::TimedOut)
    }
}

impl KeyAttempt {
    fn turn(&mut self, turn: Turn<Option<KeyEntry>>, now: UnixMillis) -> Progress {
        self.call = None;
        match turn {
            Turn::Ask(call) => {
                self.call = Some(call.id);
                Progress::Ask(call)
            }
            Turn::Answer(entry) => Progress::Done(self.compare(entry, now)),
            Turn::Failed(fault) => Progress::Done(Err(Denial::from(fault))),
        }
    }

    fn compare(&self, entry: Option<KeyEntry>, now: UnixMillis) -> Verdict {
        let key = self.key.as_ref().ok_or(Denial::InvalidToken(TokenReason::Syntax))?;
        let stored = entry.as_ref().map_or(&StoredKey::DUMMY, |entry| &entry.stored);
        let matches = key.matches(stored);
        let record = entry.map(|entry| entry.record);
        match verdict(record.as_ref(), matches, now) {
            Some(reason) => Err(Denial::InvalidToken(reason)),
            None => record
                .map(|record| Established::verified(identity(key, record)))
                .ok_or(Denial::InvalidToken(TokenReason::Unknown)),
        }
    }
}

fn verdict(
    record: Option<&DirectoryRecord>,
    matches: bool,
    now: UnixMillis,
) -> Option<TokenReason> {
    let Some(record) = record else { return Some(TokenReason::Unknown) };
    // Only the holder of the whole key learns, in the audit, what became of it.
    if !matches {
        return Some(TokenReason::Mismatch);
    }
    if record.state == KeyState::Revoked {
        return Some(TokenReason::Revoked);
    }
    if record.not_after.is_some_and(|end| end <= now) {
        return Some(TokenReason::Expired);
    }
    (!names_are_known(record)).then_some(TokenReason::RecordName)
}

/// A role or trust level of a newer key service, or of none, means nothing here: a rule that
/// says who may not would let it pass.
fn names_are_known(record: &DirectoryRecord) -> bool {
    let role = |role: &String| ROLES.contains(&role.as_str());
    record.roles.iter().all(role) && TRUST_LEVELS.contains(&record.trust.as_str())
}

fn identity(key: &PresentedKey, record: DirectoryRecord) -> Identity {
    let id = key.id();
    Identity {
        subject: format!("key:{}", id.as_str()),
        kind: Kind::ApiKey,
        tenant: record.tenant,
        organisation: record.organisation,
        user: record.user,
        agent: record.agent,
        roles: record.roles,
        scopes: record.scopes,
        trust: record.trust,
        clearance: record.clearance,
        document: None,
        token_id: id.as_str().to_owned(),
        expires: record.not_after.map(UnixMillis::seconds),
        platform: record.platform,
    }
}
