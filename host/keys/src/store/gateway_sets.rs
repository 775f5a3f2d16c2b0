//! What gateways may run: modules, policy and bindings, each set under a name of its own.
//!
//! Several sets of one gateway are alternatives, so that a new one can be let in before the old one
//! goes. Invariant: a row counts only while its MAC holds; a row that is gone leaves no trace here,
//! which is why the configuration can demand that a gateway has one.

use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, at, exact, millis};

/// Most sets of a tenant.
pub const MAX_SETS: usize = 256;
/// Most bindings of a set.
pub const MAX_BINDINGS: usize = 256;

/// One set that is authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorised {
    /// Tenant.
    pub tenant: String,
    /// The gateway; `None` for every one of the tenant that has no set of its own.
    pub gateway: Option<[u8; 16]>,
    /// What the operator calls it.
    pub name: String,
    /// Name of its modules, where they are compared.
    pub modules: Option<[u8; 32]>,
    /// Name of its policy, where it is compared.
    pub policy: Option<[u8; 32]>,
    /// Hashes of its bindings; none, and they are not compared.
    pub bindings: Vec<[u8; 32]>,
    /// When it was authorised.
    pub added: UnixMillis,
}

#[derive(FromRow)]
struct Row {
    tenant: String,
    gateway: Vec<u8>,
    name: String,
    modules: Vec<u8>,
    policy: Vec<u8>,
    bindings: Vec<u8>,
    added_ms: i64,
    mac: Vec<u8>,
}

impl Row {
    fn of(set: &Authorised) -> Self {
        let maybe = |hash: Option<[u8; 32]>| hash.map(Vec::from).unwrap_or_default();
        Self {
            tenant: set.tenant.clone(),
            gateway: set.gateway.map(Vec::from).unwrap_or_default(),
            name: set.name.clone(),
            modules: maybe(set.modules),
            policy: maybe(set.policy),
            bindings: set.bindings.concat(),
            added_ms: millis(set.added),
            mac: Vec::new(),
        }
    }

    fn bytes(&self) -> RowBytes {
        RowBytes::of("gateway_sets")
            .part(self.tenant.as_bytes())
            .part(&self.gateway)
            .part(self.name.as_bytes())
            .part(&self.modules)
            .part(&self.policy)
            .part(&self.bindings)
            .number(self.added_ms)
    }

    fn read(self, rows: &RowKeys) -> Result<Authorised, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        Ok(Authorised {
            gateway: maybe(&self.gateway)?,
            modules: maybe(&self.modules)?,
            policy: maybe(&self.policy)?,
            bindings: self
                .bindings
                .chunks(32)
                .map(|one| exact(one, WHAT))
                .collect::<Result<_, _>>()?,
            added: at(self.added_ms),
            tenant: self.tenant,
            name: self.name,
        })
    }
}

const WHAT: &str = "gateway set";

fn maybe<const N: usize>(bytes: &[u8]) -> Result<Option<[u8; N]>, Fault> {
    if bytes.is_empty() { Ok(None) } else { exact(bytes, WHAT).map(Some) }
}

/// Adds a set; `false` when the gateway has one of this name.
pub async fn add(db: &mut Connection, rows: &RowKeys, set: &Authorised) -> Result<bool, Fault> {
    let row = Row::of(set);
    let mac = rows.sign(&row.bytes());
    let done = sqlx::query(
        "INSERT INTO gateway_sets
         (tenant, gateway, name, modules, policy, bindings, added_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(row.tenant)
    .bind(row.gateway)
    .bind(row.name)
    .bind(row.modules)
    .bind(row.policy)
    .bind(row.bindings)
    .bind(row.added_ms)
    .bind(mac)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Every set of a tenant.
pub async fn all(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
) -> Result<Vec<Authorised>, Fault> {
    let select = "SELECT * FROM gateway_sets WHERE tenant = $1 ORDER BY gateway, added_ms, name";
    let found: Vec<Row> = sqlx::query_as(select).bind(tenant).fetch_all(db).await?;
    found.into_iter().map(|row| row.read(rows)).collect()
}

/// The sets that `gateway` is held to: its own, and without any those of the whole tenant.
pub async fn of_gateway(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    gateway: &[u8; 16],
) -> Result<Vec<Authorised>, Fault> {
    let select = "SELECT * FROM gateway_sets WHERE tenant = $1 AND gateway = $2";
    for gateway in [gateway.as_slice(), &[]] {
        let query = sqlx::query_as(select).bind(tenant).bind(gateway);
        let found: Vec<Row> = query.fetch_all(&mut *db).await?;
        if !found.is_empty() {
            return found.into_iter().map(|row| row.read(rows)).collect();
        }
    }
    Ok(Vec::new())
}

/// Takes a set back; `false` when there is none of this name.
pub async fn remove(
    db: &mut Connection,
    tenant: &str,
    gateway: Option<&[u8; 16]>,
    name: &str,
) -> Result<bool, Fault> {
    let delete = "DELETE FROM gateway_sets WHERE tenant = $1 AND gateway = $2 AND name = $3";
    let gateway = gateway.map_or(&[][..], <[u8; 16]>::as_slice);
    let done = sqlx::query(delete).bind(tenant).bind(gateway).bind(name).execute(db).await?;
    Ok(done.rows_affected() == 1)
}
