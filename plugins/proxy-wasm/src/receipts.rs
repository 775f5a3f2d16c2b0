//! The gate's side of receipts: one count for each filter chain that a root serves.
//!
//! Envoy gives listeners with the same plugin configuration one root context. Each has an
//! access log of its own, though, and one without the audit logger must not make the
//! others refuse. So requests are counted by where they came in.
//!
//! Invariant: a request that cannot be counted is refused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::abi;
use crate::host::{self, Shared};
use postern_core::event::AuditState;
use postern_core::mac::MacKeys;
use postern_core::receipt::Sequence;
use postern_core::time::UnixMillis;

use crate::run::given;

/// Most counts of one root; what comes in elsewhere shares one. With a listener for any
/// port, the caller chooses the port.
const MOST_CHAINS: usize = 64;

/// One count, shared by the streams of a filter chain.
pub type Count = Rc<RefCell<Sequence>>;

/// The counts of one root.
#[derive(Default)]
pub struct Receipts(RefCell<BTreeMap<Vec<u8>, Count>>);

impl Receipts {
    /// The count of the stream at hand; `None` without randomness.
    pub fn count(&self) -> Option<Count> {
        let mut counts = self.0.try_borrow_mut().ok()?;
        let mut chain = chain();
        if counts.len() >= MOST_CHAINS && !counts.contains_key(&chain) {
            chain.clear();
        }
        if let Some(count) = counts.get(&chain) {
            return Some(Rc::clone(count));
        }
        let count = Rc::new(RefCell::new(Sequence::new(host::random()?)));
        counts.insert(chain, Rc::clone(&count));
        Some(count)
    }
}

/// The port that the connection came in on, and the filter chain's name: never empty.
fn chain() -> Vec<u8> {
    let mut chain = b"at ".to_vec();
    chain.extend(given(abi::property(&["destination", "port"])).unwrap_or_default());
    chain.extend(given(abi::property(&["xds", "filter_chain_name"])).unwrap_or_default());
    chain
}

/// Whether the audit logger has the last record of this count.
pub fn state(count: Option<&Count>, keys: &MacKeys, now: UnixMillis) -> AuditState {
    match count.map(|count| count.try_borrow_mut()) {
        Some(Ok(mut sequence)) => sequence.state(keys, &mut Shared, now),
        _ => AuditState::Behind,
    }
}

/// A request ended: what the audit logger has to acknowledge.
pub fn next(count: &Count) -> Option<Vec<u8>> {
    count.try_borrow_mut().ok()?.next()
}
