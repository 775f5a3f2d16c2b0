//! What gateways may run: authorised, listed and taken back by operators.
//!
//! Invariant: the last set that a gateway is held to is not taken back by accident, since a gateway
//! without one may run anything unless the configuration says otherwise.

use postern_core::hex;
use postern_core::placeholder::Name;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Operator, bad_request, conflict, not_found};
use crate::audit::Event;
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::gateway_sets::{self, Authorised, MAX_BINDINGS, MAX_SETS};
use crate::store::{Connection, identities, revocations};

/// `POST /api/v1/gateway-sets`: hashes in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSet {
    /// What it is called.
    pub name: String,
    /// The gateway; without one every gateway of the tenant that has no set of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Name of the modules; without one they are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
    /// Name of the policy; without one it is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Hashes of the bindings; without any they are not compared.
    #[serde(default)]
    pub bindings: Vec<String>,
}

/// `DELETE /api/v1/gateway-sets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSet {
    /// What it is called.
    pub name: String,
    /// As in [`NewSet`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Leave to take back the only one, after which the tenant's sets count, or nothing is compared.
    #[serde(default)]
    pub last: bool,
}

fn maybe<const N: usize>(text: Option<&String>) -> Result<Option<[u8; N]>, &'static str> {
    let read = text.map(|text| hex::read(text.as_bytes()).ok_or("Expected hexadecimal digits"));
    read.transpose()
}

impl NewSet {
    fn read(body: &[u8], tenant: &str, now: UnixMillis) -> Result<Authorised, &'static str> {
        let new: Self = serde_json::from_slice(body)
            .map_err(|_| "Expected name, gateway, modules, policy and bindings")?;
        if Name::new(&new.name).is_none() {
            return Err("Expected a name of 1 to 63 lower-case letters, digits, _ and -");
        }
        let hash = |text: &String| hex::read(text.as_bytes());
        let bindings: Option<Vec<[u8; 32]>> = new.bindings.iter().map(hash).collect();
        let mut bindings = bindings.ok_or("Expected hashes of bindings in hexadecimal")?;
        bindings.sort_unstable();
        bindings.dedup();
        let (modules, policy) = (maybe(new.modules.as_ref())?, maybe(new.policy.as_ref())?);
        if bindings.len() > MAX_BINDINGS {
            return Err("Expected at most 256 bindings");
        }
        if modules.is_none() && policy.is_none() && bindings.is_empty() {
            return Err("Expected at least one of modules, policy and bindings");
        }
        let (gateway, tenant) = (maybe(new.gateway.as_ref())?, tenant.to_owned());
        Ok(Authorised { tenant, gateway, name: new.name, modules, policy, bindings, added: now })
    }
}

fn shown(set: &Authorised) -> serde_json::Value {
    let maybe = |hash: Option<[u8; 32]>| hash.map(|hash| hex::lower(&hash));
    let bindings: Vec<String> = set.bindings.iter().map(|hash| hex::lower(hash)).collect();
    serde_json::json!({
        "name": set.name, "gateway": set.gateway.map(|id| hex::lower(&id)),
        "modules": maybe(set.modules), "policy": maybe(set.policy), "bindings": bindings,
        "added": set.added.0,
    })
}

impl Service {
    pub(super) async fn gateway_sets_resource(
        &self,
        operator: &Operator,
        method: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        match method {
            "GET" => self.list_gateway_sets(operator).await,
            "POST" => match NewSet::read(body, &operator.tenant, now) {
                Ok(set) => self.authorise_gateway_set(operator, &set, now).await,
                Err(expected) => Ok(bad_request(expected)),
            },
            "DELETE" => self.remove_gateway_set(operator, body, now).await,
            _ => Ok(not_found()),
        }
    }

    async fn list_gateway_sets(&self, operator: &Operator) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let sets = gateway_sets::all(&mut db, &self.inner.rows, &operator.tenant).await?;
        let sets: Vec<_> = sets.iter().map(shown).collect();
        Ok(HttpAnswer::json(&serde_json::json!({ "sets": sets })))
    }

    async fn authorise_gateway_set(
        &self,
        operator: &Operator,
        set: &Authorised,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let rows = &self.inner.rows;
        if gateway_sets::all(&mut db, rows, &operator.tenant).await?.len() >= MAX_SETS {
            return Ok(conflict("256 sets are authorised; take some back"));
        }
        if let Some(gateway) = &set.gateway
            && !self.has_gateway(&mut db, operator, gateway, now).await?
        {
            return Ok(conflict("There is no such gateway: a set for it would hold nobody"));
        }
        if !gateway_sets::add(&mut db, rows, set).await? {
            return Ok(conflict("There is a set of this name"));
        }
        // What gateways keep was released before the set was there.
        revocations::forget(&mut db, rows).await?;
        let event = operator.event("gateway_set_authorised").with("set", set.name.as_str());
        let event = with(event, "gateway", set.gateway.as_ref());
        let event = with(event, "modules", set.modules.as_ref());
        let event = with(event, "policy", set.policy.as_ref());
        let bindings: Vec<String> = set.bindings.iter().map(|hash| hex::lower(hash)).collect();
        self.recorded(db, event.with_list("bindings", &bindings), now).await?;
        Ok(HttpAnswer::json(&shown(set)))
    }

    async fn has_gateway(
        &self,
        db: &mut Connection,
        operator: &Operator,
        gateway: &[u8; 16],
        now: UnixMillis,
    ) -> Result<bool, Fault> {
        let known = identities::active(db, &self.inner.rows, gateway, now).await?;
        Ok(known.iter().any(|identity| identity.tenant == operator.tenant))
    }

    async fn remove_gateway_set(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(named) = serde_json::from_slice::<NamedSet>(body) else {
            return Ok(bad_request("Expected name, gateway and last"));
        };
        let gateway = match maybe::<16>(named.gateway.as_ref()) {
            Ok(gateway) => gateway,
            Err(expected) => return Ok(bad_request(expected)),
        };
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let (rows, tenant) = (&self.inner.rows, &operator.tenant);
        let mut left = gateway_sets::all(&mut db, rows, tenant).await?;
        left.retain(|set| set.gateway == gateway && set.name != named.name);
        if !gateway_sets::remove(&mut db, tenant, gateway.as_ref(), &named.name).await? {
            return Ok(not_found());
        }
        if left.is_empty() && !named.last {
            return Ok(conflict(match gateway {
                None => "It is the only one: say last, and nothing is compared any more",
                Some(_) => "It is its only one: say last, and the tenant's sets count for it",
            }));
        }
        revocations::forget(&mut db, rows).await?;
        let event = operator.event("gateway_set_removed").with("set", named.name.as_str());
        self.recorded(db, with(event, "gateway", gateway.as_ref()), now).await?;
        Ok(HttpAnswer::empty(204))
    }
}

fn with<const N: usize>(event: Event, name: &'static str, bytes: Option<&[u8; N]>) -> Event {
    match bytes {
        Some(bytes) => event.with_hex(name, bytes),
        None => event,
    }
}
