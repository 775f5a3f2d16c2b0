//! Credentials as operators see them: names and bindings. Values come by CRP type 4.

use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;

use super::{Operator, not_found};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::credentials;
use crate::store::revocations::{self, Revocation};

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
