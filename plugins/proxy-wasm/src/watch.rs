//! The revocation feed on a host: ticks and replies of the root context to the core's feed.
//!
//! Decides nothing. Invariant: a call that was not sent is told as one that failed, and
//! without randomness nothing is asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use postern_core::key_service::{Call, CallFailure, CallId, CallResult};
use postern_core::time::Moment;

use crate::abi::{self, Level};
use crate::host::{self, Shared};
use crate::module::Ready;
use crate::perform::send;

/// Calls of one root context that are out, by the host's token.
#[derive(Default)]
pub struct Watch {
    calls: RefCell<BTreeMap<u32, CallId>>,
}

impl Watch {
    /// A second passed.
    pub fn tick(&self, ready: &Rc<Ready>) {
        let Some(at) = moment() else { return };
        let call = ready.module.feed.tick(&mut Shared, at);
        self.make(ready, call);
        self.count(ready);
    }

    /// A reply came to the root context.
    pub fn heard(&self, ready: &Rc<Ready>, token: u32, result: CallResult) {
        let id = self.calls.try_borrow_mut().ok().and_then(|mut calls| calls.remove(&token));
        if let Some(id) = id {
            self.tell(ready, id, result);
        }
        self.count(ready);
    }

    fn tell(&self, ready: &Rc<Ready>, id: CallId, result: CallResult) {
        let Some(at) = moment() else { return };
        let call = ready.module.feed.heard(id, result, &mut Shared, at);
        self.make(ready, call);
    }

    fn make(&self, ready: &Rc<Ready>, call: Option<Call>) {
        let Some(call) = call else { return };
        match (send(&call, ready), self.calls.try_borrow_mut()) {
            (Some(token), Ok(mut calls)) => {
                calls.insert(token, call.id);
            }
            // The feed asks again at a later tick, so nothing is asked at once.
            _ => {
                if let Some(at) = moment() {
                    let failed = Err(CallFailure::NotSent);
                    let _ = ready.module.feed.heard(call.id, failed, &mut Shared, at);
                }
            }
        }
    }

    fn count(&self, ready: &Rc<Ready>) {
        for metric in ready.module.feed.counts() {
            ready.counters.count(metric);
            abi::log(Level::Warn, &format!("postern: {}", metric.0));
        }
    }
}

fn moment() -> Option<Moment> {
    host::entropy().map(|entropy| Moment { now: host::now(), entropy })
}
