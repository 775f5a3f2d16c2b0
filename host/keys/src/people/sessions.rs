//! Who is signed in.
//!
//! A browser holds 32 random bytes; the database their hash. Invariant: a session ends by its
//! time, by lying idle, by signing out, by an operator, or with the person; a person has at
//! most [`sessions::MOST`].

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use super::attempts::Source;
use super::ceremony::Assertion;
use super::challenge::{Given, Purpose};
use super::passkeys::copied;
use super::{Person, Refusal};
use crate::envelope::RowBytes;
use crate::fault::Fault;
use crate::random;
use crate::service::Service;
use crate::store::sessions::{self, Session};
use crate::store::{Reach, passkeys, people};

/// How exactly the last use is known, so that not every look at a page writes.
const SEEN_MS: u64 = 60_000;
/// How long after a sign-in a passkey may be added or removed.
const FRESH_MS: u64 = 5 * 60_000;

/// What a browser holds. Not printed; leaves by `Set-Cookie` alone.
pub(crate) struct Token(String);

impl Token {
    /// 32 random bytes, base64url.
    pub(crate) fn draw() -> Result<Self, Fault> {
        Ok(Self(B64.encode(random::bytes::<32>()?)))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// The hash of what a browser holds; `None` where that is not of the form that we give out.
pub(crate) fn hash(token: &str) -> Option<[u8; 32]> {
    let bytes: [u8; 32] = B64.decode(token).ok()?.try_into().ok()?;
    Some(Sha256::new().chain_update(b"postern session/1\0").chain_update(bytes).finalize().into())
}

/// A person with a live session.
pub(crate) struct SignedIn {
    person: Person,
    session: Session,
}

impl SignedIn {
    pub(crate) fn person(&self) -> &Person {
        &self.person
    }

    /// What stands for the browser in challenges and form tokens.
    pub(crate) fn browser(&self) -> &[u8; 32] {
        &self.session.hash
    }

    /// Whether the sign-in is recent enough to change passkeys.
    pub(crate) fn is_fresh(&self, now: UnixMillis) -> bool {
        now.0.saturating_sub(self.session.signed_in.0) <= FRESH_MS
    }
}

impl Service {
    /// The person whose browser holds `token`; with `looks`, it counts as a use.
    pub(crate) async fn signed_in(
        &self,
        token: &str,
        looks: bool,
        now: UnixMillis,
    ) -> Result<Option<SignedIn>, Fault> {
        let (Some(people), Some(hash)) = (&self.inner.people, hash(token)) else { return Ok(None) };
        let rows = &self.inner.rows;
        let mut db = self.inner.pool.read(Reach::All).await?;
        let Some(mut session) = sessions::find(&mut db, rows, &hash).await? else {
            return Ok(None);
        };
        if session.expires <= now || session.seen.after(people.settings.idle) <= now {
            return Ok(None);
        }
        let record = people::find(&mut db, rows, &session.handle).await?;
        let Some(person) = record.and_then(Person::of) else { return Ok(None) };
        if looks && now.0.saturating_sub(session.seen.0) >= SEEN_MS {
            // A connection to read with writes nothing.
            drop(db);
            let mut db = self.inner.pool.write(Reach::Tenant(&person.tenant)).await?;
            session.seen = now;
            sessions::seen(&mut db, rows, &session).await?;
            db.commit().await?;
        }
        Ok(Some(SignedIn { person, session }))
    }

    /// Signs in whoever answered the challenge that `browser` was given.
    pub(crate) async fn sign_in(
        &self,
        (browser, ends): (&[u8; 32], UnixMillis),
        answer: Assertion,
        source: Source,
        now: UnixMillis,
    ) -> Result<Result<Token, Refusal>, Fault> {
        let Some(people) = &self.inner.people else { return Ok(Err(Refusal::NoGood)) };
        if let Err(often) = people.attempt(source, now) {
            return Ok(Err(often));
        }
        let rows = &self.inner.rows;
        let Some(given) = Given::again(rows, Purpose::SignIn, browser, ends, now) else {
            return Ok(Err(Refusal::NoGood));
        };
        let mut db = self.inner.pool.write(Reach::All).await?;
        let Some(passkey) = passkeys::find(&mut db, rows, &answer.credential).await? else {
            return Ok(Err(Refusal::NoGood));
        };
        // Whoever signs in says who he is; there is no name to compare with.
        if answer.handle != Some(passkey.handle) || !given.take(&mut db).await? {
            return Ok(Err(Refusal::NoGood));
        }
        let record = people::find(&mut db, rows, &passkey.handle).await?;
        let Some(person) = record.and_then(Person::of) else { return Ok(Err(Refusal::NoGood)) };
        let credential = answer.credential.clone();
        let used = self.use_passkey(&mut db, &given.challenge, passkey, answer, now).await?;
        if let Err(refusal) = used {
            if refusal == Refusal::Copied {
                self.recorded(db, copied(&person, &credential), now).await?;
            }
            return Ok(Err(refusal));
        }
        let token = Token::draw()?;
        let session = Session {
            hash: hash(token.text()).ok_or(Fault::Malformed("session"))?,
            handle: person.handle,
            signed_in: now,
            seen: now,
            expires: now.after(people.settings.session),
        };
        sessions::add(&mut db, rows, &session).await?;
        self.recorded(db, person.event("signed_in"), now).await?;
        Ok(Ok(token))
    }

    /// Ends the session, or all sessions of the person.
    pub(crate) async fn sign_out(
        &self,
        who: &SignedIn,
        everywhere: bool,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let mut db = self.inner.pool.write(Reach::All).await?;
        let ended = if everywhere {
            sessions::end_all(&mut db, &who.person.handle).await?
        } else {
            sessions::end(&mut db, &who.session.hash).await?;
            1
        };
        let event = who.person.event("signed_out").with("sessions", ended.to_string());
        self.recorded(db, event, now).await
    }

    /// How many sessions the person has.
    pub(crate) async fn session_count(
        &self,
        who: &SignedIn,
        now: UnixMillis,
    ) -> Result<usize, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        let all = sessions::of(&mut db, &self.inner.rows, &who.person.handle).await?;
        Ok(all.iter().filter(|session| session.expires > now).count())
    }

    /// What a form of this browser has to bring back.
    pub(crate) fn form_token(&self, browser: &[u8; 32]) -> String {
        B64.encode(self.inner.rows.sign(&RowBytes::of("pages/form").part(browser)))
    }

    /// Whether a form is one that this browser was given.
    pub(crate) fn form_holds(&self, browser: &[u8; 32], token: &str) -> bool {
        let Ok(token) = B64.decode(token) else { return false };
        self.inner.rows.holds(&RowBytes::of("pages/form").part(browser), &token)
    }
}
