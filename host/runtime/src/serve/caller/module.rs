//! A module that has called out, as the caller of a stream.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use super::FromCaller;
use crate::http1::Unsendable;
use crate::serve::call::LARGEST;
use crate::view::{CallAnswer, Pairs};

/// Its request's content, and the answer as it comes.
pub(in crate::serve) struct Asked {
    content: Option<Vec<u8>>,
    answer: Rc<RefCell<CallAnswer>>,
    answered: bool,
}

impl Asked {
    /// A request with this content; its answer goes to `answer`.
    pub fn new(content: Vec<u8>, answer: Rc<RefCell<CallAnswer>>) -> Self {
        let content = Some(content).filter(|content| !content.is_empty());
        Self { content, answer, answered: false }
    }

    /// What happens next; it never goes away.
    pub fn poll(&mut self, reading: bool) -> Poll<FromCaller> {
        let content = if reading { self.content.take() } else { None };
        content.map_or(Poll::Pending, |content| Poll::Ready(FromCaller::Whole(content)))
    }

    /// The answer's fields, as the filters have left them.
    pub fn head(&mut self, pairs: &Pairs, end: bool) {
        self.answer.borrow_mut().headers.clone_from(pairs);
        self.answered = end;
    }

    /// Content of the answer; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        let body = &mut self.answer.borrow_mut().body;
        if body.len() + bytes.len() > LARGEST {
            return Err(Unsendable::Length);
        }
        body.extend_from_slice(bytes);
        self.answered = end;
        Ok(())
    }

    /// Trailers of the answer, which end it.
    pub fn trailers(&mut self, pairs: &Pairs) {
        self.answer.borrow_mut().trailers.clone_from(pairs);
        self.answered = true;
    }

    /// Whether the request has been told whole.
    pub fn has_all(&self) -> bool {
        self.content.is_none()
    }

    /// Whether the answer is whole.
    pub fn is_answered(&self) -> bool {
        self.answered
    }
}
