//! A person says yes or no.
//!
//! Invariant: who asked does not decide; nobody counts twice; a request of the passkey class is
//! approved by a passkey alone, used over this very request; nobody decides for another tenant
//! or organisation; the decision and its event are one transaction.

use postern_core::hex;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;

use super::{
    Approval, Decision, Grant, LONGEST_GRANT_SECONDS, LONGEST_REASON, Preview, State, USE_MS,
    Verdict, preview,
};
use crate::admin::Operator;
use crate::audit::Event;
use crate::fault::Fault;
use crate::people::{Person, SignedIn, SteppedUp};
use crate::service::Service;
use crate::store::{Reach, approvals as rows, revocations};

/// Who decides. Made only of what shows that it is they: an operator's claim that was
/// verified, a live session, a passkey that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    tenant: String,
    /// Of which requests; without one, of all of the tenant.
    organisation: Option<String>,
    /// A user's name, or `operator:<id>`.
    name: String,
    how: How,
}

impl Decider {
    /// Who signed a request to the operators' interface.
    pub(crate) fn operator(operator: &Operator) -> Self {
        Self {
            tenant: operator.tenant().to_owned(),
            organisation: None,
            name: format!("operator:{}", hex::lower(operator.id())),
            how: How::Operator,
        }
    }

    /// Who is signed in.
    pub(crate) fn person(who: &SignedIn) -> Self {
        Self::of(who.person(), How::Person)
    }

    /// Who used a passkey over one request.
    pub(crate) fn stepped_up(who: &SteppedUp) -> Self {
        Self::of(who.person(), How::Passkey(*who.approval()))
    }

    fn of(person: &Person, how: How) -> Self {
        // Whoever decides nothing decides for an organisation of a name that none can have.
        let own = if person.decides { person.organisation.clone() } else { "\0".to_owned() };
        Self {
            tenant: person.tenant.clone(),
            organisation: (!person.platform).then_some(own),
            name: person.name.clone(),
            how,
        }
    }

    /// Whoever a test wants.
    #[cfg(any(test, feature = "pretend"))]
    pub fn pretend(tenant: &str, name: &str, how: How) -> Self {
        Self { tenant: tenant.to_owned(), organisation: None, name: name.to_owned(), how }
    }
}

/// By what a decision is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// An operator's signature.
    Operator,
    /// A person who is signed in.
    Person,
    /// A passkey that has signed [`Approval::challenge`] of this approval just now, with the
    /// person verified.
    Passkey([u8; 16]),
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Person => "person",
            Self::Passkey(_) => "passkey",
        }
    }
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why; cut at 200 characters. Kept with the approval, in no event.
    pub reason: String,
    /// For how long alike requests (the same caller, method, authority, path and credentials)
    /// are approved with this one.
    pub grant_seconds: Option<u32>,
    /// It is known that not all of the request is shown, and approved all the same.
    pub in_part: bool,
}

impl Ruling {
    /// A verdict without more.
    pub fn of(verdict: Verdict) -> Self {
        Self { verdict, reason: String::new(), grant_seconds: None, in_part: false }
    }
}

/// Why a decision does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not there, of another tenant, or revoked.
    #[error("no such approval")]
    Unknown,
    /// It was decided, was used, or has expired.
    #[error("this approval does not wait for a decision: it is {}", .0.name())]
    Over(State),
    /// Who asked does not decide.
    #[error("who asked for an approval does not decide it")]
    Requester,
    /// Nobody counts twice.
    #[error("your decision is there already; somebody else has to approve it too")]
    Twice,
    /// What was asked for is not there any more.
    #[error(
        "what was asked for was lost, so that nobody can approve it: it has to be asked for again"
    )]
    Unseen,
    /// Not all of it is shown.
    #[error("not all of this request is shown: say that you approve what is not, too (--in-part)")]
    InPart,
    /// Only a passkey approves this.
    #[error("this request is approved with a passkey, on the page of the key service")]
    NeedsPasskey,
    /// No grant for this class, or not for so long.
    #[error("a grant is for 1 second to 24 hours, and never for what needs a passkey")]
    Grant,
}

/// Decides; gives the approval as it is then, without its preview.
///
/// # Errors
/// When the database fails; then nothing is decided.
pub async fn decide(
    service: &Service,
    id: &[u8; 16],
    decider: &Decider,
    ruling: &Ruling,
    now: UnixMillis,
) -> Result<Result<Approval, Refusal>, Fault> {
    let (inner, tenant) = (&service.inner, decider.tenant.as_str());
    let mut db = inner.pool.write(Reach::Tenant(tenant)).await?;
    let found = rows::find(&mut db, &inner.rows, tenant, id).await?;
    let things = [(Kind::Approval, id.as_slice()), (Kind::Tenant, b"".as_slice())];
    let revoked = revocations::any(&mut db, &inner.rows, tenant, &things, now).await?;
    let own = found.filter(|it| {
        let organisation = decider.organisation.as_ref();
        organisation.is_none_or(|organisation| *organisation == it.requester.organisation)
    });
    let Some(approval) = own.filter(|_| revoked.is_none()) else {
        return Ok(Err(Refusal::Unknown));
    };
    let mut ruled = ruled(approval.clone(), decider, ruling, now);
    if ruled.is_ok() && ruling.verdict == Verdict::Approve {
        let preview = match rows::preview(&mut db, id).await? {
            Some(sealed) => Some(preview::open(inner, &mut db, tenant, id, &sealed).await?),
            None => None,
        };
        ruled = ruled.and_then(|approval| seen(preview.as_ref(), ruling).map(|()| approval));
    }
    let (approval, refusal) = match ruled {
        Ok(approval) => (approval, None),
        Err(refusal) => (approval, Some(refusal)),
    };
    let event = event(&approval, decider, ruling);
    let event = match refusal {
        Some(refusal) => event.with("decision", "refused").with("reason", refusal.code()),
        None => {
            rows::change(&mut db, &inner.rows, &approval).await?;
            event.with("decision", "taken").with("state", approval.state(now).name())
        }
    };
    inner.audit.append(&mut db, event, now).await?;
    db.commit().await?;
    Ok(refusal.map_or(Ok(approval), Err))
}

fn event(approval: &Approval, decider: &Decider, ruling: &Ruling) -> Event {
    let verdict = match ruling.verdict {
        Verdict::Approve => "approve",
        Verdict::Deny => "deny",
    };
    Event::new("approval_decided", &approval.tenant)
        .with_hex("approval", &approval.id)
        .with_hex("request", &approval.digest)
        .with("agent", approval.requester.agent.as_str())
        .with("by", decider.name.as_str())
        .with("how", decider.how.name())
        .with("verdict", verdict)
        .with("grant_seconds", ruling.grant_seconds.unwrap_or(0).to_string())
        .with("in_part", ruling.in_part.to_string())
}

impl Refusal {
    /// For the audit chain and for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Over(_) => "over",
            Self::Requester => "requester",
            Self::Twice => "twice",
            Self::Unseen => "unseen",
            Self::InPart => "in_part",
            Self::NeedsPasskey => "passkey_needed",
            Self::Grant => "grant_not_allowed",
        }
    }
}

/// Nobody approves what is gone, nor unknowingly what is not shown.
fn seen(preview: Option<&Preview>, ruling: &Ruling) -> Result<(), Refusal> {
    match preview {
        None => Err(Refusal::Unseen),
        Some(preview) if !preview.is_whole() && !ruling.in_part => Err(Refusal::InPart),
        Some(_) => Ok(()),
    }
}

/// The approval with one more decision.
fn ruled(
    mut approval: Approval,
    decider: &Decider,
    ruling: &Ruling,
    now: UnixMillis,
) -> Result<Approval, Refusal> {
    let state = approval.state(now);
    if state != State::Pending {
        return Err(Refusal::Over(state));
    }
    let requester = &approval.requester;
    if decider.name.is_empty() || [&requester.user, &requester.agent].contains(&&decider.name) {
        return Err(Refusal::Requester);
    }
    if approval.decisions.iter().any(|decision| decision.by == decider.name) {
        return Err(Refusal::Twice);
    }
    let approves = ruling.verdict == Verdict::Approve;
    if approves && approval.passkey && decider.how != How::Passkey(approval.id) {
        return Err(Refusal::NeedsPasskey);
    }
    if let Some(seconds) = ruling.grant_seconds {
        let may = approves && !approval.passkey;
        if !may || !(1..=LONGEST_GRANT_SECONDS).contains(&seconds) {
            return Err(Refusal::Grant);
        }
    }
    approval.decisions.push(Decision {
        by: decider.name.clone(),
        how: decider.how.name().to_owned(),
        verdict: ruling.verdict,
        at: now.0,
        reason: ruling.reason.chars().take(LONGEST_REASON).collect(),
        grant_seconds: ruling.grant_seconds.unwrap_or(0),
    });
    if !approves {
        approval.decided = Some(now);
    } else if approval.approvals() >= usize::from(approval.needed) {
        approval.decided = Some(now);
        approval.expires = approval.expires.max(UnixMillis(now.0.saturating_add(USE_MS)));
        approval.grant = granted(&approval.decisions, now);
    }
    Ok(approval)
}

/// As long as everybody agrees to.
fn granted(decisions: &[Decision], now: UnixMillis) -> Option<Grant> {
    let seconds = decisions.iter().map(|decision| decision.grant_seconds).min()?;
    let until = now.0.saturating_add(u64::from(seconds).saturating_mul(1000));
    (seconds > 0).then_some(Grant { until: UnixMillis(until) })
}
