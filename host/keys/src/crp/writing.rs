//! What the writer writes of a message: its nonce, its rows and its event.
//!
//! Messages of several tenants share a transaction and none of them shares its reach: each is
//! a part of it, and PostgreSQL holds each part to its own tenant (row-level security), as if it
//! stood alone. One transaction for each tenant would make those of small tenants wait for
//! a commit of their own; one role for all would see everybody's rows in every message.
//!
//! Invariant: whatever of a message fails, its nonce and its event are undone with the rest, so
//! that what was not answered can be asked again.

use std::sync::Arc;
use std::time::Instant;

use postern_core::time::UnixMillis;
use postern_crp::message::{Answer, Kind};

use super::signed::Signed;
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::{Batch, Pool, Reach};
use crate::vaults::Fetched;
use crate::writer::{Failed, Ledger};

/// A message whose sender has signed it.
pub(crate) struct Question {
    pub(super) service: Arc<Inner>,
    pub(super) signed: Arc<Signed>,
    pub(super) now: UnixMillis,
    /// When it came, by the clock that only goes forward: which answers of a vault are newer.
    pub(super) came: Instant,
    /// What a vault said when it was asked for this message.
    pub(super) fetched: Option<Fetched>,
}

impl Question {
    /// As it came.
    pub(super) fn new(service: Arc<Inner>, signed: Signed, now: UnixMillis) -> Self {
        Self { service, signed: Arc::new(signed), now, came: Instant::now(), fetched: None }
    }

    /// The same with what a vault said.
    pub(super) fn with(&self, fetched: Fetched) -> Self {
        let (service, signed) = (Arc::clone(&self.service), Arc::clone(&self.signed));
        Self { service, signed, now: self.now, came: self.came, fetched: Some(fetched) }
    }

    /// Whose rows it may see. Only the token of an enrolment says whose it is.
    fn reach(&self) -> Reach<'_> {
        let enrols = self.signed.message().kind() == Kind::Enrol;
        if enrols { Reach::All } else { Reach::Tenant(&self.signed.sender().tenant) }
    }
}

/// Writes messages.
pub(crate) struct Messages {
    pool: Pool,
}

impl Messages {
    /// Into this database.
    pub(crate) fn of(pool: &Pool) -> Self {
        Self { pool: pool.clone() }
    }
}

impl Ledger for Messages {
    type Job = Arc<Question>;
    type Answer = Answer;
    type Open = Batch;

    async fn begin(&self) -> Result<Batch, Fault> {
        self.pool.batch().await
    }

    async fn write(&self, open: &mut Batch, question: &Arc<Question>) -> Result<Answer, Failed> {
        let part = open.part(question.reach()).await.map_err(Failed::Lost)?;
        match question.service.transact(part, question).await {
            Ok(answer) => Ok(answer),
            Err(fault) => match open.undo().await {
                Ok(()) => Err(Failed::Alone(fault)),
                Err(_) => Err(Failed::Lost(fault)),
            },
        }
    }

    async fn commit(&self, open: Batch) -> Result<(), Fault> {
        open.commit().await
    }
}
