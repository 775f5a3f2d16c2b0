//! Who can say who is calling: one [`Authenticator`] for each entry of `authenticators`.
//!
//! Owns the interface only. API keys are in [`crate::gate`]; `postern-identity` implements
//! the other kinds and puts the configured ones in order. A request goes like this: every
//! authenticator looks for its credential by field and form, without verifying anything;
//! the first one of a field gets an [`Attempt`], which owns what was presented; the gate
//! runs the attempt, makes its calls, and turns [`Established`] into a
//! [`Principal`](crate::identity::Principal).
//!
//! Invariant: an [`Established`] is made only where a credential was verified (the files
//! that may are listed in `tidy.toml`), and is still no principal: the gate compares the
//! tenant first.

use std::rc::Rc;

use crate::denial::{Denial, Ours, ProofKind, TokenReason};
use crate::fields::Fields;
use crate::identity::{Identity, Kind};
use crate::key_service::{Call, CallId, CallResult};
use crate::limits::Limits;
use crate::revocation;
use crate::time::{Moment, UnixMillis};

/// One way of saying who is calling, as configured. State that requests share (keys,
/// caches) is behind `&self`; all streams of a VM run one at a time.
pub trait Authenticator {
    /// How its callers are authenticated; `combine` names it so.
    fn kind(&self) -> Kind;
    /// Where this request has a credential of this kind and form. Verifies nothing.
    fn sight(&self, presented: &Presented<'_>) -> Sight;
}

/// What one authenticator sees of a request.
pub enum Sight {
    /// Nothing where its credential would be.
    Absent,
    /// Something, but not in the form of its credential; the reason for the record, should
    /// nobody recognise it.
    Unlike(TokenReason),
    /// Its credential.
    Recognised {
        /// What holds it: a credential in the same place is the same credential, and
        /// belongs to the first who recognises it.
        place: String,
        /// The way to a verdict.
        attempt: Box<dyn Attempt>,
    },
}

/// A head as authenticators see it.
pub struct Presented<'a> {
    /// The whole section, pseudo-fields as the caller sent them.
    pub fields: &'a Fields,
    /// The only value of each configured field that has one: UTF-8, one line, no comma and
    /// no placeholder of a site.
    pub(crate) values: Vec<(&'a str, &'a str)>,
    /// The certificate that the caller has shown on its connection, PEM.
    pub certificate: Option<&'a [u8]>,
}

impl<'a> Presented<'a> {
    /// The value of a field that the configuration names for credentials; nothing else is
    /// found here.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.values.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }

    /// The same without its authentication scheme (RFC 9110, 11.4): one of `schemes`, in
    /// any case, and a space.
    pub fn token(&self, name: &str, schemes: &[&str]) -> Option<&'a str> {
        let (scheme, token) = self.value(name)?.split_once(' ')?;
        schemes.iter().any(|one| scheme.eq_ignore_ascii_case(one)).then_some(token)
    }
}

/// A caller's credential on its way to a verdict; one request's alone. What is not overridden is
/// for one that needs nobody else, and is never called then.
pub trait Attempt {
    /// Begins; called once.
    fn start(&mut self, at: Moment) -> Progress;
    /// Takes the reply of the call that this attempt asked for last.
    fn heard(&mut self, _call: CallId, _result: CallResult, _at: Moment) -> Progress {
        Progress::Done(Err(self.late()))
    }
    /// Time passed, or a call came back that another request or the background had made. No
    /// call can be made now.
    fn look(&mut self, _now: UnixMillis) -> Option<Verdict> {
        None
    }
    /// The request is gone or was refused: forget its call.
    fn abandon(&mut self) {}
    /// What to answer when the gate's deadline passes first.
    fn late(&self) -> Denial {
        Denial::Internal(Ours::Unexpected)
    }
}

/// What an attempt needs next.
#[must_use]
pub enum Progress {
    /// Make this call and come back with its reply.
    Ask(Call),
    /// Wait for what somebody else has asked for; `look` will find it.
    Wait,
    /// The end.
    Done(Verdict),
    /// The end, and other requests may have waited for the same.
    DoneForAll(Verdict),
}

/// Who it is, or why nobody.
pub type Verdict = Result<Established, Denial>;

/// What an identity says of itself that can be revoked.
fn revocables(identity: &Identity) -> Vec<Revocable> {
    let token = match identity.kind {
        Kind::ApiKey => revocation::Kind::ApiKey,
        Kind::Jwt | Kind::Introspected | Kind::Mtls | Kind::JwtSvid | Kind::Capability => {
            revocation::Kind::Token
        }
    };
    let (agent, user) = (revocation::Kind::Agent, revocation::Kind::User);
    let named = [(token, &identity.token_id), (agent, &identity.agent), (user, &identity.user)];
    let known = named.into_iter().filter(|(_, id)| !id.is_empty());
    known.map(|(kind, id)| (kind, id.clone())).collect()
}

/// Whom a verified credential names. Data of one authenticator; not yet a principal.
#[derive(Debug, PartialEq, Eq)]
pub struct Established {
    identity: Identity,
    content: Option<[u8; 32]>,
    limits: Option<Rc<dyn Limits>>,
    attempts: Vec<String>,
    names: Vec<Revocable>,
    offer: Option<NextNonce>,
}

/// A nonce that the caller's next proof may hold, told to him with the answer (RFC 9449, 8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextNonce {
    /// What proofs it is for.
    pub proof: ProofKind,
    /// The nonce.
    pub nonce: String,
}

/// Something of a credential that can be revoked: its kind and id.
pub type Revocable = (revocation::Kind, String);

impl Established {
    /// Only where the credential was verified.
    pub fn verified(identity: Identity) -> Self {
        let names = revocables(&identity);
        Self { identity, content: None, limits: None, attempts: Vec::new(), names, offer: None }
    }

    /// What the caller is told for his next proof.
    #[must_use]
    pub fn offering(self, offer: Option<NextNonce>) -> Self {
        Self { offer, ..self }
    }

    /// As [`Established::offering`] has it.
    pub fn offer(&self) -> Option<&NextNonce> {
        self.offer.as_ref()
    }

    /// More of it that can be revoked: what went before it, such as the blocks of a chain.
    #[must_use]
    pub fn known_by(mut self, names: impl IntoIterator<Item = Revocable>) -> Self {
        self.names.extend(names);
        self
    }

    /// Everything of it that can be revoked.
    pub fn names(&self) -> &[Revocable] {
        &self.names
    }

    /// The caller has signed this SHA-256 of the content: with any other the request is
    /// refused at its end. Needs `body: hold`.
    #[must_use]
    pub fn of_content(self, digest: [u8; 32]) -> Self {
        Self { content: Some(digest), ..self }
    }

    /// What the credential allows at most; and what it asked for beyond that, for the record.
    #[must_use]
    pub fn within(self, limits: Rc<dyn Limits>, attempts: Vec<String>) -> Self {
        Self { limits: Some(limits), attempts, ..self }
    }

    /// What the credential allows at most.
    pub fn limits(&self) -> Option<&Rc<dyn Limits>> {
        self.limits.as_ref()
    }

    /// What the credential asked for beyond what it allows.
    pub fn attempts(&self) -> &[String] {
        &self.attempts
    }

    /// The identity document.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The digest that the content must have.
    pub fn content(&self) -> Option<[u8; 32]> {
        self.content
    }

    pub(crate) fn into_identity(self) -> Identity {
        self.identity
    }
}
