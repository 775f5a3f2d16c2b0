//! A gateway asks for an approval, asks how it stands, and uses it.
//!
//! Invariant: what is bound is computed from what is shown ([`Requested`]). Identical requests
//! that wait, or were answered and not used, share one approval; a person is asked only so often.
//! Of all that use an approval at once, one does: the caller's transaction holds the write lock.

use std::time::Duration;

use postern_core::approvals::{Requested, Standing, State};
use postern_core::hex;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;

use super::preview::{self, Preview};
use super::{Approval, Decision, Requester, Verdict};
use crate::audit::Event;
use crate::envelope::{RowBytes, Scope};
use crate::fault::Fault;
use crate::random;
use crate::service::Inner;
use crate::store::{Connection, approvals as rows, deks, revocations};

/// Most approvals of one caller or agent that wait.
pub(crate) const MOST_WAITING: i64 = 8;
/// Most approvals that one caller or agent asks for in an hour.
pub(crate) const MOST_AN_HOUR: i64 = 60;
/// Most approvals of a tenant that wait.
pub(crate) const MOST_OF_TENANT: i64 = 200;
const HOUR_MS: u64 = 3600 * 1000;
/// Life of an approval that waits.
const LIFE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(24 * 3600));

/// What a gateway asks for.
pub(crate) struct Ask<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) gateway: &'a [u8; 16],
    pub(crate) requester: Requester,
    pub(crate) named: Option<[u8; 16]>,
    pub(crate) requested: &'a Requested,
    pub(crate) credentials: &'a [String],
    pub(crate) life: Duration,
    /// How many have to say yes.
    pub(crate) needed: u8,
    pub(crate) passkey: bool,
}

impl Ask<'_> {
    /// Whether `approval` asks people for as much.
    fn is_met_by(&self, approval: &Approval) -> bool {
        approval.needed >= self.needed && (approval.passkey || !self.passkey)
    }
}

/// What a gateway is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Where it stands.
    Stands(Standing),
    /// There is none such for this caller.
    Unknown,
    /// A person is asked too much.
    Rate,
}

impl Told {
    fn of(approval: &Approval, claimed: bool, now: UnixMillis) -> Self {
        let (id, state, expires) = (approval.id, approval.state(now), approval.expires);
        Self::Stands(Standing { id, state, claimed, expires })
    }
}

/// Uses the approval that is named, if it is one for this request; else gives the one that
/// there is, or a new one.
pub(crate) async fn ask(
    service: &Inner,
    db: &mut Connection,
    ask: &Ask<'_>,
    now: UnixMillis,
) -> Result<Told, Fault> {
    let (tenant, subject) = (ask.tenant, ask.requester.subject_hash);
    let digest = ask.requested.digest();
    if let Some(id) = &ask.named
        && let Some(told) = claim(service, db, ask, (id, &digest), now).await?
    {
        return Ok(told);
    }
    let agent = &ask.requester.agent;
    let known = rows::of_request(&mut *db, &service.rows, tenant, &subject, agent, &digest).await?;
    for approval in known.iter().filter(|known| ask.is_met_by(known)) {
        let answered = match approval.state(now) {
            // Nobody can approve what nobody can see.
            State::Pending => rows::preview(&mut *db, &approval.id).await?.is_some(),
            State::Approved => true,
            // Asking again at once does not help.
            State::Denied => now < approval.expires,
            State::Expired | State::Used => false,
        };
        if answered && !revoked(service, db, approval, now).await? {
            told(db, approval, now).await?;
            return Ok(Told::of(approval, false, now));
        }
    }
    create(service, db, ask, digest, now).await
}

/// Uses the approval for this request, once. `None` when it is none for it: unknown, of
/// another caller or request, over, or not strong enough any more.
async fn claim(
    service: &Inner,
    db: &mut Connection,
    ask: &Ask<'_>,
    (id, digest): (&[u8; 16], &[u8; 32]),
    now: UnixMillis,
) -> Result<Option<Told>, Fault> {
    let subject = &ask.requester.subject_hash;
    let found = own(service, db, (ask.tenant, subject), id, now).await?;
    let refused = |reason| {
        Event::new("approval_used", ask.tenant)
            .with_hex("gateway", ask.gateway)
            .with_hex("approval", id)
            .with_hex("request", digest)
            .with_hex("caller", subject)
            .with("agent", ask.requester.agent.as_str())
            .with("decision", "refused")
            .with("reason", reason)
    };
    // Whoever makes up ids fills no log.
    let Some(mut approval) = found else {
        tracing::warn!(agent = ask.requester.agent, "an approval that is not there is named");
        return Ok(None);
    };
    let state = approval.state(now);
    let why = match state {
        _ if approval.digest != *digest => Some("another_request"),
        _ if approval.requester.agent != ask.requester.agent => Some("another_agent"),
        _ if !ask.is_met_by(&approval) => Some("class_raised"),
        State::Approved => None,
        other => Some(other.name()),
    };
    let Some(why) = why else {
        approval.claimed = Some(now);
        rows::change(&mut *db, &service.rows, &approval).await?;
        rows::forget_preview(&mut *db, id).await?;
        let event = event("approval_used", ask.gateway, &approval).with("decision", "used");
        service.audit.append(db, event, now).await?;
        return Ok(Some(Told::of(&approval, true, now)));
    };
    // Whoever asks before anybody has decided has done nothing wrong.
    if why == State::Pending.name() {
        return Ok(Some(Told::of(&approval, false, now)));
    }
    service.audit.append(&mut *db, refused(why), now).await?;
    if approval.digest == *digest && matches!(state, State::Used | State::Denied) {
        told(db, &approval, now).await?;
        return Ok(Some(Told::of(&approval, false, now)));
    }
    Ok(None)
}

async fn create(
    service: &Inner,
    db: &mut Connection,
    ask: &Ask<'_>,
    digest: [u8; 32],
    now: UnixMillis,
) -> Result<Told, Fault> {
    let tenant = ask.tenant;
    let mut approval = new(service, ask, digest, now)?;
    if let Some(from) = granting(service, db, &approval, now).await? {
        approval.decisions = from.decisions.iter().map(|one| by_grant(&from, one, now)).collect();
        (approval.decided, approval.claimed) = (Some(now), Some(now));
        rows::add(&mut *db, &service.rows, &approval, None).await?;
        let event = event("approval_used", ask.gateway, &approval).with_hex("grant", &from.id);
        service.audit.append(db, event.with("decision", "used"), now).await?;
        return Ok(Told::of(&approval, true, now));
    }
    let since = UnixMillis(now.0.saturating_sub(HOUR_MS));
    let load = rows::load(&mut *db, tenant, &approval.requester, since, now).await?;
    let waiting = load.waiting >= MOST_WAITING || load.tenant_waiting >= MOST_OF_TENANT;
    if waiting || load.asked >= MOST_AN_HOUR {
        tracing::warn!(agent = approval.requester.agent, "too many approvals are asked for");
        return Ok(Told::Rate);
    }
    let of_tenant = Scope::Tenant(tenant.to_owned());
    let dek = deks::dek(&mut *db, &of_tenant, service.kek.as_ref(), now).await?;
    let sealed = preview::seal(&dek, tenant, &approval.id, &Preview::of(ask.requested))?;
    rows::add(&mut *db, &service.rows, &approval, Some(&sealed)).await?;
    let event = event("approval_requested", ask.gateway, &approval)
        .with("needed", approval.needed.to_string())
        .with("class", if approval.passkey { "passkey" } else { "person" })
        .with("until", approval.expires.0.to_string());
    service.audit.append(db, event, now).await?;
    Ok(Told::of(&approval, false, now))
}

fn new(
    service: &Inner,
    ask: &Ask<'_>,
    digest: [u8; 32],
    now: UnixMillis,
) -> Result<Approval, Fault> {
    Ok(Approval {
        id: random::bytes()?,
        tenant: ask.tenant.to_owned(),
        requester: ask.requester.clone(),
        digest,
        preview: None,
        credentials: ask.credentials.to_vec(),
        needed: ask.needed.max(1),
        passkey: ask.passkey,
        created: now,
        expires: now.after(ask.life.clamp(LIFE.0, LIFE.1)),
        decisions: Vec::new(),
        decided: None,
        grant: None,
        claimed: None,
        released: Vec::new(),
        scope: scope(service, ask),
    })
}

/// What a grant covers: the same caller, method, authority, path and credentials. Keyed, so
/// that the database does not show paths.
fn scope(service: &Inner, ask: &Ask<'_>) -> Vec<u8> {
    let requested = ask.requested;
    let mut bytes = RowBytes::of("approval scope")
        .part(ask.tenant.as_bytes())
        .part(&ask.requester.subject_hash)
        .part(ask.requester.agent.as_bytes())
        .part(requested.method.as_bytes())
        .part(requested.scheme.as_bytes())
        .part(requested.authority.as_bytes())
        .part(requested.bare_path().as_bytes());
    for credential in ask.credentials {
        bytes = bytes.part(credential.as_bytes());
    }
    service.rows.sign(&bytes)
}

/// The approval whose grant covers `asked`, if there is one.
async fn granting(
    service: &Inner,
    db: &mut Connection,
    asked: &Approval,
    now: UnixMillis,
) -> Result<Option<Approval>, Fault> {
    if asked.passkey {
        return Ok(None);
    }
    let all = rows::granting(&mut *db, &service.rows, &asked.tenant, &asked.scope, now).await?;
    for from in all {
        let enough = !from.denied() && from.approvals() >= usize::from(asked.needed);
        if enough && !revoked(service, db, &from, now).await? {
            return Ok(Some(from));
        }
    }
    Ok(None)
}

/// A decision of the approval that granted, as one of the approval that it gave.
fn by_grant(from: &Approval, decision: &Decision, now: UnixMillis) -> Decision {
    Decision {
        by: decision.by.clone(),
        how: format!("grant:{}", hex::lower(&from.id)),
        verdict: Verdict::Approve,
        at: now.0,
        reason: String::new(),
        grant_seconds: 0,
    }
}

pub(super) async fn revoked(
    service: &Inner,
    db: &mut Connection,
    approval: &Approval,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let things = [(Kind::Approval, approval.id.as_slice())];
    Ok(revocations::any(db, &service.rows, &approval.tenant, &things, now).await?.is_some())
}

/// The caller's own approval.
async fn own(
    service: &Inner,
    db: &mut Connection,
    (tenant, subject): (&str, &[u8; 32]),
    id: &[u8; 16],
    now: UnixMillis,
) -> Result<Option<Approval>, Fault> {
    let found = rows::find(&mut *db, &service.rows, tenant, id).await?;
    let found = found.filter(|approval| approval.requester.subject_hash == *subject);
    match found {
        Some(approval) if !revoked(service, db, &approval, now).await? => Ok(Some(approval)),
        _ => Ok(None),
    }
}

/// How the caller's approval stands.
pub(crate) async fn poll(
    service: &Inner,
    db: &mut Connection,
    tenant: &str,
    subject: &[u8; 32],
    id: &[u8; 16],
    now: UnixMillis,
) -> Result<Told, Fault> {
    let Some(approval) = own(service, db, (tenant, subject), id, now).await? else {
        return Ok(Told::Unknown);
    };
    told(db, &approval, now).await?;
    Ok(Told::of(&approval, false, now))
}

/// The agent is told how its approval stands: with its decision the preview goes.
async fn told(db: &mut Connection, approval: &Approval, now: UnixMillis) -> Result<(), Fault> {
    match approval.state(now) {
        State::Pending => Ok(()),
        _ => rows::forget_preview(db, &approval.id).await,
    }
}

/// An event about `approval`.
fn event(kind: &'static str, gateway: &[u8; 16], approval: &Approval) -> Event {
    Event::new(kind, &approval.tenant)
        .with_hex("gateway", gateway)
        .with_hex("approval", &approval.id)
        .with_hex("request", &approval.digest)
        .with_hex("caller", &approval.requester.subject_hash)
        .with("agent", approval.requester.agent.as_str())
        .with_list("credentials", &approval.credentials)
}
