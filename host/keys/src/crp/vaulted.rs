//! A release of a value that a vault keeps.
//!
//! The vault is asked outside the transaction: where what is kept does not do, the message is
//! broken off with [`Fault::Unread`] before anything of it is written, and written again with
//! what the vault said. So everything is checked before the vault is asked, and again after it.
//!
//! Invariant: a value of another version than was released last is a version of its own here: it
//! has the next number, gateways forget the one before, and an event says so, all in the
//! transaction that releases it.

use std::sync::Arc;

use postern_core::time::UnixMillis;
use postern_crp::message::Status;

use super::policy::{self, Vaulted};
use super::release::{Fields, Opened, Refusal};
use super::{Asker, store};
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::credentials::Credential;
use crate::store::{Connection, revocations};
use crate::vaults::{Held, Reference};

/// A credential, by its name, with what is sealed of it: where its value is.
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) credential: Credential,
    pub(super) vault: Vaulted,
    pub(super) places: Fields,
}

/// The value; the credential is of the next version where the vault's is another.
pub(super) async fn value(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    named: Named<'_>,
    now: UnixMillis,
) -> Result<Result<Opened, Refusal>, Fault> {
    let place = Reference::stored(asker.tenant, &named.vault.name, &named.places);
    let Some(place) = place else {
        return Ok(Err(Refusal(Status::Denied, "value_does_not_open")));
    };
    let held = match held(service, asker, &place, &named.vault, now)? {
        Ok(held) => held,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(fields) = service.vaults.opened(&place, &held) else {
        return Ok(Err(Refusal(Status::Denied, "value_does_not_open")));
    };
    let longest = Some(service.vaults.seconds_left(&place, &held, now));
    let version = held.version().as_str();
    let credential = match version == named.vault.version {
        true => named.credential,
        false => rotated(service, db, asker, named, version, now).await?,
    };
    Ok(Ok(Opened { credential, fields, longest }))
}

/// What is kept, or was read for this message.
fn held(
    service: &Inner,
    asker: &Asker<'_>,
    place: &Reference,
    vault: &Vaulted,
    now: UnixMillis,
) -> Result<Result<Arc<Held>, Refusal>, Fault> {
    let Some(fetched) = asker.fetched.filter(|fetched| fetched.place == *place) else {
        let kept = service.vaults.fresh(place, &vault.version, now);
        return kept.map(Ok).ok_or_else(|| Fault::Unread(Box::new(place.clone())));
    };
    let not_read = match &fetched.outcome {
        Ok(held) => return Ok(Ok(Arc::clone(held))),
        Err(not_read) => not_read,
    };
    let passes = not_read.may_pass();
    let kept = passes.then(|| service.vaults.stale(place, &vault.version, now)).flatten();
    Ok(kept.ok_or(Refusal(not_read.status(), not_read.reason())))
}

/// The next version of a credential whose value is another in its vault.
async fn rotated(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    Named { name, credential, vault, places }: Named<'_>,
    version: &str,
    now: UnixMillis,
) -> Result<Credential, Fault> {
    let malformed = Fault::Malformed("credential");
    let next = credential.version.checked_add(1).ok_or(malformed.clone())?;
    let policy = policy::seen(&credential.policy, version).ok_or(malformed)?;
    let credential = Credential { version: next, policy, ..credential };
    let record = (asker.tenant, name);
    store::rotate(service, &mut *db, record, &credential, &places, now).await?;
    revocations::forget(&mut *db, &service.rows).await?;
    let event = asker
        .event("credential_rotated")
        .with("credential", name)
        .with("version", next.to_string())
        .with("vault", vault.name)
        .with("vault_version", version);
    service.audit.append(db, event, now).await?;
    Ok(credential)
}
