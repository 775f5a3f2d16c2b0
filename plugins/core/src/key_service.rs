//! The key service as the core sees it: questions, the calls they need, answers.
//!
//! `postern-crp` implements these traits; the core never sees a sealed byte. An
//! implementation keeps shared state (evidence, caches) behind `&self`, since all
//! streams of a VM use it, one at a time.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::api_key::{KeyId, StoredKey};
use crate::credential::Release;
use crate::credential::Want;
use crate::effect::Metric;
use crate::fields::Fields;
use crate::identity::DirectoryRecord;
use crate::secret::Secret;
use crate::time::{Moment, UnixMillis};

/// Names one call of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u32);

/// Where a call goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// To the key service; cluster and authority are the host's to add.
    #[default]
    KeyService,
    /// To somebody whom the configuration names.
    Named {
        /// Cluster.
        cluster: String,
        /// Authority.
        authority: String,
    },
}

/// A request of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Unique among the calls of who asks.
    pub id: CallId,
    /// Where it goes.
    pub to: Destination,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path with query, such as `/crp/v1/message`.
    pub path: Cow<'static, str>,
    /// Content type of a `POST`.
    pub content_type: &'static str,
    /// What this gate shows to somebody whom the configuration names.
    pub authorization: Option<Authorization>,
    /// What we have already (`if-none-match`, RFC 9110, 13.1.2).
    pub unless: Option<String>,
    /// Most bytes of the reply. Only a [`Background`] has calls with more than [`MAX_ANSWER`].
    pub most: usize,
    /// Content.
    pub body: Vec<u8>,
    /// The host gives up after this.
    pub timeout: Duration,
}

/// A value for the field `authorization` of a call. Copies share it, and none can be printed.
#[derive(Clone)]
pub struct Authorization(Rc<Secret>);

impl Authorization {
    /// Scheme and credentials (RFC 9110, 11.4); `None` for what no field may hold.
    pub fn new(value: Secret) -> Option<Self> {
        let fits = value.expose().iter().all(|byte| (0x20..=0x7e).contains(byte));
        fits.then(|| Self(Rc::new(value)))
    }

    /// Writes it to the call.
    pub fn perform<T>(&self, write: impl FnOnce(&str) -> T) -> Option<T> {
        str::from_utf8(self.0.expose()).ok().map(write)
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization")
    }
}

/// The same value, not an equal one.
impl PartialEq for Authorization {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Authorization {}

/// A request to the filters and the upstream of a cluster, without content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCall {
    /// Unique within the VM.
    pub id: CallId,
    /// Name of the cluster.
    pub cluster: String,
    /// Names and values, pseudo-fields first.
    pub fields: Vec<(String, String)>,
    /// The host gives up after this.
    pub timeout: Duration,
}

/// A reply as the host delivers it. Not authentic until opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// HTTP status, where the host can read it.
    pub status: Option<u16>,
    /// Fields, pseudo-fields included, where the host can read them; trailers behind them.
    pub fields: Fields,
    /// Content, at most [`MAX_ANSWER`] bytes.
    pub body: Vec<u8>,
}

impl CallAnswer {
    /// Content alone, where a host shows no more.
    pub fn unseen(body: Vec<u8>) -> Self {
        Self { status: None, fields: Fields::default(), body }
    }

    /// A status and content.
    pub fn of(status: u16, body: Vec<u8>) -> Self {
        Self { status: Some(status), ..Self::unseen(body) }
    }
}

/// Most bytes of a reply a host copies out of the proxy; a longer one is
/// [`CallFailure::TooLarge`].
pub const MAX_ANSWER: usize = 64 * 1024;

/// Why a call has no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The host refused to send it.
    NotSent,
    /// The reply is larger than [`MAX_ANSWER`].
    TooLarge,
    /// The host could not give us the reply.
    Unreadable,
}

/// What comes back from a [`Call`].
pub type CallResult = Result<CallAnswer, CallFailure>;

/// What to do next about a question.
#[must_use]
pub enum Turn<A> {
    /// Make this call and come back with its reply.
    Ask(Call),
    /// The authenticated answer.
    Answer(A),
    /// There is no answer.
    Failed(KeyServiceFault),
}

/// Why the key service gave no usable answer. Each one denies with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyServiceFault {
    /// No reply, a synthetic one, or a status other than 200.
    #[error("key service did not answer")]
    Unreachable,
    /// The deadline passed.
    #[error("key service did not answer in time")]
    TimedOut,
    /// A reply that does not parse, open or verify.
    #[error("key service reply is not authentic")]
    NotAuthentic,
    /// Evidence that is absent, invalid, expired or of a kind not accepted.
    #[error("key service evidence was not accepted")]
    Evidence,
    /// The service answered, sealed, that it cannot serve (KEK away, audit away).
    #[error("key service cannot serve this now")]
    NotReady,
    /// What is known of revocations is too old.
    #[error("revocations are not known well enough")]
    RevocationStale,
    /// The host gave no randomness or too many look-ups are in flight.
    #[error("gateway cannot ask the key service now")]
    Local,
}

/// Something that happened without a request, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What counts it.
    pub metric: Metric,
    /// One line, without line ends.
    pub text: String,
}

/// What a module does by itself, without a request: asked once a second, one call at a time.
pub trait Background {
    /// The call to make now, if one is due.
    fn due(&self, now: UnixMillis) -> Option<Call>;
    /// Takes the reply of the last call. True when requests may have waited for it.
    fn heard(&self, call: CallId, result: CallResult, now: UnixMillis) -> bool;
    /// Whether every request is refused until a call has brought something.
    fn needed(&self) -> bool {
        false
    }
    /// What happened since the last time.
    fn told(&self) -> Vec<Told> {
        Vec::new()
    }
}

/// Looks up API keys by id. The key itself never leaves the gateway.
pub trait Directory {
    /// Starts a look-up, or answers from the cache. `None` means unknown.
    fn find(&self, id: &KeyId, at: Moment) -> Turn<Option<KeyEntry>>;
    /// Takes the reply of a call that this directory asked for.
    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Option<KeyEntry>>;
    /// The stream is gone; forget its call.
    fn abandon(&self, call: CallId);
}

/// A directory record with what is needed to compare the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Salt and hash.
    pub stored: StoredKey,
    /// Whose key it is and what it may do.
    pub record: DirectoryRecord,
}

/// An invite that somebody presents, and the key that its token is to name.
pub struct Redemption {
    /// The whole invite.
    pub invite: Secret,
    /// Ed25519 key whose private half he has shown to hold.
    pub holder: [u8; 32],
    /// The gateway that the token is to be for.
    pub audience: String,
    /// Longest life of the token.
    pub max_life: Duration,
}

/// The authenticated outcome of an exchange: a capability token, not yet verified.
pub type Exchanged = Result<String, NotExchanged>;

/// There is no token for an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExchanged {
    /// Unknown, used, expired, revoked: nobody tells which.
    #[error("invite refused")]
    Refused,
    /// Too many were presented lately.
    #[error("too many invites")]
    Rate,
}

/// Exchanges invites for capability tokens.
pub trait Exchanges {
    /// Starts an exchange. For the same holder it can be done again.
    fn exchange(&self, redemption: Redemption, at: Moment) -> Turn<Exchanged>;
    /// Takes the reply of a call that this asked for.
    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Exchanged>;
    /// The stream is gone; forget its call and wipe its invite.
    fn abandon(&self, call: CallId);
}

/// Releases credential values.
pub trait Releases {
    /// Starts a release, or answers from the cache.
    fn ask(&self, want: &Want, at: Moment) -> Turn<Released>;
    /// Takes the reply of a call that this asked for.
    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Released>;
    /// The stream is gone; forget its call and wipe its keys.
    fn abandon(&self, call: CallId);
}

/// A value that an answer held, to be kept by the key service.
pub struct Minted {
    /// Name, which nobody has.
    pub credential: String,
    /// The value.
    pub value: Secret,
    /// No good after this.
    pub not_after: UnixMillis,
    /// Where it may go: a binding in canonical form.
    pub binding: Vec<u8>,
    /// Whose it is.
    pub origin: Origin,
}

/// Where a minted value comes from. It is released to the same agent and caller only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Agent whose request minted it.
    pub agent: String,
    /// SHA-256 of that caller's verified identity.
    pub caller_hash: [u8; 32],
    /// Credential that the request carried.
    pub source: String,
    /// Hash of the binding under which it did, which says what is minted.
    pub source_binding: [u8; 32],
}

/// The key service has the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored;

/// Keeps minted values. Whatever is not [`Stored`] is a fault.
pub trait Vault {
    /// Starts to store a value.
    fn store(&self, minted: Minted, at: Moment) -> Turn<Stored>;
    /// Takes the reply of a call that this asked for.
    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Stored>;
    /// The stream is gone; forget its call and wipe its value.
    fn abandon(&self, call: CallId);
}

/// The authenticated outcome of a release question.
pub type Released = Result<Rc<Release>, ReleaseDenied>;

/// The key service answered, sealed, that it does not release the value. Each one
/// denies with 403, but [`ReleaseDenied::NeedsApproval`], which is 428.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseDenied {
    /// Not for this gateway, agent, host or binding; or a replay.
    #[error("release denied")]
    Denied,
    /// No such credential in this tenant.
    #[error("credential unknown to the key service")]
    Unknown,
    /// An approval has to be given first.
    #[error("release needs an approval")]
    NeedsApproval {
        /// The pending approval, where the service named one.
        approval: Option<[u8; 16]>,
    },
    /// The credential was revoked.
    #[error("credential revoked")]
    Revoked,
    /// The credential has expired.
    #[error("credential expired")]
    Expired,
}

/// Records of one edge chain, in order, for the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Random id of the proxy process.
    pub boot: [u8; 16],
    /// Random id of the VM that owns the chain.
    pub vm: [u8; 16],
    /// Sequence number of the first record; a chain starts at 0.
    pub first: u64,
    /// Chain head before the first record.
    pub prev: [u8; 32],
    /// The exact bytes that were hashed.
    pub records: Vec<Vec<u8>>,
}

/// The collector has stored every record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Sequence number that it expects next.
    pub next: u64,
}

/// Takes audit batches; a batch is kept until it is acknowledged.
pub trait Collector {
    /// Starts the delivery of a batch.
    fn submit(&self, batch: &Batch, at: Moment) -> Turn<Acknowledged>;
    /// Takes the reply of a call that this asked for.
    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Acknowledged>;
}
