//! From the injection to the answer's head.
//!
//! Invariant: an answer to a request that carried a credential is scrubbed or refused.

use super::answer;
use super::content::Content;
use super::minting::{Endpoint, Holding};
use super::run::Run;
use super::scrubbing::Scrubbing;
use super::session::Looked;
use super::stream::State;
use crate::denial::{Denial, Ours};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::fields::Fields;
use crate::inject::Filling;
use crate::time::UnixMillis;

/// The request has left with a credential.
pub(super) struct Forwarded {
    looked: Looked,
    upload: Upload,
    /// Where it went, if that mints.
    endpoint: Option<Endpoint>,
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
    pub(super) fn new(looked: Looked, upload: Upload, endpoint: Option<Endpoint>) -> Self {
        Self { looked, upload, endpoint }
    }

    pub(super) fn on(mut self, event: Event, now: UnixMillis, run: &mut Run) -> State {
        match event {
            Event::ResponseHeaders { fields, end } => match self.endpoint.take() {
                Some(endpoint) => self.minting(endpoint, fields, end, now, run),
                None => self.head(&fields, end, run),
            },
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

    /// A token endpoint's answer is held; without content there is nothing to hold.
    fn minting(
        self,
        endpoint: Endpoint,
        fields: Fields,
        end: bool,
        now: UnixMillis,
        run: &mut Run,
    ) -> State {
        if let Err(denial) = endpoint.check(&fields, end || self.upload.ended) {
            return run.refuse(denial);
        }
        if end {
            return self.head(&fields, end, run);
        }
        Holding::new(endpoint, fields, (self.looked, self.upload), now).begin(run)
    }

    /// The answer's head: what follows is scrubbed as it passes.
    pub(super) fn head(self, fields: &Fields, end: bool, run: &mut Run) -> State {
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

    /// Content came before the request could leave: `kept` of it waits to be filled in.
    pub(super) fn with(mut self, kept: Vec<u8>) -> Self {
        if self.filling.is_some() {
            self.kept = kept;
        }
        self
    }

    /// Fills in content that is here already. The request has to wait for the rest of
    /// content of which some is here: nobody could take that back.
    pub(super) fn start(&mut self, run: &mut Run) -> Result<(), Denial> {
        if self.ended && self.filling.is_some() {
            return self.fill(run);
        }
        run.follow(if self.kept.is_empty() { Flow::Continue } else { Flow::Pause });
        Ok(())
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
        self.fill(run)
    }

    fn fill(&mut self, run: &mut Run) -> Result<(), Denial> {
        if let Some(filling) = self.filling.take() {
            let kept = std::mem::take(&mut self.kept);
            let filled = filling.fill(&kept).ok_or(Denial::Internal(Ours::Unreachable))?;
            run.emit(Effect::Fill(filled));
        }
        run.proceed();
        Ok(())
    }
}
