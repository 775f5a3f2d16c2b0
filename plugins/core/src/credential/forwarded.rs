//! From the injection to the answer's head.
//!
//! Invariant: an answer to a request that carried a credential is scrubbed or refused.

use super::answer;
use super::content::Content;
use super::run::Run;
use super::scrubbing::Scrubbing;
use super::session::Looked;
use super::stream::State;
use crate::denial::{Denial, Ours};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::fields::Fields;
use crate::inject::Filling;

/// The request has left with a credential.
pub(super) struct Forwarded {
    looked: Looked,
    upload: Upload,
}

/// The rest of the request, which may still be on its way while the answer is.
pub(super) struct Upload {
    content: Content,
    ended: bool,
    filling: Option<Filling>,
    /// Content that waits for its end, to be filled in; the host holds the same.
    kept: Vec<u8>,
}

/// The gate holds no more than this, so more was not decided on.
const LARGEST: usize = 8 * 1024 * 1024;

impl Forwarded {
    pub(super) fn new(looked: Looked, upload: Upload) -> Self {
        Self { looked, upload }
    }

    pub(super) fn on(mut self, event: Event, run: &mut Run) -> State {
        match event {
            Event::ResponseHeaders { fields, end } => self.head(&fields, end, run),
            Event::Tick => State::Forwarded(Box::new(self)),
            Event::Done => State::Over,
            // The head is still here: the injection itself failed.
            Event::EffectFailed => run.refuse(Denial::Internal(Ours::EffectFailed)),
            event => match self.upload.on(&event, run) {
                Ok(()) => State::Forwarded(Box::new(self)),
                Err(denial) => run.refuse_content(denial),
            },
        }
    }

    fn head(self, fields: &Fields, end: bool, run: &mut Run) -> State {
        let Looked { secrets, known } = &self.looked;
        let mut scrubber = known.scrubber();
        if let Err(denial) = answer::head(fields, end, secrets, scrubber.as_mut(), run) {
            return run.refuse(denial);
        }
        run.proceed();
        Scrubbing::new(scrubber, self.looked, self.upload).after(end, run)
    }
}

impl Upload {
    pub(super) fn new(content: Content, filling: Option<Filling>, ended: bool) -> Self {
        Self { content, ended, filling, kept: Vec::new() }
    }

    /// The answer is over; the rest of the request may still come.
    pub(super) fn after_answer(mut self: Box<Self>, event: &Event, run: &mut Run) -> State {
        match event {
            Event::Done => State::Over,
            Event::Tick => State::Answered(self),
            Event::EffectFailed => run.cut(Denial::Internal(Ours::EffectFailed)),
            event => match self.on(event, run) {
                Ok(()) => State::Answered(self),
                Err(denial) => run.cut(denial),
            },
        }
    }

    /// Takes a request event and says whether it goes on; any other is not expected.
    pub(super) fn on(&mut self, event: &Event, run: &mut Run) -> Result<(), Denial> {
        match event {
            Event::RequestBody { chunk, end } if !self.ended => {
                self.content.chunk(chunk)?;
                if self.filling.is_some() {
                    self.kept.extend_from_slice(chunk);
                    if self.kept.len() > LARGEST {
                        return Err(Denial::BodyTooLarge);
                    }
                }
                if *end {
                    return self.end(run);
                }
                run.follow(if self.filling.is_some() { Flow::Pause } else { Flow::Continue });
                Ok(())
            }
            Event::RequestTrailers(fields) if !self.ended => {
                self.content.trailers(fields)?;
                self.end(run)
            }
            _ => Err(Denial::Internal(Ours::Unexpected)),
        }
    }

    /// What is filled in is exactly what was decided on.
    fn end(&mut self, run: &mut Run) -> Result<(), Denial> {
        self.ended = true;
        self.content.end()?;
        if let Some(filling) = self.filling.take() {
            let kept = std::mem::take(&mut self.kept);
            let filled = filling.fill(&kept).ok_or(Denial::Internal(Ours::Unreachable))?;
            run.emit(Effect::Fill(filled));
        }
        run.proceed();
        Ok(())
    }
}
