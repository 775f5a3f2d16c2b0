//! Type 6: an invite becomes a capability token, for one holder.
//!
//! Invariant: an invite is used up in the transaction that writes whose it now is, so two
//! exchanges cannot both make a token; the same holder gets the same token again while it
//! lasts. Unknown, foreign, used, expired and revoked invites get the same answer after the
//! same comparison.

use postern_core::api_key::{PresentedKey, StoredKey};
use postern_core::hex;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use postern_crp::message::exchange::{Answer as Exchanged, Request};
use postern_crp::message::{Answer, Status};

use super::Asker;
use crate::fault::Fault;
use crate::random;
use crate::service::Inner;
use crate::store::invites::{self, Invite, Issue};
use crate::store::{Connection, revocations};
use crate::tokens::{self, IssuerKey};

/// What the clock of a gateway may be behind: it takes no token that was made later than now.
const BEHIND: u64 = 10;

/// Exchanges an invite.
pub(super) async fn exchange(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let denied = Ok(Answer::Denied(Status::Denied));
    let Some(presented) = PresentedKey::parse_invite(request.invite.expose()) else {
        tracing::warn!("exchange refused: no invite");
        return denied;
    };
    let id = presented.id();
    let found = invites::find(&mut *db, &service.rows, asker.tenant, id.as_str()).await?;
    let stored = found.as_ref().map_or(&StoredKey::DUMMY, |(stored, _)| stored);
    let matches = presented.matches(stored);
    let Some((_, invite)) = found.filter(|_| matches) else {
        tracing::warn!("exchange refused: invite unknown");
        return denied;
    };
    let event = |kind| asker.event(kind).with("invite", id.as_str());
    let revoked = revoked(service, db, asker, id.as_str(), now).await?;
    let issue = match outcome(&invite, request, revoked, now) {
        Ok(issue) => issue,
        Err(reason) => {
            let event = event("invite_refused").with("reason", reason);
            service.audit.append(db, event, now).await?;
            return denied;
        }
    };
    let first = issue.is_none();
    let issue = match issue {
        Some(issue) => issue,
        None => new(&invite, request, now)?,
    };
    let key = match IssuerKey::of(service, &mut *db, asker.tenant, now).await {
        Ok(key) => key,
        Err(Fault::OtherKek | Fault::Sealed(_)) => {
            return Ok(Answer::Denied(Status::KekUnavailable));
        }
        Err(fault) => return Err(fault),
    };
    let Ok(token) = key.token((asker.tenant, id.as_str()), &invite.grant, &issue) else {
        let event = event("invite_refused").with("reason", "not_a_token");
        service.audit.append(db, event, now).await?;
        return denied;
    };
    if first {
        invites::exchange(&mut *db, &service.rows, asker.tenant, id.as_str(), &issue).await?;
        let event = event("invite_exchanged")
            .with("document", invite.grant.document.as_str())
            .with("token", hex::lower(&issue.id))
            .with("audience", issue.audience.as_str())
            .with_hex("holder", &issue.holder)
            .with("until", issue.expires.saturating_mul(1000).to_string());
        service.audit.append(db, event, now).await?;
    }
    let not_after = UnixMillis(issue.expires.saturating_mul(1000));
    Ok(Answer::Exchange(Exchanged { token, not_after }))
}

/// What was issued for this holder already, `None` for a first exchange, or why nothing is.
fn outcome(
    invite: &Invite,
    request: &Request,
    revoked: bool,
    now: UnixMillis,
) -> Result<Option<Issue>, &'static str> {
    if invite.revoked || revoked {
        return Err("revoked");
    }
    match &invite.issue {
        Some(issue) => {
            let same = issue.holder == request.holder && issue.audience == request.audience;
            let lives = now.seconds() < issue.expires;
            (same && lives).then(|| Some(issue.clone())).ok_or("used")
        }
        None if invite.not_after <= now => Err("expired"),
        None => Ok(None),
    }
}

fn new(invite: &Invite, request: &Request, now: UnixMillis) -> Result<Issue, Fault> {
    let life = invite.grant.life_seconds.min(request.max_life_s);
    let issued = now.seconds().saturating_sub(BEHIND);
    Ok(Issue {
        holder: request.holder,
        audience: request.audience.clone(),
        id: random::bytes()?,
        issued,
        expires: issued.saturating_add(life.into()),
    })
}

/// An invite is taken back with its tenant, and by the name that its token has.
async fn revoked(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    id: &str,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let subject = tokens::subject(id);
    let things = [
        (Kind::Tenant, b"".as_slice()),
        (Kind::Agent, subject.as_bytes()),
        (Kind::User, subject.as_bytes()),
    ];
    Ok(revocations::any(db, &service.rows, asker.tenant, &things, now).await?.is_some())
}
