//! From the answer's head to its end.
//!
//! Invariant: every byte of content and every trailer goes through the scrubber; what it
//! cannot deliver cuts the stream. When the answer ends, the secrets are dropped.

use super::answer;
use super::forwarded::Upload;
use super::run::Run;
use super::session::Looked;
use super::stream::State;
use crate::denial::{Denial, Ours};
use crate::effect::{Effect, Part};
use crate::event::Event;
use crate::fields::Fields;
use crate::scrubbing::Scrubber;

/// An answer whose head has gone on.
pub(super) struct Scrubbing {
    scrubber: Box<dyn Scrubber>,
    looked: Looked,
    upload: Upload,
}

impl Scrubbing {
    pub(super) fn new(scrubber: Box<dyn Scrubber>, looked: Looked, upload: Upload) -> Self {
        Self { scrubber, looked, upload }
    }

    pub(super) fn on(mut self, event: Event, run: &mut Run) -> State {
        match event {
            Event::ResponseBody { chunk, end } => self.content(&chunk, end, run),
            Event::ResponseTrailers(fields) => self.trailers(&fields, run),
            Event::Tick => State::Scrubbing(Box::new(self)),
            Event::Done => {
                self.note(run);
                run.record();
                State::Over
            }
            Event::EffectFailed => run.cut(Denial::Internal(Ours::EffectFailed)),
            event => match self.upload.on(&event, run) {
                Ok(()) => State::Scrubbing(Box::new(self)),
                Err(denial) => run.cut(denial),
            },
        }
    }

    fn content(mut self, chunk: &[u8], end: bool, run: &mut Run) -> State {
        let scrubbed = match self.scrubber.chunk(chunk, end) {
            Ok(scrubbed) => scrubbed,
            Err(why) => return self.unscannable(Denial::UpstreamUnscannable(why), run),
        };
        if let Some(content) = scrubbed.replace {
            run.emit(Effect::ReplaceBody { part: Part::Response, content });
        }
        run.follow(scrubbed.flow);
        self.after(end, run)
    }

    fn trailers(mut self, fields: &Fields, run: &mut Run) -> State {
        match self.scrubber.end_by_trailers() {
            Err(why) => return self.unscannable(Denial::UpstreamUnscannable(why), run),
            Ok(Some(content)) => run.emit(Effect::ReplaceBody { part: Part::Response, content }),
            Ok(None) => {}
        }
        let part = Part::ResponseTrailers;
        let scrubber = self.scrubber.as_mut();
        if let Err(denial) = answer::scrub_fields(fields, part, &self.looked.secrets, scrubber, run)
        {
            return self.unscannable(denial, run);
        }
        run.proceed();
        self.after(true, run)
    }

    /// Cuts the answer; the record says what was found until then.
    fn unscannable(self, denial: Denial, run: &mut Run) -> State {
        self.note(run);
        run.cut(denial)
    }

    /// Notes what was found; an answer that is over leaves nothing behind.
    pub(super) fn after(self, ended: bool, run: &mut Run) -> State {
        if !ended {
            return State::Scrubbing(Box::new(self));
        }
        self.note(run);
        run.record();
        State::Answered(Box::new(self.upload))
    }

    fn note(&self, run: &mut Run) {
        run.part.scrub = Some(self.scrubber.receipt());
        run.found(self.scrubber.hits());
    }
}
