//! Credentials as operators see them: names and bindings. Values come by CRP type 4, or stay in
//! a vault and are named here.
//!
//! Invariant: what is said here is never a value; where a value is in its vault is stored sealed
//! as a value is, and no list repeats it.

use std::collections::BTreeMap;
use std::time::Instant;

use postern_core::placeholder::Name;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use postern_crp::message::store::{Binding, Expected, Guard, MAX_BINDINGS, Needed, Request};
use postern_crp::message::{Answer, Status};
use serde::{Deserialize, Serialize};

use super::{Operator, bad_request, conflict, not_found};
use crate::crp::policy::{self, Vaulted};
use crate::crp::store::put;
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::credentials;
use crate::store::revocations::{self, Revocation};
use crate::vaults::{Fetched, NotRead, Reference};

/// `POST /api/v1/credentials`: a credential whose value stays in a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InVault {
    /// What it is called.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Where each field is: `vault:NAME/PATH#FIELD` by its name, which is empty for the only one.
    pub from: BTreeMap<String, String>,
    /// Where it may go, as in the modules' configurations.
    pub bindings: Vec<serde_json::Value>,
    /// Whether it may take the place of another version.
    #[serde(default)]
    pub replace: bool,
    /// When it ends, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_after: Option<u64>,
    /// Releases that need an approval: `none`, `writes` or `every_release`.
    pub approval: String,
    /// Only a passkey approves.
    #[serde(default)]
    pub require_passkey: bool,
    /// How many have to approve, 1 to 5.
    pub approvers: u8,
}

impl InVault {
    fn read(body: &[u8], tenant: &str) -> Result<(Request, Reference), &'static str> {
        let new: Self = serde_json::from_slice(body)
            .map_err(|_| "Expected name, from, bindings, approval and approvers")?;
        let from = new.from.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let place = Reference::parse(tenant, from)?;
        let binding = |json: &serde_json::Value| {
            let binding = policy::binding(&serde_json::to_vec(json).ok()?)?;
            Some(Binding::new(binding.canonical()))
        };
        let bindings: Option<Vec<Binding>> = new.bindings.iter().map(binding).collect();
        let mut bindings = bindings.ok_or("Expected bindings")?;
        bindings.sort();
        bindings.dedup();
        let approval = Needed::ALL.into_iter().find(|one| one.name() == new.approval);
        let approval = approval.ok_or("Expected approval none, writes or every_release")?;
        let few = (1..=MAX_BINDINGS).contains(&bindings.len())
            && (1..=Guard::MOST_APPROVERS).contains(&new.approvers)
            && new.description.len() <= 255;
        if !few {
            return Err("Expected 1 to 16 bindings, 1 to 5 approvers and a short description");
        }
        // Before anything is asked of the vault, or written.
        let named = Name::new(&new.name).is_some();
        if !named || !place.names().all(|field| field.is_empty() || Name::new(field).is_some()) {
            return Err("Expected a name, and names of fields");
        }
        let guard = Guard { approval, passkey: new.require_passkey, approvers: new.approvers };
        let request = Request {
            credential: new.name,
            description: new.description,
            expected: if new.replace { Expected::Any } else { Expected::Absent },
            not_after: new.not_after.map(UnixMillis),
            fields: place.to_store(),
            bindings,
            guard,
            minted: None,
        };
        Ok((request, place))
    }
}

impl Service {
    pub(super) async fn list_credentials(&self, operator: &Operator) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let credentials = credentials::all(&mut db, &operator.tenant).await?;
        #[derive(serde::Serialize)]
        struct List {
            credentials: Vec<credentials::Metadata>,
        }
        Ok(HttpAnswer::json(&List { credentials }))
    }

    /// Reads the value first: what is not there, or may not be read, is not stored.
    pub(super) async fn put_in_vault(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let (request, place) = match InVault::read(body, &operator.tenant) {
            Ok(read) => read,
            Err(expected) => return Ok(bad_request(expected)),
        };
        let Fetched { outcome, .. } = self.inner.vaults.fetch(&place, Instant::now(), now).await;
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let event = operator.event("credential_stored");
        let held = match outcome {
            Ok(held) => held,
            Err(not_read) => {
                let event = event
                    .with("credential", request.credential.as_str())
                    .with("vault", place.vault())
                    .with("decision", "refused")
                    .with("reason", not_read.reason());
                self.recorded(db, event, now).await?;
                return Ok(refused(&not_read));
            }
        };
        let version = held.version().to_string();
        let vault = Vaulted { name: place.vault().to_owned(), version: version.clone() };
        let put_in = (operator.tenant.as_str(), &request, Some(vault));
        let answer = put(&self.inner, &mut db, put_in, event, now).await?;
        db.commit().await?;
        Ok(match answer {
            Answer::Store(stored) => HttpAnswer::json(&serde_json::json!({
                "credential": request.credential, "version": stored.version,
                "vault": place.vault(), "vault_version": version,
            })),
            Answer::Denied(Status::VersionConflict) => {
                conflict("Another version of this credential is stored (replace)")
            }
            _ => {
                bad_request("Expected a name, bindings of it and of this tenant, and an end ahead")
            }
        })
    }

    pub(super) async fn delete_credential(
        &self,
        operator: &Operator,
        name: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        if !credentials::delete(&mut db, &operator.tenant, name).await? {
            return Ok(not_found());
        }
        let told = Revocation::told(Kind::Credential, name.as_bytes(), now);
        self.tell(&mut db, operator, told, now).await?;
        // What was minted by it goes with it, and gateways do not know which that is.
        revocations::forget(&mut db, &self.inner.rows).await?;
        let event = operator.event("credential_deleted").with("credential", name);
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::empty(204))
    }
}

/// An operator may know what the vault says; it is about the vault and no secret.
fn refused(not_read: &NotRead) -> HttpAnswer {
    let title = format!("Nothing was stored: {not_read}");
    let status = if not_read.may_pass() { 503 } else { 409 };
    HttpAnswer::problem(status, not_read.reason(), &title)
}
