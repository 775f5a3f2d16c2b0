//! The release set that is served, on record: which images the release authority has allowed
//! to hold keys, from when on.
//!
//! Invariant: a set is recorded when it is first seen by this process and when it changes. The
//! service has no key of the authority: it records what it serves, and gateways verify it.

use postern_attest::release_set::ReleaseSet;
use postern_core::hex;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::audit::Event;
use crate::fault::Fault;
use crate::service::Service;
use crate::store::Reach;

/// The hash of the note that was recorded last.
#[derive(Default)]
pub(crate) struct Recorded(Mutex<Option<[u8; 32]>>);

/// The event of a note; `None` when it holds no release set.
fn loaded(note: &[u8]) -> Option<Event> {
    let (text, _) = str::from_utf8(note).ok()?.split_once("\n\n")?;
    let set = ReleaseSet::parse(&format!("{text}\n"))?;
    let image = |release: &postern_attest::release_set::Release| {
        let (host_data, image) = (hex::lower(&release.host_data), hex::lower(&release.image));
        format!("{host_data} sha256:{image} {}", release.commit)
    };
    let images: Vec<String> = set.releases.iter().map(image).collect();
    let event = Event::new("release_set_loaded", "").with("origin", set.origin.as_str());
    let event = event.with("sequence", set.sequence.to_string());
    Some(event.with("not_after", set.not_after.to_string()).with_list("images", &images))
}

impl Service {
    /// Records the release set that is served now, unless it is the one recorded last.
    pub(crate) async fn record_releases(&self, now: UnixMillis) -> Result<(), Fault> {
        let Some(note) = self.inner.epochs.attester().releases() else { return Ok(()) };
        let mut recorded = self.inner.releases.0.lock().await;
        let hash = Some(Sha256::digest(&note).into());
        if *recorded == hash {
            return Ok(());
        }
        if let Some(event) = loaded(&note) {
            let mut db = self.inner.pool.write(Reach::All).await?;
            self.inner.audit.append(&mut db, event, now).await?;
            db.commit().await?;
        } else {
            tracing::error!("the file of the release set holds none");
        }
        *recorded = hash;
        Ok(())
    }
}
