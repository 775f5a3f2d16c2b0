//! What ends a stream: failures, timers, a caller that has gone, and the telling of it.
//!
//! Invariant: filters and loggers are told of each stream once, however it ends.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use super::{Left, Stream};
use crate::http1::Malformed;
use crate::proxy::failure::{Failure, Flags};
use crate::proxy::line::Ended;
use crate::serve::facts;
use crate::serve::timers::Timer;
use crate::view::LocalReply;

impl Stream<'_> {
    /// There is nobody to answer.
    pub(super) fn abandon(&mut self, details: &[u8], flags: Flags) {
        self.keep = false;
        self.flags = self.flags | flags;
        self.exchange.borrow_mut().details = details.to_vec();
        self.chain.abandon();
    }

    /// Our own code has panicked: nobody knows what else would be right to say to either
    /// side, so both are cut. Cells were let go while it unwound, and the machine that ran is
    /// not entered again.
    pub(super) fn broken(&mut self) {
        (self.keep, self.cut) = (false, true);
        self.forward = None;
        self.exchange.borrow_mut().details = b"postern_internal_error".to_vec();
        self.chain.abandon();
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.timers.route(None);
        self.flags = self.flags | failure.flags();
        self.forward = None;
        let mut reply = failure.reply();
        if self.exchange.borrow().status().is_some() {
            reply.details = failure.cut().into_bytes();
        }
        if self.caller.status.is_some() {
            self.exchange.borrow_mut().details.clone_from(&reply.details);
        }
        self.chain.fail(&mut self.filters, reply);
    }

    pub(super) fn expire(&mut self, timer: Timer) {
        let failure = timer.failure(self.request_came);
        if timer == Timer::Route {
            if let Some(forward) = &self.forward {
                forward.admitted().cluster().counts.rq_timeout.fetch_add(1, Relaxed);
            }
            return self.fail(failure);
        }
        // What is left of a request that did not come whole cannot be skipped.
        self.keep &= self.request_came;
        self.flags = self.flags | failure.flags();
        if self.caller.status.is_some() {
            self.exchange.borrow_mut().details = failure.cut().into_bytes();
        }
        self.chain.expire(&mut self.filters, failure.reply());
    }

    /// Tells filters and loggers that it is over.
    pub(super) fn end(&mut self) -> Left {
        self.ended = true;
        let (began, started) = self.began;
        if let Some(failure) = self.filters.refused {
            self.flags = self.flags | failure.flags();
        }
        let end = facts::End { flags: self.flags, duration: began.elapsed() };
        facts::at_end(&mut self.exchange.borrow_mut(), &end);
        self.filters.at(self.desk.now());
        self.filters.finish();
        let exchange = self.exchange.borrow();
        self.listening.count(self.caller.status);
        self.listening.log(&Ended {
            started,
            lasted: end.duration,
            id: exchange.request_field(b"x-request-id").as_deref().and_then(text),
            exchange: &exchange,
            status: self.caller.status,
            flags: end.flags,
            cluster: exchange.cluster(),
            received: self.caller.received,
            sent: self.caller.sent,
        });
        drop(exchange);
        if let Some(forward) = self.forward.take() {
            forward.settle();
        }
        match (self.caller.is_answered() && !self.cut, self.keep) {
            (true, true) => Left::Ready,
            (true, false) => Left::Last,
            (false, _) => Left::Cut,
        }
    }
}

/// A gateway that ends while a stream runs still tells filters and loggers of it.
impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // A second panic would end the process, and every other stream with it.
        if !self.ended && !std::thread::panicking() {
            self.abandon(b"downstream_local_disconnect", Flags::DC);
            self.end();
        }
    }
}

/// What comes of it; `None` if it panicked. Whatever it has borrowed may be half changed.
pub(super) async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let polled = poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(cx));
        catch_unwind(poll).map_or(Poll::Ready(None), |polled| polled.map(Some))
    });
    polled.await
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What a caller gets whose request cannot be read.
pub(in crate::serve) fn malformed_reply(malformed: Malformed) -> LocalReply {
    let (status, details, text) = malformed.answer();
    crate::proxy::chain::own(u32::from(status), details, text)
}
