//! A stream of a lab, as a test holds it.

use std::rc::Rc;
use std::time::Duration;

use super::bench::Bench;
use super::call::Call;
use super::course::{Course, Piece};
use super::message::{Message, Response};
use crate::proxy::failure::Failure;
use crate::view::Pairs;

/// An upstream cannot answer what it was not asked: the request has not left for one, or the
/// stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no upstream waits to answer this stream")]
pub struct Unasked;

/// One request and its answer.
#[derive(Clone)]
pub struct Stream {
    bench: Rc<Bench>,
    number: usize,
}

impl Stream {
    pub(super) fn new(bench: &Rc<Bench>, number: usize) -> Self {
        Self { bench: Rc::clone(bench), number }
    }

    fn look<T>(&self, at: impl FnOnce(&Course) -> T) -> T {
        at(&self.bench.course(self.number).borrow())
    }

    /// The caller sends content.
    pub fn data(&self, bytes: impl Into<Vec<u8>>) {
        self.caller_sends(Piece::Content(bytes.into()));
    }

    /// The caller's request ends.
    pub fn end(&self) {
        self.caller_sends(Piece::End);
    }

    /// The caller's request ends with trailers.
    pub fn trailers(&self, trailers: Pairs) {
        self.caller_sends(Piece::Trailers(trailers));
    }

    fn caller_sends(&self, piece: Piece) {
        self.bench.happen(self.number, |course| course.caller_sends(piece));
    }

    /// The caller goes away.
    pub fn disconnect(&self) {
        self.bench.happen(self.number, Course::abandon);
    }

    /// What has left to the upstream; `None` until the head of the request does.
    pub fn upstream(&self) -> Option<Message> {
        self.look(|course| course.upstream().cloned())
    }

    /// The cluster that the router has chosen.
    pub fn cluster(&self) -> Option<String> {
        self.look(Course::cluster)
    }

    /// The upstream answers, whole.
    pub fn answer(&self, response: Response) -> Result<(), Unasked> {
        let Response { content, trailers, .. } = response.clone();
        let end = content.is_empty() && trailers.is_empty();
        self.begin_answer(response, end)?;
        // A plugin may have ended the stream by now: then nobody reads the rest.
        if !content.is_empty() {
            let _ = self.answer_data(content);
        }
        if !trailers.is_empty() {
            let _ = self.answer_trailers(trailers);
        } else if !end {
            let _ = self.answer_end();
        }
        Ok(())
    }

    /// The upstream sends the head of an answer; what follows is sent with
    /// [`Stream::answer_data`], [`Stream::answer_end`] and [`Stream::answer_trailers`].
    pub fn answer_head(&self, response: Response) -> Result<(), Unasked> {
        self.begin_answer(response, false)
    }

    fn begin_answer(&self, response: Response, end: bool) -> Result<(), Unasked> {
        if !self.look(|course| course.may_answer() && !course.has_answer()) {
            return Err(Unasked);
        }
        let (status, fields) = (response.status, response.head());
        self.bench.happen(self.number, |it| it.upstream_begins(status, fields, end));
        Ok(())
    }

    /// The upstream sends content.
    pub fn answer_data(&self, bytes: impl Into<Vec<u8>>) -> Result<(), Unasked> {
        self.upstream_sends(Piece::Content(bytes.into()))
    }

    /// The upstream's answer ends.
    pub fn answer_end(&self) -> Result<(), Unasked> {
        self.upstream_sends(Piece::End)
    }

    /// The upstream's answer ends with trailers.
    pub fn answer_trailers(&self, trailers: Pairs) -> Result<(), Unasked> {
        self.upstream_sends(Piece::Trailers(trailers))
    }

    fn upstream_sends(&self, piece: Piece) -> Result<(), Unasked> {
        if !self.look(|course| course.may_answer() && course.has_answer()) {
            return Err(Unasked);
        }
        self.bench.happen(self.number, |course| course.upstream_sends(piece));
        Ok(())
    }

    /// The upstream fails: [`Failure::Connect`] when nobody listens, [`Failure::Closed`] when
    /// its connection ends before an answer, [`Failure::Protocol`] in the middle of one.
    pub fn answer_failure(&self, failure: Failure) -> Result<(), Unasked> {
        if !self.look(Course::may_answer) {
            return Err(Unasked);
        }
        self.bench.happen(self.number, |course| course.upstream_failed(failure));
        Ok(())
    }

    /// What the caller has got so far; `None` until the head of an answer has left.
    pub fn response(&self) -> Option<Message> {
        self.look(|course| course.answer().cloned())
    }

    /// Status of the response, 0 if there is none.
    pub fn status(&self) -> u16 {
        self.response().map_or(0, |message| message.status())
    }

    /// Call-outs of this stream's filters that wait for an answer.
    pub fn calls(&self) -> Vec<Call> {
        let number = self.number;
        Call::waiting(&self.bench, |asking| asking.is_some_and(|(stream, _)| stream == number))
    }

    /// Whether it has ended, and filters and loggers were told.
    pub fn is_over(&self) -> bool {
        self.look(Course::is_over)
    }

    /// Whether it was cut, so that the caller has no whole answer.
    pub fn is_cut(&self) -> bool {
        self.look(Course::is_cut)
    }

    /// What `%RESPONSE_CODE_DETAILS%` shows.
    pub fn details(&self) -> String {
        self.look(|course| String::from_utf8_lossy(&course.exchange.borrow().details).into_owned())
    }

    /// What `%RESPONSE_FLAGS%` shows; `-` for none.
    pub fn flags(&self) -> String {
        self.look(|course| course.flags().to_string())
    }

    /// A value of the filter state by its full key, such as `wasm.team`.
    pub fn filter_state(&self, key: &str) -> Option<Vec<u8>> {
        self.look(|it| it.exchange.borrow().filter_state(key.as_bytes()).map(<[u8]>::to_vec))
    }

    /// All keys of the filter state.
    pub fn filter_state_keys(&self) -> Vec<String> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        self.look(|it| it.exchange.borrow().states().map(|(key, _)| text(key)).collect())
    }

    /// Lets so much time pass; the same as [`Lab::advance`](super::Lab::advance).
    pub fn wait(&self, span: Duration) {
        self.bench.advance(span);
    }
}
