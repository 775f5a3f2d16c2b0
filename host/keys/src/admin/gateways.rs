//! Gateways: list, make join tokens for a new one, revoke.

use postern_core::hex;
use postern_core::revocation::Kind;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use super::{Operator, bad_request, not_found};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::identities;
use crate::store::revocations::Revocation;

/// Longest life of a gateway's identities: 90 days.
const LIFE_MS: u64 = 90 * 24 * 3600 * 1000;

impl Service {
    pub(super) async fn list_gateways(&self, operator: &Operator) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let identities = identities::all(&mut db, &operator.tenant).await?;
        Ok(HttpAnswer::json(&serde_json::json!({ "identities": identities })))
    }

    /// Three join tokens, shown this once.
    pub(super) async fn create_gateway(
        &self,
        operator: &Operator,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let tokens = self.inner.mint_gateway(&mut db, &operator.tenant, now).await?;
        let event = operator.event("gateway_created").with_hex("gateway", &tokens.gateway_id);
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::json(&serde_json::json!({
            "gateway_id": hex::lower(&tokens.gateway_id),
            "tokens": {
                "gate": text(&tokens.gate),
                "credential": text(&tokens.credential),
                "audit": text(&tokens.audit),
            },
        })))
    }

    /// Revokes the identities of a gateway, or of an operator.
    pub(super) async fn revoke_gateway(
        &self,
        operator: &Operator,
        id: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Some(gateway) = hex::read(id.as_bytes()) else {
            return Ok(bad_request("Expected 32 hexadecimal digits"));
        };
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let rows = &self.inner.rows;
        if identities::revoke(&mut db, rows, &operator.tenant, &gateway, now).await? == 0 {
            return Ok(not_found());
        }
        // No longer than its identities would have lived.
        let until = UnixMillis(now.0.saturating_add(LIFE_MS));
        let told =
            Revocation { until: Some(until), ..Revocation::told(Kind::Gateway, &gateway, now) };
        self.tell(&mut db, operator, told, now).await?;
        self.recorded(db, operator.event("gateway_revoked").with("gateway", id), now).await?;
        Ok(HttpAnswer::empty(204))
    }
}

/// A join token is handed out once, over TLS, to whoever will enrol with it.
fn text(token: &Secret) -> String {
    String::from_utf8_lossy(token.expose()).into_owned()
}
