//! Links by which a person registers a passkey: the first one, or one after all were lost.
//!
//! An operator makes them. Invariant: a code is good once, for ten minutes unless it was said
//! otherwise, and is kept as a hash; making another ends the one before.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

use super::attempts::Source;
use super::ceremony::Attestation;
use super::challenge::{Given, Purpose};
use super::{Person, Refusal};
use crate::fault::Fault;
use crate::random;
use crate::service::{Inner, Service};
use crate::store::people::{self, Handle};
use crate::store::{self};

/// How long a link is good unless the operator says otherwise, and at most.
pub const LIFE: Duration = Duration::from_secs(600);
/// The longest.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
const PREFIX: &str = "pp_";

/// A registration code. Shown to the operator who made it, and to nobody again.
pub(crate) struct Code(String);

impl Code {
    fn draw() -> Result<Self, Fault> {
        Ok(Self(format!("{PREFIX}{}", B64.encode(random::bytes::<32>()?))))
    }

    /// The link. The code is behind `#`, which browsers do not send: it is in no log.
    pub(crate) fn link(&self, origin: &str) -> String {
        format!("{origin}/.postern/register#{}", self.0)
    }
}

fn hash(code: &str) -> Option<[u8; 32]> {
    let text = code.trim().strip_prefix(PREFIX)?;
    let bytes: [u8; 32] = B64.decode(text).ok()?.try_into().ok()?;
    Some(Sha256::new().chain_update(b"postern person/1\0").chain_update(bytes).finalize().into())
}

impl Inner {
    /// A new link for a person.
    pub(crate) async fn link_for(
        &self,
        db: &mut SqliteConnection,
        handle: &Handle,
        ends: UnixMillis,
    ) -> Result<Code, Fault> {
        let code = Code::draw()?;
        let hash = hash(&code.0).ok_or(Fault::Malformed("code"))?;
        people::add_link(db, &self.rows, &hash, handle, ends).await?;
        Ok(code)
    }

    async fn whose(
        &self,
        db: &mut SqliteConnection,
        code: &str,
        now: UnixMillis,
    ) -> Result<Option<([u8; 32], Person)>, Fault> {
        let Some(hash) = hash(code) else { return Ok(None) };
        let Some(handle) = people::link(&mut *db, &self.rows, &hash, now).await? else {
            return Ok(None);
        };
        let record = people::find(db, &self.rows, &handle).await?;
        Ok(record.and_then(Person::of).map(|person| (hash, person)))
    }
}

impl Service {
    /// Whom a code is for. It stays good.
    pub(crate) async fn read_code(
        &self,
        code: &str,
        source: Source,
        now: UnixMillis,
    ) -> Result<Result<Person, Refusal>, Fault> {
        let Some(people) = &self.inner.people else { return Ok(Err(Refusal::NoGood)) };
        if let Err(often) = people.attempt(source, now) {
            return Ok(Err(often));
        }
        let mut db = self.inner.pool.acquire().await?;
        let found = self.inner.whose(&mut db, code, now).await?;
        Ok(found.map(|(_, person)| person).ok_or(Refusal::NoGood))
    }

    /// Registers a passkey by a code, and uses the code up.
    pub(crate) async fn register_by_code(
        &self,
        code: &str,
        (browser, ends): (&[u8; 32], UnixMillis),
        (label, answer): (&str, Attestation),
        source: Source,
        now: UnixMillis,
    ) -> Result<Result<Person, Refusal>, Fault> {
        let Some(people) = &self.inner.people else { return Ok(Err(Refusal::NoGood)) };
        if let Err(often) = people.attempt(source, now) {
            return Ok(Err(often));
        }
        let given = Given::again(&self.inner.rows, Purpose::Register, browser, ends, now);
        let Some(given) = given else { return Ok(Err(Refusal::NoGood)) };
        let mut db = store::write(&self.inner.pool).await?;
        let Some((hash, person)) = self.inner.whose(&mut db, code, now).await? else {
            return Ok(Err(Refusal::NoGood));
        };
        if !given.take(&mut db).await? || !people::use_link(&mut db, &hash).await? {
            return Ok(Err(Refusal::NoGood));
        }
        let added = self.add_passkey(db, &person, &given.challenge, (label, answer), now).await?;
        Ok(added.map(|()| person))
    }
}
