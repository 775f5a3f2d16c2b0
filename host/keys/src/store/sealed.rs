//! Every sealed value of a tenant, to be sealed by another data key.

use sqlx::FromRow;

use crate::envelope::{Dek, RecordName, open_value, seal_value};
use crate::fault::Fault;
use crate::store::{Connection, at, exact};

#[derive(FromRow)]
struct Row {
    cred_id: Vec<u8>,
    name: String,
    version: i64,
    dek_id: Vec<u8>,
    policy_hash: Vec<u8>,
    not_after_ms: Option<i64>,
    value_ct: Vec<u8>,
}

/// Opens each value of `tenant` by `old` and seals it by `new`; how many there are. A value that
/// does not open, or that names another data key, stops it: nobody is to lose one unseen.
pub async fn again(db: &mut Connection, tenant: &str, old: &Dek, new: &Dek) -> Result<u64, Fault> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT v.cred_id, c.name, v.version, v.dek_id, v.policy_hash, c.not_after_ms, v.value_ct
         FROM credential_versions v JOIN credentials c ON c.cred_id = v.cred_id
         WHERE c.tenant = $1 ORDER BY v.cred_id, v.version",
    )
    .bind(tenant)
    .fetch_all(&mut *db)
    .await?;
    let mut count: u64 = 0;
    for row in rows {
        let sealed = one(tenant, &row, old, new)?;
        sqlx::query(
            "UPDATE credential_versions SET dek_id = $1, value_ct = $2
             WHERE cred_id = $3 AND version = $4",
        )
        .bind(new.id().as_slice())
        .bind(sealed)
        .bind(row.cred_id)
        .bind(row.version)
        .execute(&mut *db)
        .await?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn one(tenant: &str, row: &Row, old: &Dek, new: &Dek) -> Result<Vec<u8>, Fault> {
    if row.dek_id != old.id() {
        return Err(Fault::Sealed("credential"));
    }
    let name = RecordName {
        tenant,
        name: &row.name,
        cred_id: &exact(&row.cred_id, "credential")?,
        version: u32::try_from(row.version).map_err(|_| Fault::Malformed("credential"))?,
        policy_hash: &exact(&row.policy_hash, "credential")?,
        not_after: row.not_after_ms.map(at),
    };
    seal_value(new, &name, &open_value(old, &name, &row.value_ct)?)
}
