//! What a configured module is to the adapter, and what its streams share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use postern_core::config::key_service::KeyService;
use postern_core::key_service::Background;
use postern_core::mac::MacKeys;
use postern_core::revocation::Feed;
use postern_core::stream::Stream;

use crate::host::Counters;
use crate::receipts::Receipts;
use crate::run::Run;

/// A module whose configuration was accepted.
pub struct Module {
    /// Starts the stream of one request.
    pub streams: Box<dyn Fn() -> Box<dyn Stream>>,
    /// Keeps what is known of revocations fresh; told the time every second.
    pub feed: Rc<dyn Feed>,
    /// What it asks for without a request.
    pub background: Vec<Rc<dyn Background>>,
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
        shared: Box<MacKeys>,
        /// The certificate of the caller's connection is looked at.
        certificates: bool,
    },
    /// In a cluster's filter chain: the cluster is final, permit and record are there.
    Cluster,
}

/// Sends a call: cluster, fields, content, timeout. The host's token, or `None` when it
/// was not sent. A parameter, since filters send by the SDK, whose dispatcher keeps a table.
pub type Dispatch = fn(&str, Vec<(&str, &str)>, Option<&[u8]>, Duration) -> Option<u32>;

/// What all streams of a root share.
pub struct Ready {
    /// The module.
    pub module: Module,
    /// How calls are sent.
    pub dispatch: Dispatch,
    /// Counters of the root.
    pub counters: Counters,
    /// Requests counted for the audit logger.
    pub receipts: Receipts,
    /// Paused requests, by context.
    paused: RefCell<BTreeMap<u32, Weak<RefCell<Run>>>>,
}

impl Ready {
    /// A root that has seen no request.
    pub fn new(module: Module, dispatch: Dispatch) -> Self {
        let (counters, receipts) = (Counters::default(), Receipts::default());
        Self { module, dispatch, counters, receipts, paused: RefCell::default() }
    }

    /// Keeps a paused request in sight, so that time is told to it.
    pub fn watch(&self, context: u32, run: &Rc<RefCell<Run>>, waits: bool) {
        let Ok(mut paused) = self.paused.try_borrow_mut() else { return };
        if waits {
            paused.insert(context, Rc::downgrade(run));
        } else {
            paused.remove(&context);
        }
    }

    /// Requests that are paused now.
    pub fn paused(&self) -> Vec<(u32, Rc<RefCell<Run>>)> {
        let Ok(paused) = self.paused.try_borrow() else { return Vec::new() };
        paused.iter().filter_map(|(context, run)| Some((*context, run.upgrade()?))).collect()
    }
}
