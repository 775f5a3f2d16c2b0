//! Passkeys of a person: added, used, removed.
//!
//! Invariant: every use writes the counter in the transaction that it brings about. A person
//! cannot remove the last one: only an operator can, and so has to make a link.

use postern_core::hex;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use super::ceremony::{Assertion, Attestation, Challenge, Refused};
use super::challenge::{self, Given, Purpose};
use super::{Person, Refusal, SignedIn};
use crate::approvals::Approval;
use crate::fault::Fault;
use crate::service::Service;
use crate::store::passkeys::{self, Passkey};
use crate::store::people::Handle;
use crate::store::{Connection, Reach, Write};

/// Most passkeys of a person.
const MOST: usize = 10;
/// Most characters of what a passkey is called.
const LABEL: usize = 40;

/// A person who used a passkey over one request.
pub(crate) struct SteppedUp {
    approval: [u8; 16],
    person: Person,
}

impl SteppedUp {
    pub(crate) fn person(&self) -> &Person {
        &self.person
    }

    /// Over which request.
    pub(crate) fn approval(&self) -> &[u8; 16] {
        &self.approval
    }
}

/// What a passkey is called: a short text, or `passkey`.
pub(crate) fn label(text: &str) -> String {
    let kept: String = text.trim().chars().filter(|c| !c.is_control()).take(LABEL).collect();
    if kept.is_empty() { "passkey".to_owned() } else { kept }
}

/// What people and events name a passkey by.
pub(crate) fn name(credential: &[u8]) -> String {
    hex::lower(Sha256::digest(credential).get(..8).unwrap_or_default())
}

impl Service {
    /// Passkeys of a person.
    pub(crate) async fn passkeys(&self, handle: &Handle) -> Result<Vec<Passkey>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        passkeys::of(&mut db, &self.inner.rows, handle).await
    }

    /// Verifies a registration and writes the passkey.
    pub(super) async fn add_passkey(
        &self,
        mut db: Write,
        person: &Person,
        challenge: &Challenge,
        (text, answer): (&str, Attestation),
        now: UnixMillis,
    ) -> Result<Result<(), Refusal>, Fault> {
        let (rows, handle) = (&self.inner.rows, person.handle);
        let Some(people) = &self.inner.people else { return Ok(Err(Refusal::NoGood)) };
        if passkeys::of(&mut db, rows, &handle).await?.len() >= MOST {
            return Ok(Err(Refusal::Count));
        }
        let made = match people.site.register(challenge, &handle, answer) {
            Ok(made) => made,
            Err(refused) => {
                tracing::warn!(%refused, "registration");
                return Ok(Err(Refusal::NoGood));
            }
        };
        let passkey = Passkey {
            credential: made.credential,
            handle,
            label: label(text),
            fixed: made.fixed,
            state: made.state,
            created: now,
            used: None,
        };
        if !passkeys::add(&mut db, rows, &passkey).await? {
            return Ok(Err(Refusal::NoGood));
        }
        let event = person.event("passkey_registered");
        self.recorded(db, event.with("passkey", name(&passkey.credential)), now).await?;
        Ok(Ok(()))
    }

    /// Adds a passkey of somebody who has just signed in.
    pub(crate) async fn add_another(
        &self,
        who: &SignedIn,
        ends: UnixMillis,
        answer: (&str, Attestation),
        now: UnixMillis,
    ) -> Result<Result<(), Refusal>, Fault> {
        if !who.is_fresh(now) {
            return Ok(Err(Refusal::Stale));
        }
        let rows = &self.inner.rows;
        let given = Given::again(rows, Purpose::Register, who.browser(), ends, now);
        let Some(given) = given else { return Ok(Err(Refusal::NoGood)) };
        let mut db = self.inner.pool.write(Reach::All).await?;
        if !given.take(&mut db).await? {
            return Ok(Err(Refusal::NoGood));
        }
        self.add_passkey(db, who.person(), &given.challenge, answer, now).await
    }

    /// Removes one of several passkeys of somebody who has just signed in.
    pub(crate) async fn remove_own(
        &self,
        who: &SignedIn,
        which: &str,
        now: UnixMillis,
    ) -> Result<Result<(), Refusal>, Fault> {
        if !who.is_fresh(now) {
            return Ok(Err(Refusal::Stale));
        }
        let mut db = self.inner.pool.write(Reach::All).await?;
        let (rows, handle) = (&self.inner.rows, who.person().handle);
        let all = passkeys::of(&mut db, rows, &handle).await?;
        let Some(found) = all.iter().find(|passkey| name(&passkey.credential) == which) else {
            return Ok(Err(Refusal::NoGood));
        };
        if all.len() == 1 {
            return Ok(Err(Refusal::Count));
        }
        passkeys::remove(&mut db, &handle, &found.credential).await?;
        let event = who.person().event("passkey_removed").with("passkey", which);
        self.recorded(db, event, now).await?;
        Ok(Ok(()))
    }

    /// Verifies an assertion and writes the counter.
    pub(super) async fn use_passkey(
        &self,
        db: &mut Connection,
        challenge: &Challenge,
        mut passkey: Passkey,
        answer: Assertion,
        now: UnixMillis,
    ) -> Result<Result<(), Refusal>, Fault> {
        let Some(people) = &self.inner.people else { return Ok(Err(Refusal::NoGood)) };
        match people.site.verify(challenge, &passkey, answer) {
            Ok(state) => {
                passkey.state = state;
                passkey.used = Some(now);
                passkeys::used(db, &self.inner.rows, &passkey).await?;
                Ok(Ok(()))
            }
            Err(refused) => {
                tracing::warn!(%refused, passkey = name(&passkey.credential), "passkey");
                let copied = refused == Refused::Copied;
                Ok(Err(if copied { Refusal::Copied } else { Refusal::NoGood }))
            }
        }
    }

    /// Verifies that the person used a passkey over this very request, and writes the counter.
    /// What follows from it is for another transaction: a passkey that was used and decided
    /// nothing is used again.
    pub(crate) async fn step_up(
        &self,
        who: &SignedIn,
        approval: &Approval,
        answer: Assertion,
        now: UnixMillis,
    ) -> Result<Result<SteppedUp, Refusal>, Fault> {
        let mut db = self.inner.pool.write(Reach::All).await?;
        let found = passkeys::find(&mut db, &self.inner.rows, &answer.credential).await?;
        let own = found.filter(|passkey| passkey.handle == who.person().handle);
        let Some(passkey) = own else { return Ok(Err(Refusal::NoGood)) };
        let credential = answer.credential.clone();
        let challenge = challenge::of_request(approval);
        match self.use_passkey(&mut db, &challenge, passkey, answer, now).await? {
            Ok(()) => {
                db.commit().await?;
                Ok(Ok(SteppedUp { approval: approval.id, person: who.person().clone() }))
            }
            Err(Refusal::Copied) => {
                self.recorded(db, copied(who.person(), &credential), now).await?;
                Ok(Err(Refusal::Copied))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

/// A passkey that may have been copied; the only refusal that somebody has to look into.
pub(crate) fn copied(person: &Person, credential: &[u8]) -> crate::audit::Event {
    person.event("passkey_refused").with("passkey", name(credential)).with("reason", "counter")
}
