//! What a configured module is to the adapter.

use postern_core::config::key_service::KeyService;
use postern_core::mac::MacKeys;
use postern_core::stream::Stream;
use postern_core::time::UnixMillis;

/// A module whose configuration was accepted.
pub struct Module {
    /// Starts the stream of one request.
    pub streams: Box<dyn Fn() -> Box<dyn Stream>>,
    /// Wipes what has expired; called every second.
    pub tick: Box<dyn Fn(UnixMillis)>,
    /// Where its calls go.
    pub key_service: KeyService,
    /// Where in the proxy it runs.
    pub place: Place,
}

/// Where a module runs, which decides what it may know and has to write.
pub enum Place {
    /// In a listener's filter chain: declares filter state, reads receipts of the audit
    /// logger and counts its requests for the next ones.
    Listener {
        /// Keys of the receipts.
        shared: MacKeys,
    },
    /// In a cluster's filter chain: the cluster is final, permit and record are there.
    Cluster,
}
