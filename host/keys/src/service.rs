//! The service as one value: what is open, and what it answers.
//!
//! Knows no socket. Invariant: whatever fails becomes an answer here, and none of them
//! says more than its class.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::audit::export::Export;
use crate::audit::integrity::Check;
use crate::audit::{AuditLog, Break};
use crate::checkpoints::Checkpoints;
use crate::config::{Config, Database, Limits};
use crate::crp::writing::Messages;
use crate::envelope::{KekProvider, RowKeys, Scope, key_encryption_key};
use crate::epoch::Epochs;
use crate::evidence::{self, Attester};
use crate::fault::Fault;
use crate::feed::Feed;
use crate::notify::Channel;
use crate::people::People;
use crate::releases::Recorded;
use crate::store::{self, Pool, Reach, approvals, deks, identities, invites, nonces, revocations};
use crate::store::{people, sessions};
use crate::vaults::Vaults;
use crate::witnesses::Asked;
use crate::writer::Writer;

/// An answer of the service, to be sent as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// Media type; empty where there is no content.
    pub content_type: &'static str,
    /// Content.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// A status without content.
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: "", body: Vec::new() }
    }

    /// JSON with status 200.
    pub fn json(value: &impl serde::Serialize) -> Self {
        Self::json_as(200, "application/json", value)
    }

    /// A problem document (RFC 9457).
    pub fn problem(status: u16, code: &str, title: &str) -> Self {
        let problem = serde_json::json!({
            "type": format!("urn:postern:problem:{code}"),
            "title": title, "status": status, "code": code,
        });
        Self::json_as(status, "application/problem+json", &problem)
    }

    fn json_as(status: u16, content_type: &'static str, value: &impl serde::Serialize) -> Self {
        serde_json::to_vec(value)
            .map_or_else(|_| Self::empty(500), |body| Self { status, content_type, body })
    }
}

/// The open service. Clones share everything.
#[derive(Clone)]
pub struct Service {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: Pool,
    pub(crate) kek: Box<dyn KekProvider>,
    pub(crate) audit: AuditLog,
    pub(crate) rows: RowKeys,
    pub(crate) epochs: Epochs,
    pub(crate) feed: Feed,
    pub(crate) limits: Limits,
    pub(crate) requires_gateway_set: bool,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) releases: Recorded,
    pub(crate) people: Option<People>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) witnesses: Vec<Asked>,
    pub(crate) writer: Writer<Messages>,
    pub(crate) vaults: Vaults,
}

impl Service {
    /// Opens the database, the key-encryption key and the service's own keys, making on
    /// first start what is not there.
    ///
    /// # Errors
    /// When a file or the database cannot be opened, or the key-encryption key is not the
    /// one the database was written under.
    pub async fn open(config: &Config, now: UnixMillis) -> Result<Self, Fault> {
        let dir = &config.data_dir;
        postern_files::create_private_dir(dir).map_err(|e| Fault::file(dir, &e))?;
        Self::open_with(config, evidence::attester(config)?, now).await
    }

    /// Opens the service with evidence from `attester`, whatever the configuration says.
    ///
    /// # Errors
    /// As [`Service::open`].
    pub async fn open_with(
        config: &Config,
        attester: Arc<dyn Attester>,
        now: UnixMillis,
    ) -> Result<Self, Fault> {
        let dir = &config.data_dir;
        postern_files::create_private_dir(dir).map_err(|e| Fault::file(dir, &e))?;
        let kek = key_encryption_key(config, Some(Arc::clone(&attester)), now).await?;
        let pool = store::open::open(&config.database).await?;
        let (dek, seed) = own_keys(&pool, kek.as_ref(), now).await?;
        let audit = AuditLog::new(&seed, attester.label())?;
        let folder = (config.database != Database::Memory).then(|| dir.join("checkpoints"));
        let key = audit.public_key();
        let checkpoints =
            Checkpoints::open(&mut *pool.read(Reach::All).await?, folder, &key).await?;
        let inner = Inner {
            kek,
            audit,
            rows: RowKeys::new(&dek)?,
            epochs: Epochs::new(dek, attester),
            feed: Feed::default(),
            limits: config.limits,
            requires_gateway_set: config.require_gateway_set,
            checkpoints,
            releases: Recorded::default(),
            people: config.people.as_ref().map(People::new).transpose()?,
            witnesses: config.witnesses.iter().map(Asked::new).collect(),
            channels: config.notify.iter().map(Channel::open).collect::<Result<_, _>>()?,
            writer: Writer::start(Messages::of(&pool)),
            vaults: Vaults::open(&config.vaults)?,
            pool,
        };
        let service = Self { inner: Arc::new(inner) };
        service.inner.epochs.in_force(&service.inner.pool, now).await?;
        Ok(service)
    }

    /// Public key of the development key behind evidence of kind `sim`, if that is the kind:
    /// what modules put into `danger_allow_simulated`.
    pub fn sim_key(&self) -> Option<[u8; 32]> {
        self.inner.epochs.attester().sim_key()
    }

    /// The kind of evidence that is served, and how events and pages name it.
    pub fn attestation(&self) -> (&'static str, &'static str) {
        let attester = self.inner.epochs.attester();
        (attester.kind(), attester.label())
    }

    /// The key that signs audit events and checkpoints.
    pub fn audit_key(&self) -> VerifyingKey {
        self.inner.audit.public_key()
    }

    /// The evidence document, for `challenge` where one is given.
    pub async fn evidence(&self, challenge: Option<&[u8]>, now: UnixMillis) -> HttpAnswer {
        match self.inner.epochs.evidence(&self.inner.pool, challenge, now).await {
            Ok(body) => HttpAnswer { status: 200, content_type: "application/json", body },
            Err(fault) => unavailable(&fault),
        }
    }

    /// Whether messages can be served now.
    pub async fn ready(&self, now: UnixMillis) -> bool {
        let writes = self.inner.writer.is_alive();
        writes && self.inner.epochs.in_force(&self.inner.pool, now).await.is_ok()
    }

    /// What needs doing now and then: a checkpoint when one is due, and forgetting what
    /// has expired. Called each second by the shell and by tests as they like.
    ///
    /// # Errors
    /// When the database or the checkpoint's file fails.
    pub async fn maintain(&self, now: UnixMillis) -> Result<(), Fault> {
        self.inner.vaults.forget_old(now);
        // What cannot be checkpointed must not keep revocations from taking effect.
        let checkpointed = self.checkpoint_if_due(now).await;
        let mut db = self.inner.pool.write(Reach::All).await?;
        nonces::prune(&mut db, now).await?;
        identities::prune_tokens(&mut db, now).await?;
        invites::prune(&mut db, now).await?;
        let previews = approvals::prune(&mut db, now).await?;
        people::prune_links(&mut db, now).await?;
        sessions::prune(&mut db, now).await?;
        revocations::keep_time(&mut db, &self.inner.rows, now).await?;
        db.commit().await?;
        if previews {
            self.inner.epochs.mark_deleted();
        }
        self.inner.epochs.in_force(&self.inner.pool, now).await?;
        self.inner.epochs.follow(&self.inner.pool, now).await?;
        self.inner.epochs.erase_deleted(&self.inner.pool).await?;
        checkpointed
    }

    /// Has new evidence made before the old one is too old, and a new release set recorded. The shell calls it beside
    /// [`Service::maintain`], since it may wait for the attestation service.
    ///
    /// # Errors
    /// When the machine or its attestation service gives none; it is tried again in half a
    /// minute.
    pub async fn renew_evidence(&self, now: UnixMillis) -> Result<(), Fault> {
        // A full disk must not keep evidence from being had.
        let recorded = self.record_releases(now).await;
        self.inner.epochs.renew_evidence(&self.inner.pool, now).await?;
        recorded
    }

    /// The chain's state, checked now. For the operator's `/audit/integrity`. Between pages
    /// the database is free for others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn integrity(&self) -> Result<crate::audit::Report, Fault> {
        let report = self.checked().await?;
        // Content that goes while pages are read is missed by its tombstone: looked at once more.
        if matches!(report.broken, Some(Break::Removed { .. })) {
            self.checked().await
        } else {
            Ok(report)
        }
    }

    async fn checked(&self) -> Result<crate::audit::Report, Fault> {
        let kept = self.inner.checkpoints.kept_apart()?;
        let (pool, key) = (&self.inner.pool, self.audit_key());
        let mut check = Check::begin(&mut *pool.read(Reach::All).await?, &key, kept).await?;
        while check.page(&mut *pool.read(Reach::All).await?).await? {}
        Ok(check.report())
    }

    /// Begins an export of the chain as `tenant` may see it; `None` sees all. With `after`,
    /// the part behind that event ([`crate::audit::export::PART`]).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn export(&self, tenant: Option<&str>, after: Option<u64>) -> Result<Export, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        Export::begin(&mut db, &self.inner.audit, tenant, after).await
    }

    /// The next lines of an export; `None` after the last. Between them the database is free
    /// for others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn export_page(&self, export: &mut Export) -> Result<Option<Vec<u8>>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        export.page(&mut db).await
    }

    /// Ends cleanly: a last checkpoint, then the database is closed.
    pub async fn close(&self, now: UnixMillis) {
        if let Err(fault) = self.checkpoint_the_end(now).await {
            tracing::warn!(%fault, "no checkpoint at shutdown");
        }
        self.inner.pool.close().await;
    }
}

async fn own_keys(
    pool: &Pool,
    kek: &dyn KekProvider,
    now: UnixMillis,
) -> Result<(crate::envelope::Dek, Secret), Fault> {
    let mut db = pool.write(Reach::All).await?;
    let dek = deks::dek(&mut db, &Scope::System, kek, now).await?;
    let seed = deks::seed(&mut db, &dek, "audit", now).await?;
    db.commit().await?;
    Ok((dek, seed))
}

/// What a client is told about a fault: not now. The log gets the redacted reason.
pub(crate) fn unavailable(fault: &Fault) -> HttpAnswer {
    tracing::error!(%fault, "cannot serve");
    HttpAnswer::problem(503, "keys_unavailable", "Key service cannot serve this now")
}
