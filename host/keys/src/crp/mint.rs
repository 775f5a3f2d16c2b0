//! Type 4 of a gateway: a value that it took from a token endpoint's answer.
//!
//! Invariant: a gateway stores only what an operator has declared: the credential that its
//! request carried has a binding, stored with it, which says under what name and for what use
//! such a value is kept and how long; and it never replaces anything.

use std::time::Duration;

use postern_core::binding::{Binding, Mint};
use postern_core::key_service::Origin;
use postern_core::placeholder::Name;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use postern_crp::message::store::{Answer as Stored, Expected, Request};
use postern_crp::message::{Answer, Status};
use sqlx::SqliteConnection;

use super::policy::{self, Owner};
use super::store::{acceptable_value, write};
use super::{Asker, receipt};
use crate::fault::Fault;
use crate::random;
use crate::service::Inner;
use crate::store::credentials::{self, Credential};
use crate::store::revocations;

/// What the gateway's clock may be ahead.
const SKEW: Duration = Duration::from_secs(60);
/// A minted credential is deleted so long after its end.
const KEPT: Duration = Duration::from_secs(3600);
/// Minted credentials of one caller that have not ended.
const MOST: u32 = 256;

/// Stores a minted value.
pub(super) async fn mint(
    service: &Inner,
    db: &mut SqliteConnection,
    asker: &Asker<'_>,
    (request, origin): (&Request, &Origin),
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let event = asker
        .event("credential_minted")
        .with("credential", request.credential.as_str())
        .with("source", origin.source.as_str())
        .with("agent", origin.agent.as_str())
        .with_hex("caller", &origin.caller_hash)
        .with_hex("source_binding", &origin.source_binding);
    credentials::forget_minted(&mut *db, asker.tenant, ended(now)).await?;
    let policy = match permitted(service, db, asker, (request, origin), now).await? {
        Ok(policy) => policy,
        Err((status, reason)) => {
            let event = event.with("decision", "refused").with("reason", reason);
            service.audit.append(db, event, now).await?;
            return Ok(Answer::Denied(status));
        }
    };
    let (id, version) = (random::bytes()?, 1);
    let credential = Credential { id, version, policy, not_after: request.not_after };
    let minted_by = Some(&origin.caller_hash);
    write(service, db, (asker.tenant, request, minted_by), &credential, now).await?;
    let link = service.audit.append(db, event.with("decision", "stored"), now).await?;
    Ok(Answer::Store(Stored { version, receipt: receipt(link) }))
}

fn ended(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)))
}

type Refusal = (Status, &'static str);

/// The policy to store, or why nothing is.
async fn permitted(
    service: &Inner,
    db: &mut SqliteConnection,
    asker: &Asker<'_>,
    (request, origin): (&Request, &Origin),
    now: UnixMillis,
) -> Result<Result<Vec<u8>, Refusal>, Fault> {
    let denied = |reason| Ok(Err((Status::Denied, reason)));
    let source = credentials::find(&mut *db, asker.tenant, &origin.source).await?;
    let Some(source) = source else { return denied("source_unknown") };
    let owner = Owner::new(&origin.agent, &origin.caller_hash);
    if let Err(reason) = declared(&source, &owner, (request, origin), now) {
        return denied(reason);
    }
    let root = policy::read(&source.policy).source.unwrap_or_else(|| origin.source.clone());
    let things = [
        (Kind::Tenant, b"".as_slice()),
        (Kind::Agent, origin.agent.as_bytes()),
        (Kind::Credential, origin.source.as_bytes()),
        (Kind::Credential, root.as_bytes()),
    ];
    if revocations::any(&mut *db, &service.rows, asker.tenant, &things, now).await?.is_some() {
        return Ok(Err((Status::Revoked, "source_revoked")));
    }
    if credentials::find(&mut *db, asker.tenant, &request.credential).await?.is_some() {
        return denied("name_taken");
    }
    if credentials::count_minted(db, asker.tenant, &origin.caller_hash, now).await? >= MOST {
        return Ok(Err((Status::Rate, "too_many_minted")));
    }
    let policy = policy::minted(&request.bindings, &owner, &root);
    Ok(policy.ok_or((Status::Denied, "not_acceptable")))
}

/// Whether the source's own binding says that this is minted, so, and for so long.
fn declared(
    source: &Credential,
    owner: &Owner,
    (request, origin): (&Request, &Origin),
    now: UnixMillis,
) -> Result<(), &'static str> {
    let stored = policy::read(&source.policy);
    if stored.owner.is_some_and(|whose| whose != *owner) {
        return Err("source_of_another");
    }
    if source.not_after.is_some_and(|end| end <= now) {
        return Err("source_expired");
    }
    let binding = stored.bindings.iter().find(|one| one.hash() == origin.source_binding);
    let binding = binding.ok_or("source_binding_unknown")?;
    let (mint, family) = rule(binding, request).ok_or("not_declared")?;
    let name = Name::new(&request.credential).filter(|name| family.is_of(name));
    let field = match request.fields.as_slice() {
        [(field, value)] => field.is_empty() && acceptable_value(value),
        _ => false,
    };
    if name.is_none() || !field || request.expected != Expected::Absent {
        return Err("not_acceptable");
    }
    let longest = now.after(mint.max_life()).after(SKEW);
    match request.not_after {
        Some(end) if now < end && end <= longest => Ok(()),
        _ => Err("life_not_declared"),
    }
}

/// The rule that makes exactly the binding which was sent.
fn rule<'a>(binding: &'a Binding, request: &Request) -> Option<(&'a Mint, Binding)> {
    let [sent] = request.bindings.as_slice() else { return None };
    let mut rules = binding.mints().iter().map(|mint| (mint, binding.minted(mint)));
    rules.find(|(_, family)| family.canonical() == sent.json())
}
