//! Approvals: a person says yes or no to one request of an agent, before it leaves.
//!
//! A gateway asks ([`asking`]), people decide ([`deciding`]), and the gateway and each release of
//! a credential use what was approved ([`using`]). What a person is shown ([`Preview`]) is kept
//! sealed until the agent has its decision, and is in no event, log or list.
//!
//! Owns the rules: who may decide, for how long, how often it may be used. Knows no page, no
//! HTTP and no SQL. Invariant: an approval is about one digest of one caller; it is used by one
//! gateway once, and by each of its credentials once; who asked does not decide.

pub(crate) mod asking;
mod deciding;
mod preview;
pub(crate) mod using;

pub use deciding::{Decider, How, Refusal, Ruling, decide};
pub use postern_core::approvals::State;
pub use preview::{Content, MOST_NAME, MOST_PAIRS, MOST_TEXT, Preview};

use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::Fault;
use crate::service::Service;
use crate::store::{Reach, approvals as rows};

/// How long an approval that was given may still be used, when it would have ended before.
pub const USE_MS: u64 = 10 * 60 * 1000;
/// How long a gateway that has used one may fetch its credentials.
pub const CLAIM_MS: u64 = 60 * 1000;
/// Life of a grant where none is said: 30 minutes.
pub const GRANT_SECONDS: u32 = 30 * 60;
/// Longest life of a grant: 24 hours.
pub const LONGEST_GRANT_SECONDS: u32 = 24 * 3600;
/// Longest reason, in characters.
pub const LONGEST_REASON: usize = 200;

/// Who asked: as the gateway has verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// Hash of the caller ([`postern_core::permit::subject_hash`]).
    pub subject_hash: [u8; 32],
    /// User for whom the agent acts.
    pub user: String,
    /// Agent.
    pub agent: String,
    /// Organisation.
    pub organisation: String,
}

/// What somebody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// What one approver said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Who: a user's name, `operator:<id>`, or `grant:<approval>`.
    pub by: String,
    /// By what.
    pub how: String,
    /// What.
    pub verdict: Verdict,
    /// When, in milliseconds.
    pub at: u64,
    /// Why, at most 200 characters.
    pub reason: String,
    /// For how long alike requests are approved with it, in seconds; 0 is not at all.
    pub grant_seconds: u32,
}

/// Alike requests are approved until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// No good from then on.
    pub until: UnixMillis,
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Random id; it authorises nothing by itself.
    pub id: [u8; 16],
    /// Whose it is.
    pub tenant: String,
    /// Who asked.
    pub requester: Requester,
    /// Digest of the one request.
    pub digest: [u8; 32],
    /// What a person is shown: only from [`show`], and only until the agent has its decision.
    pub preview: Option<Preview>,
    /// Credentials that the request carries.
    pub credentials: Vec<String>,
    /// How many have to say yes.
    pub needed: u8,
    /// Only a passkey says yes.
    pub passkey: bool,
    /// When it was asked for.
    pub created: UnixMillis,
    /// No good from then on.
    pub expires: UnixMillis,
    /// What was said, in its order.
    pub decisions: Vec<Decision>,
    /// When the last word was said.
    pub decided: Option<UnixMillis>,
    /// The grant that was given with it.
    pub grant: Option<Grant>,
    /// When a gateway used it.
    pub claimed: Option<UnixMillis>,
    /// Credentials that were released under it.
    pub released: Vec<String>,
    /// Keyed hash of what a grant covers.
    pub(crate) scope: Vec<u8>,
}

impl Approval {
    /// Where it stands now.
    pub fn state(&self, now: UnixMillis) -> State {
        if self.claimed.is_some() || !self.released.is_empty() {
            return State::Used;
        }
        if self.decided.is_some() && self.denied() {
            return State::Denied;
        }
        match (self.expires <= now, self.decided) {
            (true, _) => State::Expired,
            (false, Some(_)) => State::Approved,
            (false, None) => State::Pending,
        }
    }

    fn denied(&self) -> bool {
        self.decisions.iter().any(|decision| decision.verdict == Verdict::Deny)
    }

    /// How many said yes.
    pub fn approvals(&self) -> usize {
        let yes = |decision: &&Decision| decision.verdict == Verdict::Approve;
        self.decisions.iter().filter(yes).count()
    }

    /// What a passkey signs to approve this request: `SHA-256("postern approval/1\0" || id ||
    /// digest)`.
    pub fn challenge(&self) -> [u8; 32] {
        challenge(&self.id, &self.digest)
    }
}

/// See [`Approval::challenge`].
pub fn challenge(id: &[u8; 16], digest: &[u8; 32]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"postern approval/1\0");
    hash.chain_update(id).chain_update(digest).finalize().into()
}

/// Which approvals a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Those that wait for people.
    #[default]
    Pending,
    /// All of the last 30 days, 500 at most.
    All,
}

/// Approvals of a tenant, newest first, without previews.
///
/// # Errors
/// When the database fails.
pub async fn list(
    service: &Service,
    tenant: &str,
    filter: Filter,
    now: UnixMillis,
) -> Result<Vec<Approval>, Fault> {
    let mut db = service.inner.pool.read(Reach::Tenant(tenant)).await?;
    let waiting = (filter == Filter::Pending).then_some(now);
    rows::all(&mut db, &service.inner.rows, tenant, waiting).await
}

/// One approval with its preview, as long as there is one; `None` when it is not there, or is
/// another tenant's.
///
/// # Errors
/// When the database fails or the preview does not open.
pub async fn show(
    service: &Service,
    tenant: &str,
    id: &[u8; 16],
) -> Result<Option<Approval>, Fault> {
    let inner = &service.inner;
    let mut db = inner.pool.read(Reach::Tenant(tenant)).await?;
    let Some(mut approval) = rows::find(&mut db, &inner.rows, tenant, id).await? else {
        return Ok(None);
    };
    if let Some(sealed) = rows::preview(&mut db, id).await? {
        approval.preview = Some(preview::open(inner, &mut db, tenant, id, &sealed).await?);
    }
    Ok(Some(approval))
}
