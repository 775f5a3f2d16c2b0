//! A call-out that waits, as a test holds it.

use std::rc::Rc;

use super::bench::Bench;
use super::desk::Waiting;
use super::message::{Message, Response};
use crate::proxy::failure::Failure;
use crate::proxy::fields;
use crate::view::{CallAnswer, CallOut};

/// A call-out of a plugin. Answering one that waits no more does nothing.
pub struct Call {
    bench: Rc<Bench>,
    waiting: Waiting,
}

impl Call {
    pub(super) fn waiting(
        bench: &Rc<Bench>,
        wanted: impl Fn(Option<(usize, usize)>) -> bool,
    ) -> Vec<Self> {
        let waiting = bench.desk.waiting.borrow();
        let wanted = waiting.iter().filter(|waiting| wanted(waiting.asking));
        wanted.map(|it| Self { bench: Rc::clone(bench), waiting: it.clone() }).collect()
    }

    /// Where it goes, with its time: as the plugin has said it.
    pub fn request(&self) -> &CallOut {
        &self.waiting.call
    }

    /// The cluster.
    pub fn cluster(&self) -> String {
        String::from_utf8_lossy(&self.waiting.call.cluster).into_owned()
    }

    /// The same as a message: fields, content and trailers.
    pub fn message(&self) -> Message {
        let CallOut { headers, body, trailers, .. } = self.waiting.call.clone();
        let chunks = if body.is_empty() { Vec::new() } else { vec![body] };
        Message { head: headers, chunks, trailers, whole: true }
    }

    /// Whether a filter of a stream has asked, or a plugin's root.
    pub fn is_of_a_stream(&self) -> bool {
        self.waiting.asking.is_some()
    }

    /// It is answered.
    pub fn answer(&self, response: Response) {
        let took = self.bench.desk.now().saturating_sub(self.waiting.began);
        let mut headers = fields::answered(response.status, response.head());
        fields::took(&mut headers, took);
        let Response { content: body, trailers, .. } = response;
        self.bench.answer_call(self.waiting.token, CallAnswer { headers, body, trailers });
    }

    /// It fails; the plugin gets what Envoy makes of that: 503 and a text for
    /// [`Failure::Connect`] and [`Failure::Closed`], 504 for [`Failure::Timeout`].
    pub fn fail(&self, failure: Failure) {
        self.bench.answer_call(self.waiting.token, failure.answer());
    }
}
