//! Revocations that are no change of another thing: agents, users, tokens, keys that sign.
//!
//! API keys and gateways have their own requests, which end the thing itself too.

use postern_core::hex;
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Operator, bad_request, conflict, not_found};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::{self, revocations};

/// How long a token or session is named when nothing is said, and at most.
const DEFAULT_MS: u64 = 24 * 3600 * 1000;
const LONGEST_MS: u64 = 30 * DEFAULT_MS;
const MAX_ID: usize = 128;
/// Most tokens and the like that one tenant may have, so that it does not fill the list of all.
const MAX_OF_TENANT: usize = 1000;

/// `POST` and `DELETE /api/v1/revocations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// `agent`, `user`, `credential`, `token`, `issuer-key` or `tenant`; to take back what an
    /// older version took, `session`, `measurement` and `approval` too.
    pub kind: String,
    /// Its name; 32 and 16 bytes in hexadecimal for the last two, empty for a tenant.
    pub id: String,
    /// For tokens and sessions: milliseconds since 1970 at which it would have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

impl Named {
    fn read(body: &[u8], now: UnixMillis) -> Result<(Self, revocations::Revocation), &'static str> {
        let expected = "Expected kind, id and, for a token or session, until";
        let named: Self = serde_json::from_slice(body).map_err(|_| expected)?;
        let kind = Kind::from_name(&named.kind).ok_or("Expected a kind that can be revoked")?;
        let id = id(kind, &named.id)?;
        let until = until(kind, named.until, now)?;
        Ok((named, revocations::Revocation { kind, id, from: now, until }))
    }
}

fn id(kind: Kind, text: &str) -> Result<Vec<u8>, &'static str> {
    let named = (1..=MAX_ID).contains(&text.len()) && !text.chars().any(char::is_control);
    match kind {
        Kind::ApiKey => Err("Revoke an API key by its own request"),
        Kind::Gateway => Err("Revoke a gateway by its own request"),
        Kind::Tenant if text.is_empty() => Ok(Vec::new()),
        Kind::Tenant => Err("Expected no id: an operator revokes its own tenant"),
        Kind::Approval => {
            hex::read::<16>(text.as_bytes()).map(|id| id.to_vec()).ok_or("Expected 16 bytes in hex")
        }
        Kind::Measurement => {
            hex::read::<32>(text.as_bytes()).map(|id| id.to_vec()).ok_or("Expected 32 bytes in hex")
        }
        _ if named => Ok(text.as_bytes().to_vec()),
        _ => Err("Expected a name of 1 to 128 bytes"),
    }
}

fn until(
    kind: Kind,
    until: Option<u64>,
    now: UnixMillis,
) -> Result<Option<UnixMillis>, &'static str> {
    let ends = matches!(kind, Kind::Token | Kind::Session);
    match until {
        None => Ok(ends.then(|| UnixMillis(now.0.saturating_add(DEFAULT_MS)))),
        Some(_) if !ends => Err("Only tokens and sessions end by themselves"),
        Some(end) if end > now.0 && end - now.0 <= LONGEST_MS => Ok(Some(UnixMillis(end))),
        Some(_) => Err("Expected an end within 30 days"),
    }
}

/// What to do instead of a revocation that no gateway and no service would act on: whoever
/// gave it would believe that something is stopped.
fn not_enforced(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Session => Some("Nothing enforces sessions yet: revoke the user"),
        Kind::Measurement => {
            Some("Nothing enforces measurements here: take it out of the release set")
        }
        _ => None,
    }
}

/// What there may be many of. Agents, users and the like can always be revoked.
fn is_capped(kind: Kind) -> bool {
    matches!(kind, Kind::Token | Kind::Session | Kind::IssuerKey | Kind::Measurement)
}

impl Service {
    pub(super) async fn list_revocations(&self, operator: &Operator) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.acquire().await?;
        let all = revocations::all(&mut db, &self.inner.rows, &operator.tenant).await?;
        let show = |one: &revocations::Revocation| {
            let id = match one.kind {
                Kind::Gateway | Kind::Approval | Kind::Measurement => hex::lower(&one.id),
                _ => String::from_utf8_lossy(&one.id).into_owned(),
            };
            serde_json::json!({
                "kind": one.kind.name(), "id": id,
                "from": one.from.0, "until": one.until.map(|end| end.0),
            })
        };
        let shown: Vec<_> = all.iter().map(show).collect();
        Ok(HttpAnswer::json(&serde_json::json!({ "revocations": shown })))
    }

    pub(super) async fn add_revocation(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let (named, revocation) = match Named::read(body, now) {
            Ok(read) => read,
            Err(expected) => return Ok(bad_request(expected)),
        };
        if let Some(instead) = not_enforced(revocation.kind) {
            return Ok(HttpAnswer::problem(422, "not_enforced", instead));
        }
        let mut db = store::write(&self.inner.pool).await?;
        let (rows, tenant) = (&self.inner.rows, &operator.tenant);
        if is_capped(revocation.kind) {
            let mut others = revocations::all(&mut db, rows, tenant).await?;
            others.retain(|one| is_capped(one.kind) && !one.is_of(&revocation));
            if others.len() >= MAX_OF_TENANT {
                return Ok(conflict("1 000 tokens are revoked; revoke an agent or a user"));
            }
        }
        if revocations::add(&mut db, rows, tenant, &revocation, now).await?.is_err() {
            return Ok(conflict("The list is full; revoke an agent or a user"));
        }
        if revocation.kind == Kind::Credential {
            // What was minted by it goes with it, and gateways do not know which that is.
            revocations::forget(&mut db, rows).await?;
        }
        let event = operator.event("revoked").with("what", named.kind.as_str());
        self.recorded(db, event.with("id", named.id.as_str()), now).await?;
        Ok(HttpAnswer::json(&named))
    }

    pub(super) async fn remove_revocation(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let (named, revocation) = match Named::read(body, now) {
            Ok(read) => read,
            Err(expected) => return Ok(bad_request(expected)),
        };
        let mut db = store::write(&self.inner.pool).await?;
        let (kind, id) = (revocation.kind, &revocation.id);
        let rows = &self.inner.rows;
        if !revocations::remove(&mut db, rows, &operator.tenant, kind, id, false).await? {
            return Ok(not_found());
        }
        let event = operator.event("restored").with("what", named.kind.as_str());
        self.recorded(db, event.with("id", named.id.as_str()), now).await?;
        Ok(HttpAnswer::json(&named))
    }
}
