//! Type 1: may this agent have this credential for this host, and what is it.
//!
//! Grants, for now: a credential belongs to a tenant, and every agent of that tenant may
//! use it at the hosts, methods and paths of its bindings; a minted one belongs to the agent
//! and caller whose request minted it, and nobody else learns that it is there. Capability tokens
//! are not known yet, so a request that brings one is refused, not served without it.
//!
//! Invariant: the value is opened only after every check, and its event is appended before
//! it is returned; both are in the caller's transaction. Where the credential asks for an
//! approval, whatever the gateway says, one is used up in that transaction as well.

use postern_core::authority::Authority;
use postern_core::binding::{Binding, is_safe_method};
use postern_core::path::RequestPath;
use postern_core::placeholder::Name;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use postern_crp::message::Status;
use postern_crp::message::release::{Answer, Request};
use postern_crp::message::store::Needed;
use sha2::{Digest, Sha256};

use super::approval::guard;
use super::vaulted::{self, Named};
use super::{Asker, drift, receipt};
use crate::approvals::{Approval, using};
use crate::audit::Event;
use crate::crp::policy::{self, Owner};
use crate::crp::store::decode_fields;
use crate::envelope::{RecordName, Scope, open_value};
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::credentials::{self, Credential};
use crate::store::{Connection, deks, revocations};

/// A released value is no good a day later, even without an end of its own.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

/// A refusal: what the gateway learns and what the audit chain says.
pub(super) struct Refusal(pub(super) Status, pub(super) &'static str);

/// Nothing of a release is revoked, and its gateway runs what it may. Made by [`cleared`] alone.
struct Cleared(());

/// What goes out.
pub(super) struct Opened {
    /// In the version that goes out.
    pub(super) credential: Credential,
    /// Its value.
    pub(super) fields: Fields,
    /// Seconds that a gateway may keep it at most, where a vault keeps the value.
    pub(super) longest: Option<u16>,
}

/// A credential that may go to who asks, but for an approval. Made by [`check`] alone.
struct Releasable(Credential);

/// Answers a release; a refusal is recorded too.
pub(super) async fn release(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    least: u32,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let found = credentials::find(&mut *db, asker.tenant, &request.credential).await?;
    let cleared = cleared(service, db, asker, request, found.as_ref(), now).await?;
    let checked = cleared.and_then(|cleared| check(cleared, request, asker, found, least, now));
    let opened = match checked {
        Ok(credential) => opened(service, db, asker, request, credential, now).await?,
        Err(refusal) => Err(refusal),
    };
    let event = event(asker, request);
    let Opened { credential, fields, longest } = match opened {
        Ok(opened) => opened,
        Err(Refusal(status, reason)) => {
            let event = event.with("decision", "refused").with("reason", reason);
            let event = drift::said(event, request, reason);
            let link = service.audit.append(db, event, now).await?;
            return Ok(Answer::refused(status, request.binding_hash, receipt(link)));
        }
    };
    let event = event.with("version", credential.version.to_string());
    let link = service.audit.append(&mut *db, event.with("decision", "released"), now).await?;
    Ok(Answer {
        status: Status::Ok,
        version: credential.version,
        not_after: ends(&credential, now),
        // Nobody uses an approved value again.
        ttl_s: match request.approval {
            None => {
                let ttl = u16::try_from(service.limits.release_ttl.as_secs()).unwrap_or(0);
                longest.map_or(ttl, |longest| longest.min(ttl))
            }
            Some(_) => 0,
        },
        max_uses: if request.approval.is_none() { u16::MAX } else { 1 },
        rev_epoch: revocations::state(&mut *db, &service.rows).await?.0,
        fields,
        binding_hash: request.binding_hash,
        receipt: receipt(link),
    })
}

/// The value, once its approval, if it needs or names one, was found to serve; that is then
/// used up.
async fn opened(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    Releasable(credential): Releasable,
    now: UnixMillis,
) -> Result<Result<Opened, Refusal>, Fault> {
    let approval = match approved(service, &mut *db, asker, request, &credential, now).await? {
        Ok(approval) => approval,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let name = &request.credential;
    let fields = match open(service, &mut *db, asker, name, &credential).await? {
        Ok(fields) => fields,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let opened = match policy::vault(&credential.policy) {
        None => Opened { credential, fields, longest: None },
        Some(vault) => {
            let named = Named { name, credential, vault, places: fields };
            match vaulted::value(service, &mut *db, asker, named, now).await? {
                Ok(opened) => opened,
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    };
    if let Some(approval) = approval {
        using::spend(service, db, approval, name).await?;
    }
    Ok(Ok(opened))
}

/// The approval that the release names, if it serves; refuses without one where the
/// credential, or that by which it was minted, wants it.
async fn approved(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    credential: &Credential,
    now: UnixMillis,
) -> Result<Result<Option<Approval>, Refusal>, Fault> {
    let guard = guard(&mut *db, asker.tenant, credential).await?;
    let wanted = match guard.approval {
        Needed::None => false,
        Needed::Writes => !is_safe_method(request.method.as_bytes()),
        Needed::EveryRelease => true,
    };
    let status = if guard.passkey { Status::NeedsPasskey } else { Status::NeedsApproval };
    let Some(id) = &request.approval else {
        return Ok(if wanted { Err(Refusal(status, "approval_missing")) } else { Ok(None) });
    };
    let used = using::Use {
        tenant: asker.tenant,
        id,
        subject: &request.caller_hash,
        agent: &request.agent,
        digest: &request.request_digest,
        credential: &request.credential,
        needed: if wanted { guard.approvers } else { 1 },
        passkey: wanted && guard.passkey,
    };
    let found = using::serving(service, db, &used, now).await?;
    Ok(found.map(Some).map_err(|reason| Refusal(status, reason)))
}

/// Whether nothing of it is revoked or drifted. All is looked up, whatever is found first.
async fn cleared(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    found: Option<&Credential>,
    now: UnixMillis,
) -> Result<Result<Cleared, Refusal>, Fault> {
    let revoked = revoked(service, &mut *db, asker, request, now).await?;
    // One that was deleted is told to gateways as revoked, and here it is not there.
    let revoked = revoked.filter(|Refusal(_, reason)| found.is_some() || *reason != CREDENTIAL);
    let drifted = drift::drifted(service, &mut *db, asker, request).await?;
    let drifted = drifted.map(|reason| Refusal(Status::Denied, reason));
    let orphaned = orphaned(service, db, asker, found, now).await?;
    Ok(revoked.or(drifted).or(orphaned).map_or(Ok(Cleared(())), Err))
}

/// Why a credential that an operator has revoked is not released.
const CREDENTIAL: &str = "credential_revoked";

async fn revoked(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    now: UnixMillis,
) -> Result<Option<Refusal>, Fault> {
    let things = [
        (Kind::Tenant, b"".as_slice()),
        (Kind::Agent, request.agent.as_bytes()),
        (Kind::Credential, request.credential.as_bytes()),
    ];
    let found = revocations::any(db, &service.rows, asker.tenant, &things, now).await?;
    Ok(found.map(|kind| {
        let reason = match kind {
            Kind::Agent => "agent_revoked",
            Kind::Credential => CREDENTIAL,
            _ => "tenant_revoked",
        };
        Refusal(Status::Revoked, reason)
    }))
}

/// Whether what was minted has lost the credential that it was minted by.
async fn orphaned(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    found: Option<&Credential>,
    now: UnixMillis,
) -> Result<Option<Refusal>, Fault> {
    let Some(source) = found.and_then(|one| policy::read(&one.policy).source) else {
        return Ok(None);
    };
    if credentials::find(&mut *db, asker.tenant, &source).await?.is_none() {
        return Ok(Some(Refusal(Status::UnknownCredential, "source_deleted")));
    }
    let things = [(Kind::Credential, source.as_bytes())];
    let found = revocations::any(db, &service.rows, asker.tenant, &things, now).await?;
    Ok(found.map(|_| Refusal(Status::Revoked, "source_revoked")))
}

fn event(asker: &Asker<'_>, request: &Request) -> Event {
    asker
        .event("credential_release")
        .with("credential", request.credential.as_str())
        .with("agent", request.agent.as_str())
        .with("host", request.host.as_str())
        .with("method", request.method.as_str())
        .with_hex("caller", &request.caller_hash)
        .with_hex("request", &request.request_digest)
}

fn ends(credential: &Credential, now: UnixMillis) -> UnixMillis {
    let longest = UnixMillis(now.0.saturating_add(LONGEST_MS));
    credential.not_after.map_or(longest, |end| end.min(longest))
}

fn check(
    Cleared(()): Cleared,
    request: &Request,
    asker: &Asker<'_>,
    found: Option<Credential>,
    least: u32,
    now: UnixMillis,
) -> Result<Releasable, Refusal> {
    if !request.capability.is_empty() {
        return Err(Refusal(Status::Denied, "capability_unsupported"));
    }
    let credential = found.ok_or(Refusal(Status::UnknownCredential, "credential_unknown"))?;
    let policy = policy::read(&credential.policy);
    let asks = Owner::new(&request.agent, &request.caller_hash);
    if policy.owner.is_some_and(|owner| owner != asks) {
        return Err(Refusal(Status::UnknownCredential, "minted_for_another"));
    }
    if credential.not_after.is_some_and(|end| end <= now) {
        return Err(Refusal(Status::Expired, "credential_expired"));
    }
    if credential.version < least {
        return Err(Refusal(Status::Denied, "version_too_old"));
    }
    let binding = policy.bindings.iter().find(|binding| binding.hash() == request.binding_hash);
    let binding = binding.ok_or(Refusal(Status::Denied, "binding_unknown"))?;
    bound(binding, request, asker)?;
    Ok(Releasable(credential))
}

/// The hash already says which binding; the request must be one that it allows.
fn bound(binding: &Binding, request: &Request, asker: &Asker<'_>) -> Result<(), Refusal> {
    let name = Name::new(&request.credential);
    let named = name.is_some_and(|name| binding.is_of(&name));
    if !named || binding.tenant() != asker.tenant {
        return Err(Refusal(Status::Denied, "binding_of_another"));
    }
    if Authority::parse(&request.host).as_ref() != Some(binding.authority()) {
        return Err(Refusal(Status::Denied, "host_not_bound"));
    }
    if !binding.allows_method(&request.method) {
        return Err(Refusal(Status::Denied, "method_not_bound"));
    }
    let path = RequestPath::parse(request.path.as_bytes());
    if !path.is_some_and(|path| binding.allows_path(&path)) {
        return Err(Refusal(Status::Denied, "path_not_bound"));
    }
    Ok(())
}

pub(super) type Fields = Vec<(String, postern_core::secret::Secret)>;

/// Opens the value. A row that does not open is refused and recorded: that is tampering
/// or the wrong key, and retrying does not help.
async fn open(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    name: &str,
    credential: &Credential,
) -> Result<Result<Fields, Refusal>, Fault> {
    let scope = Scope::Tenant(asker.tenant.to_owned());
    let dek = match deks::find(&mut *db, &scope, service.kek.as_ref()).await {
        Ok(Some(dek)) => dek,
        Ok(None) | Err(Fault::OtherKek | Fault::Sealed(_)) => {
            return Ok(Err(Refusal(Status::KekUnavailable, "data_key_unavailable")));
        }
        Err(fault) => return Err(fault),
    };
    let Some(value_ct) = credentials::sealed(db, credential).await? else {
        return Ok(Err(Refusal(Status::Denied, "value_missing")));
    };
    let name = RecordName {
        tenant: asker.tenant,
        name,
        cred_id: &credential.id,
        version: credential.version,
        policy_hash: &Sha256::digest(&credential.policy).into(),
        not_after: credential.not_after,
    };
    let value = open_value(&dek, &name, &value_ct);
    let fields = value.ok().and_then(|value| decode_fields(&value));
    Ok(fields.ok_or(Refusal(Status::Denied, "value_does_not_open")))
}
