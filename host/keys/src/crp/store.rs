//! Type 4: a value that an operator sealed to this service's attested key. What gateways mint
//! is in `mint`.
//!
//! Invariant: the value is encrypted before anything is written, and from then on only a
//! release opens it; no answer, list or event repeats it.

use postern_core::hex;
use postern_core::placeholder::Name;
use postern_core::revocation::Kind;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::Role;
use postern_crp::message::store::{Answer as Stored, Expected, Request};
use postern_crp::message::{Answer, Status};
use postern_crp::wire::{Reader, Writer};
use sha2::{Digest, Sha256};

use super::policy::{self, Vaulted};
use super::{Asker, mint, receipt};
use crate::audit::Event;
use crate::envelope::{RecordName, Scope, seal_value};
use crate::fault::Fault;
use crate::random;
use crate::service::Inner;
use crate::store::credentials::{self, Credential, New, Sealed};
use crate::store::{Connection, deks, revocations};

/// Longest value of one field.
const MAX_VALUE: usize = 16 * 1024;

/// Stores a new version of a credential.
pub(super) async fn store(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    match (asker.role, &request.minted) {
        (Role::Credential, Some(origin)) => {
            return mint::mint(service, db, asker, (request, origin), now).await;
        }
        (Role::Operator, None) => {}
        _ => {
            let event = asker.event("credential_stored").with("decision", "refused");
            service.audit.append(db, event.with("reason", "not_of_this_role"), now).await?;
            return Ok(Answer::Denied(Status::Denied));
        }
    }
    let event = asker.event("credential_stored");
    put(service, db, (asker.tenant, request, None), event, now).await
}

/// Stores what an operator sent, or where it is in a vault; `event` says who it was.
pub(crate) async fn put(
    service: &Inner,
    db: &mut Connection,
    (tenant, request, vault): (&str, &Request, Option<Vaulted>),
    event: Event,
    now: UnixMillis,
) -> Result<Answer, Fault> {
    let event = event.with("credential", request.credential.as_str());
    let event = match &vault {
        Some(vault) => {
            event.with("vault", vault.name.as_str()).with("vault_version", vault.version.as_str())
        }
        None => event,
    };
    let Some(policy) = acceptable(request, tenant, vault, now) else {
        let event = event.with("decision", "refused").with("reason", "not_acceptable");
        service.audit.append(db, event, now).await?;
        return Ok(Answer::Denied(Status::Denied));
    };
    let found = credentials::find(&mut *db, tenant, &request.credential).await?;
    let Some((id, version)) = next(request.expected, found.as_ref())? else {
        let event = event.with("decision", "refused").with("reason", "version_conflict");
        service.audit.append(db, event, now).await?;
        return Ok(Answer::Denied(Status::VersionConflict));
    };
    let credential = Credential { id, version, policy, not_after: request.not_after };
    write(service, db, (tenant, request, None), &credential, now).await?;
    let (rows, kind, name) = (&service.rows, Kind::Credential, request.credential.as_bytes());
    // A name that was deleted a moment ago is in use again; gateways keep the old value.
    revocations::remove(&mut *db, rows, tenant, kind, name, true).await?;
    if found.is_some() {
        revocations::forget(&mut *db, rows).await?;
    }
    let hashes: Vec<String> =
        request.bindings.iter().map(|binding| hex::lower(binding.hash())).collect();
    let event = event
        .with("version", version.to_string())
        .with_list("bindings", &hashes)
        .with("approval", request.guard.approval.name())
        .with("require_passkey", request.guard.passkey.to_string());
    let link = service.audit.append(db, event.with("decision", "stored"), now).await?;
    Ok(Answer::Store(Stored { version, receipt: receipt(link) }))
}

/// Id and number of the version to write; `None` when the expected one is not there.
fn next(expected: Expected, found: Option<&Credential>) -> Result<Option<([u8; 16], u32)>, Fault> {
    let as_expected = match (expected, found) {
        (Expected::Any, _) | (Expected::Absent, None) => true,
        (Expected::Version(version), Some(found)) => found.version == version,
        (Expected::Absent, Some(_)) | (Expected::Version(_), None) => false,
    };
    let next = match found {
        _ if !as_expected => None,
        Some(found) => found.version.checked_add(1).map(|version| (found.id, version)),
        None => Some((random::bytes()?, 1)),
    };
    Ok(next)
}

/// Seals the value and writes it; `minted_by` is the caller that it is for.
pub(super) async fn write(
    service: &Inner,
    db: &mut Connection,
    (tenant, request, minted_by): (&str, &Request, Option<&[u8; 32]>),
    credential: &Credential,
    now: UnixMillis,
) -> Result<(), Fault> {
    let record = (tenant, request.credential.as_str());
    let sealed = sealed(service, &mut *db, record, credential, &request.fields, now).await?;
    let new = New {
        tenant,
        name: &request.credential,
        description: &request.description,
        credential,
        sealed: sealed.parts(),
        minted_by,
    };
    credentials::put(db, new, now).await
}

/// Writes what is sealed of a newer version of a credential that is there.
pub(super) async fn rotate(
    service: &Inner,
    db: &mut Connection,
    record: (&str, &str),
    credential: &Credential,
    fields: &[(String, Secret)],
    now: UnixMillis,
) -> Result<(), Fault> {
    let sealed = sealed(service, &mut *db, record, credential, fields, now).await?;
    credentials::rotate(db, credential, sealed.parts(), now).await
}

/// A sealed value with what it was sealed under.
struct SealedValue {
    dek_id: [u8; 16],
    policy_hash: [u8; 32],
    value_ct: Vec<u8>,
}

impl SealedValue {
    fn parts(&self) -> Sealed<'_> {
        let Self { dek_id, policy_hash, value_ct } = self;
        Sealed { dek_id, policy_hash, value_ct }
    }
}

async fn sealed(
    service: &Inner,
    db: &mut Connection,
    (tenant, name): (&str, &str),
    credential: &Credential,
    fields: &[(String, Secret)],
    now: UnixMillis,
) -> Result<SealedValue, Fault> {
    let scope = Scope::Tenant(tenant.to_owned());
    let dek = deks::dek(db, &scope, service.kek.as_ref(), now).await?;
    let policy_hash = Sha256::digest(&credential.policy).into();
    let record = RecordName {
        tenant,
        name,
        cred_id: &credential.id,
        version: credential.version,
        policy_hash: &policy_hash,
        not_after: credential.not_after,
    };
    let value_ct = seal_value(&dek, &record, &encode_fields(fields)?)?;
    Ok(SealedValue { dek_id: *dek.id(), policy_hash, value_ct })
}

/// The policy to store, when names, values and bindings are as they must be.
fn acceptable(
    request: &Request,
    tenant: &str,
    vault: Option<Vaulted>,
    now: UnixMillis,
) -> Option<Vec<u8>> {
    Name::new(&request.credential)?;
    let fields = request.fields.iter().all(|(name, value)| {
        (name.is_empty() || Name::new(name).is_some()) && acceptable_value(value)
    });
    if !fields || request.not_after.is_some_and(|end| end <= now) {
        return None;
    }
    let ours = |json: &[u8]| {
        let binding = policy::binding(json)?;
        let named = !binding.is_family()
            && binding.tenant() == tenant
            && binding.credential().as_str() == request.credential;
        (named && binding.canonical() == json).then_some(())
    };
    request.bindings.iter().try_for_each(|binding| ours(binding.json()))?;
    policy::written(&request.bindings, request.guard, vault)
}

/// What may stand in a header field: no CR, LF or NUL, 1 byte to 16 KiB.
pub(crate) fn acceptable_value(value: &Secret) -> bool {
    let bytes = value.expose();
    (1..=MAX_VALUE).contains(&bytes.len())
        && !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// The fields as the one value that is sealed: `n × (lp8 name | lp16 value)`.
pub(crate) fn encode_fields(fields: &[(String, Secret)]) -> Result<Secret, Fault> {
    let capacity = fields.iter().fold(0, |sum: usize, (name, value)| {
        sum.saturating_add(name.len()).saturating_add(value.len()).saturating_add(3)
    });
    let mut writer = Writer::new(capacity);
    for (name, value) in fields {
        writer.lp8(name.as_bytes()).map_err(|_| Fault::Malformed("credential"))?;
        writer.lp16(value.expose()).map_err(|_| Fault::Malformed("credential"))?;
    }
    Ok(Secret::new(writer.finish().to_vec()))
}

/// The fields of a value that opened.
pub(crate) fn decode_fields(value: &Secret) -> Option<Vec<(String, Secret)>> {
    let mut bytes = value.expose();
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let mut reader = Reader::new(bytes);
        let name = reader.text8().ok()?;
        fields.push((name, Secret::new(reader.lp16().ok()?.to_vec())));
        bytes = reader.rest();
    }
    (!fields.is_empty()).then_some(fields)
}
