//! Frameworks of a tenant: levels in order, sections that have one, agents that are cleared.
//!
//! Invariant: a row is believed only while its MAC holds. Whoever writes to the database makes up
//! none; he can take rows away or put older ones back, so that an agent that was cleared for less
//! than its keys or its gate give has what they give again.

use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, millis};

/// A framework as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framework {
    /// Its name.
    pub name: String,
    /// Its levels, lowest first.
    pub levels: Vec<String>,
}

impl Framework {
    /// The place of a level, the lowest is 0.
    pub fn rank(&self, level: &str) -> Option<usize> {
        self.levels.iter().position(|one| one == level)
    }
}

/// A section that has a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Document.
    pub document: String,
    /// Section of it.
    pub section: String,
    /// Level.
    pub level: String,
}

/// An agent that is cleared for a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearance {
    /// Agent.
    pub agent: String,
    /// Framework.
    pub framework: String,
    /// Level.
    pub level: String,
}

#[derive(FromRow)]
struct FrameworkRow {
    tenant: String,
    framework: String,
    levels: String,
    created_ms: i64,
    mac: Vec<u8>,
}

impl FrameworkRow {
    fn bytes(&self) -> RowBytes {
        RowBytes::of("frameworks")
            .part(self.tenant.as_bytes())
            .part(self.framework.as_bytes())
            .part(self.levels.as_bytes())
            .number(self.created_ms)
    }

    fn framework(self, rows: &RowKeys) -> Result<Framework, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        let levels = serde_json::from_str(&self.levels);
        let levels = levels.map_err(|_| Fault::Malformed("framework"))?;
        Ok(Framework { name: self.framework, levels })
    }
}

#[derive(FromRow)]
struct SectionRow {
    tenant: String,
    framework: String,
    document: String,
    section: String,
    level: String,
    set_ms: i64,
    mac: Vec<u8>,
}

impl SectionRow {
    fn bytes(&self) -> RowBytes {
        let parts = [&self.tenant, &self.framework, &self.document, &self.section, &self.level];
        let row = RowBytes::of("classifications").number(self.set_ms);
        parts.into_iter().fold(row, |row, part| row.part(part.as_bytes()))
    }

    fn section(self, rows: &RowKeys) -> Result<Section, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        Ok(Section { document: self.document, section: self.section, level: self.level })
    }
}

#[derive(FromRow)]
struct ClearanceRow {
    tenant: String,
    agent: String,
    framework: String,
    level: String,
    set_ms: i64,
    mac: Vec<u8>,
}

impl ClearanceRow {
    fn bytes(&self) -> RowBytes {
        let parts = [&self.tenant, &self.agent, &self.framework, &self.level];
        let row = RowBytes::of("clearances").number(self.set_ms);
        parts.into_iter().fold(row, |row, part| row.part(part.as_bytes()))
    }

    fn clearance(self, rows: &RowKeys) -> Result<Clearance, Fault> {
        rows.check(&self.bytes(), &self.mac)?;
        Ok(Clearance { agent: self.agent, framework: self.framework, level: self.level })
    }
}

/// Adds a framework; `false` when the tenant has one of this name.
pub async fn add(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    framework: &Framework,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let levels = serde_json::to_string(&framework.levels);
    let mut row = FrameworkRow {
        tenant: tenant.to_owned(),
        framework: framework.name.clone(),
        levels: levels.map_err(|_| Fault::Malformed("framework"))?,
        created_ms: millis(now),
        mac: Vec::new(),
    };
    row.mac = rows.sign(&row.bytes());
    let done = sqlx::query(
        "INSERT INTO frameworks (tenant, framework, levels, created_ms, mac)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(row.tenant)
    .bind(row.framework)
    .bind(row.levels)
    .bind(row.created_ms)
    .bind(row.mac)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The framework of this name.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    name: &str,
) -> Result<Option<Framework>, Fault> {
    let row: Option<FrameworkRow> =
        sqlx::query_as("SELECT * FROM frameworks WHERE tenant = $1 AND framework = $2")
            .bind(tenant)
            .bind(name)
            .fetch_optional(db)
            .await?;
    row.map(|row| row.framework(rows)).transpose()
}

/// Frameworks of a tenant, by name.
pub async fn all(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
) -> Result<Vec<Framework>, Fault> {
    let found: Vec<FrameworkRow> =
        sqlx::query_as("SELECT * FROM frameworks WHERE tenant = $1 ORDER BY framework")
            .bind(tenant)
            .fetch_all(db)
            .await?;
    found.into_iter().map(|row| row.framework(rows)).collect()
}

/// Gives a section its level, in place of another.
pub async fn classify(
    db: &mut Connection,
    rows: &RowKeys,
    (tenant, framework): (&str, &str),
    section: &Section,
    now: UnixMillis,
) -> Result<(), Fault> {
    declassify(db, (tenant, framework), &section.document, &section.section).await?;
    let mut row = SectionRow {
        tenant: tenant.to_owned(),
        framework: framework.to_owned(),
        document: section.document.clone(),
        section: section.section.clone(),
        level: section.level.clone(),
        set_ms: millis(now),
        mac: Vec::new(),
    };
    row.mac = rows.sign(&row.bytes());
    sqlx::query(
        "INSERT INTO classifications (tenant, framework, document, section, level, set_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(row.tenant)
    .bind(row.framework)
    .bind(row.document)
    .bind(row.section)
    .bind(row.level)
    .bind(row.set_ms)
    .bind(row.mac)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a section's level away; `false` when it has none.
pub async fn declassify(
    db: &mut Connection,
    (tenant, framework): (&str, &str),
    document: &str,
    section: &str,
) -> Result<bool, Fault> {
    let done = sqlx::query(
        "DELETE FROM classifications
         WHERE tenant = $1 AND framework = $2 AND document = $3 AND section = $4",
    )
    .bind(tenant)
    .bind(framework)
    .bind(document)
    .bind(section)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sections of a framework that have a level, by document.
pub async fn sections(
    db: &mut Connection,
    rows: &RowKeys,
    (tenant, framework): (&str, &str),
) -> Result<Vec<Section>, Fault> {
    let found: Vec<SectionRow> = sqlx::query_as(
        "SELECT * FROM classifications WHERE tenant = $1 AND framework = $2
         ORDER BY document, section",
    )
    .bind(tenant)
    .bind(framework)
    .fetch_all(db)
    .await?;
    found.into_iter().map(|row| row.section(rows)).collect()
}

/// Clears an agent for a level, in place of another.
pub async fn clear(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    clearance: &Clearance,
    now: UnixMillis,
) -> Result<(), Fault> {
    unclear(db, tenant, &clearance.agent).await?;
    let mut row = ClearanceRow {
        tenant: tenant.to_owned(),
        agent: clearance.agent.clone(),
        framework: clearance.framework.clone(),
        level: clearance.level.clone(),
        set_ms: millis(now),
        mac: Vec::new(),
    };
    row.mac = rows.sign(&row.bytes());
    sqlx::query(
        "INSERT INTO clearances (tenant, agent, framework, level, set_ms, mac)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(row.tenant)
    .bind(row.agent)
    .bind(row.framework)
    .bind(row.level)
    .bind(row.set_ms)
    .bind(row.mac)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes an agent's clearance away; `false` when it has none.
pub async fn unclear(db: &mut Connection, tenant: &str, agent: &str) -> Result<bool, Fault> {
    let done = sqlx::query("DELETE FROM clearances WHERE tenant = $1 AND agent = $2")
        .bind(tenant)
        .bind(agent)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// What an agent is cleared for.
pub async fn clearance(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    agent: &str,
) -> Result<Option<Clearance>, Fault> {
    let row: Option<ClearanceRow> =
        sqlx::query_as("SELECT * FROM clearances WHERE tenant = $1 AND agent = $2")
            .bind(tenant)
            .bind(agent)
            .fetch_optional(db)
            .await?;
    row.map(|row| row.clearance(rows)).transpose()
}

/// Agents of a tenant that are cleared in a framework, by name.
pub async fn clearances(
    db: &mut Connection,
    rows: &RowKeys,
    (tenant, framework): (&str, &str),
) -> Result<Vec<Clearance>, Fault> {
    let found: Vec<ClearanceRow> = sqlx::query_as(
        "SELECT * FROM clearances WHERE tenant = $1 AND framework = $2 ORDER BY agent",
    )
    .bind(tenant)
    .bind(framework)
    .fetch_all(db)
    .await?;
    found.into_iter().map(|row| row.clearance(rows)).collect()
}
