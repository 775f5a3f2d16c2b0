//! A gateway asks for an approval, asks how it stands, and uses it.
//!
//! Invariant: what is bound is computed from what is shown ([`Requested`]). Identical requests
//! that wait, or were answered and not used, share one approval; a person is asked only so often.
//! Of all that use an approval at once, one does: the caller's transaction holds the write lock.

use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use sqlx::SqliteConnection;

use super::preview::{self, Preview};
use super::{Approval, Decision, Requested, Requester, State, Verdict};
use crate::audit::Event;
use crate::envelope::{RowBytes, Scope};
use crate::fault::Fault;
use crate::random;
use crate::service::Inner;
use crate::store::{approvals as rows, deks, revocations};

/// Most approvals of one caller or agent that wait.
pub(crate) const MOST_WAITING: i64 = 8;
/// Most approvals that one caller or agent asks for in an hour.
pub(crate) const MOST_AN_HOUR: i64 = 60;
/// Most approvals of a tenant that wait.
pub(crate) const MOST_OF_TENANT: i64 = 200;
const HOUR_MS: u64 = 3600 * 1000;
/// Life of an approval, in seconds.
const LIFE: std::ops::RangeInclusive<u32> = 30..=86_400;

/// What a gateway asks for.
pub(crate) struct Ask<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) gateway: &'a [u8; 16],
    pub(crate) requester: Requester,
    pub(crate) requested: &'a Requested,
    pub(crate) credentials: Vec<String>,
    pub(crate) life_s: u32,
    /// How many have to say yes.
    pub(crate) needed: u8,
    pub(crate) passkey: bool,
}

/// What a gateway is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Where it stands. `claimed`: this answer has used it, and the request may go on.
    Stands { id: [u8; 16], state: State, claimed: bool, expires: UnixMillis },
    /// There is none such for this caller, or it is about another request.
    Unknown,
    /// A person is asked too much.
    Rate,
}

impl Told {
    fn of(approval: &Approval, claimed: bool, now: UnixMillis) -> Self {
        let (id, state) = (approval.id, approval.state(now));
        Self::Stands { id, state, claimed, expires: approval.expires }
    }
}

/// Asks for an approval, or gives the one that there is.
pub(crate) async fn create(
    service: &Inner,
    db: &mut SqliteConnection,
    ask: Ask<'_>,
    now: UnixMillis,
) -> Result<Told, Fault> {
    let (tenant, subject) = (ask.tenant, ask.requester.subject_hash);
    let digest = ask.requested.digest();
    let strong =
        |known: &Approval| known.needed >= ask.needed && (known.passkey || !ask.passkey);
    let known = rows::of_request(&mut *db, &service.rows, tenant, &subject, &digest).await?;
    for approval in known.iter().filter(|known| strong(known)) {
        let open = matches!(approval.state(now), State::Pending | State::Approved);
        let refused = approval.state(now) == State::Denied && now < approval.expires;
        if (open || refused) && !revoked(service, db, approval, now).await? {
            return Ok(Told::of(approval, false, now));
        }
    }
    let scope = scope(service, &ask);
    let mut approval = Approval {
        id: random::bytes()?,
        tenant: tenant.to_owned(),
        requester: ask.requester.clone(),
        digest,
        preview: None,
        credentials: ask.credentials.clone(),
        needed: ask.needed.max(1),
        passkey: ask.passkey,
        created: now,
        expires: UnixMillis(now.0.saturating_add(life_ms(ask.life_s))),
        decisions: Vec::new(),
        decided: None,
        grant: None,
        claimed: None,
        released: Vec::new(),
        scope,
    };
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
    let most = load.waiting >= MOST_WAITING || load.tenant_waiting >= MOST_OF_TENANT;
    if most || load.asked >= MOST_AN_HOUR {
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

fn life_ms(seconds: u32) -> u64 {
    u64::from(seconds.clamp(*LIFE.start(), *LIFE.end())).saturating_mul(1000)
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
    for credential in &ask.credentials {
        bytes = bytes.part(credential.as_bytes());
    }
    service.rows.sign(&bytes)
}

/// The approval whose grant covers `asked`, if there is one.
async fn granting(
    service: &Inner,
    db: &mut SqliteConnection,
    asked: &Approval,
    now: UnixMillis,
) -> Result<Option<Approval>, Fault> {
    if asked.passkey {
        return Ok(None);
    }
    let all =
        rows::granting(&mut *db, &service.rows, &asked.tenant, &asked.scope, now).await?;
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
        how: format!("grant:{}", postern_core::hex::lower(&from.id)),
        verdict: Verdict::Approve,
        at: now.0,
        reason: String::new(),
        grant_seconds: 0,
    }
}

pub(super) async fn revoked(
    service: &Inner,
    db: &mut SqliteConnection,
    approval: &Approval,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let things = [(Kind::Approval, approval.id.as_slice())];
    Ok(revocations::any(db, &service.rows, &approval.tenant, &things, now).await?.is_some())
}

/// The caller's own approval.
async fn own(
    service: &Inner,
    db: &mut SqliteConnection,
    tenant: &str,
    subject: &[u8; 32],
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

/// How the caller's approval stands. Once the caller knows the decision, the preview goes.
pub(crate) async fn poll(
    service: &Inner,
    db: &mut SqliteConnection,
    tenant: &str,
    subject: &[u8; 32],
    id: &[u8; 16],
    now: UnixMillis,
) -> Result<Told, Fault> {
    let Some(approval) = own(service, db, tenant, subject, id, now).await? else {
        return Ok(Told::Unknown);
    };
    if approval.state(now) != State::Pending {
        rows::forget_preview(db, id).await?;
    }
    Ok(Told::of(&approval, false, now))
}

/// Who uses an approval, and for what.
pub(crate) struct Claim<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) gateway: &'a [u8; 16],
    pub(crate) subject: &'a [u8; 32],
    pub(crate) agent: &'a str,
    pub(crate) digest: &'a [u8; 32],
    pub(crate) id: &'a [u8; 16],
    /// How many have to have said yes.
    pub(crate) needed: u8,
    pub(crate) passkey: bool,
}

/// Uses an approval for the request of `claim`, once.
pub(crate) async fn claim(
    service: &Inner,
    db: &mut SqliteConnection,
    claim: Claim<'_>,
    now: UnixMillis,
) -> Result<Told, Fault> {
    let Claim { tenant, subject, id, .. } = claim;
    let Some(mut approval) = own(service, db, tenant, subject, id, now).await? else {
        let event = Event::new("approval_used", tenant)
            .with_hex("gateway", claim.gateway)
            .with_hex("approval", id)
            .with("agent", claim.agent);
        let event = event.with("decision", "refused").with("reason", "unknown");
        service.audit.append(db, event, now).await?;
        return Ok(Told::Unknown);
    };
    let state = approval.state(now);
    let strong = approval.approvals() >= usize::from(claim.needed)
        && (approval.passkey || !claim.passkey);
    let why = match state {
        _ if approval.digest != *claim.digest || approval.requester.agent != claim.agent => {
            Some("another_request")
        }
        State::Approved if !strong => Some("class_raised"),
        State::Approved => None,
        other => Some(other.name()),
    };
    let event = event("approval_used", claim.gateway, &approval);
    let told = match why {
        None => {
            approval.claimed = Some(now);
            rows::change(&mut *db, &service.rows, &approval).await?;
            service.audit.append(&mut *db, event.with("decision", "used"), now).await?;
            Told::of(&approval, true, now)
        }
        Some(why) => {
            let event = event.with("decision", "refused").with("reason", why);
            service.audit.append(&mut *db, event, now).await?;
            match why {
                "another_request" | "class_raised" => return Ok(Told::Unknown),
                _ => Told::of(&approval, false, now),
            }
        }
    };
    if state != State::Pending {
        rows::forget_preview(db, id).await?;
    }
    Ok(told)
}

/// An event about `approval`.
pub(super) fn event(kind: &'static str, gateway: &[u8; 16], approval: &Approval) -> Event {
    Event::new(kind, &approval.tenant)
        .with_hex("gateway", gateway)
        .with_hex("approval", &approval.id)
        .with_hex("request", &approval.digest)
        .with_hex("caller", &approval.requester.subject_hash)
        .with("agent", approval.requester.agent.as_str())
        .with_list("credentials", &approval.credentials)
}
