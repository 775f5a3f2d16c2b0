//! From the injection to the answer's head.
//!
//! Invariant: an answer to a request that carried a credential is scrubbed or refused.

use super::answer;
use super::content::Content;
use super::run::Run;
use super::scrubbing::Scrubbing;
use super::stream::State;
use crate::denial::{Denial, Ours};
use crate::event::Event;
use crate::fields::Fields;
use crate::inject::InPlay;

/// The request has left with a credential.
pub(super) struct Forwarded {
    in_play: Vec<InPlay>,
    upload: Upload,
}

/// The rest of the request, which may still be on its way while the answer is.
pub(super) struct Upload {
    content: Content,
    ended: bool,
}

impl Forwarded {
    pub(super) fn new(in_play: Vec<InPlay>, content: Content, ended: bool) -> Self {
        Self { in_play, upload: Upload { content, ended } }
    }

    pub(super) fn on(mut self, event: Event, run: &mut Run) -> State {
        match event {
            Event::ResponseHeaders { fields, end } => self.head(&fields, end, run),
            Event::Tick => State::Forwarded(Box::new(self)),
            Event::Done => State::Over,
            // The head is still here: the injection itself failed.
            Event::EffectFailed => run.refuse(Denial::Internal(Ours::EffectFailed)),
            event => match self.upload.on(&event) {
                Ok(()) => {
                    run.proceed();
                    State::Forwarded(Box::new(self))
                }
                Err(denial) => run.cut(denial),
            },
        }
    }

    fn head(self, fields: &Fields, end: bool, run: &mut Run) -> State {
        let scrubbing = std::rc::Rc::clone(&run.pipeline.scrubbing);
        let mut scrubber = scrubbing.scrubber(&self.in_play);
        if let Err(denial) = answer::head(fields, end, &self.in_play, scrubber.as_mut(), run) {
            return run.refuse(denial);
        }
        run.proceed();
        Scrubbing::new(scrubber, self.in_play, self.upload).after(end, run)
    }
}

impl Upload {
    /// The answer is over; the rest of the request may still come.
    pub(super) fn after_answer(mut self: Box<Self>, event: &Event, run: &mut Run) -> State {
        match event {
            Event::Done => State::Over,
            Event::Tick => State::Answered(self),
            Event::EffectFailed => run.cut(Denial::Internal(Ours::EffectFailed)),
            event => match self.on(event) {
                Ok(()) => {
                    run.proceed();
                    State::Answered(self)
                }
                Err(denial) => run.cut(denial),
            },
        }
    }

    /// Takes a request event; any other is not expected.
    pub(super) fn on(&mut self, event: &Event) -> Result<(), Denial> {
        match event {
            Event::RequestBody { chunk, end } if !self.ended => {
                self.content.chunk(chunk);
                self.ended = *end;
                if *end { self.content.end() } else { Ok(()) }
            }
            Event::RequestTrailers(_) if !self.ended => {
                self.ended = true;
                self.content.end()
            }
            _ => Err(Denial::Internal(Ours::Unexpected)),
        }
    }
}
