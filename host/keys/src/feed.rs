//! The revocation feed: `GET /crp/v1/revocations`.
//!
//! Signs the head of the list (SPEC section 9) when it is asked for, once a second at
//! most, and at once when the list has changed. Invariant: list and epoch are read in one
//! transaction.

use std::sync::Arc;

use postern_core::time::UnixMillis;
use postern_crp::revocation::{self, Head, List};
use tokio::sync::Mutex;

use crate::epoch;
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service, unavailable};
use crate::store::{Reach, revocations};

/// What was signed last.
#[derive(Default)]
pub(crate) struct Feed(Mutex<Option<Arc<Signed>>>);

struct Signed {
    head: Head,
    list: List,
    note: String,
}

impl Service {
    /// The head, with the list unless `since` says that the asker has it.
    pub async fn revocations(&self, since: Option<u64>, now: UnixMillis) -> HttpAnswer {
        let signed = match self.signed(now).await {
            Ok(signed) => signed,
            Err(fault) => return unavailable(&fault),
        };
        let list = (since != Some(signed.head.epoch)).then_some(&signed.list);
        match revocation::answer(&signed.note, list) {
            Ok(body) => HttpAnswer { status: 200, content_type: "application/crp", body },
            Err(_) => unavailable(&Fault::Malformed("revocation list")),
        }
    }

    async fn signed(&self, now: UnixMillis) -> Result<Arc<Signed>, Fault> {
        let mut last = self.inner.feed.0.lock().await;
        let mut db = self.inner.pool.read(Reach::All).await?;
        let (epoch, _) = revocations::state(&mut db, &self.inner.rows).await?;
        let fits = |signed: &&Arc<Signed>| signed.head.epoch == epoch;
        let known = last.as_ref().filter(fits);
        if let Some(signed) = known.filter(|signed| signed.head.ts == now.seconds()) {
            return Ok(Arc::clone(signed));
        }
        let list = match known {
            Some(signed) => signed.list.clone(),
            None => revocations::list(&mut db, &self.inner.rows).await?.1,
        };
        drop(db);
        let epochs = self.inner.epochs.in_force(&self.inner.pool, now).await?;
        let head = Head::of(&list, epoch, now.seconds());
        let note = head.sign(&epoch::signing_keys(&epochs, now));
        Ok(Arc::clone(last.insert(Arc::new(Signed { head, list, note }))))
    }
}
