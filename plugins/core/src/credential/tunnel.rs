//! A WebSocket that was opened with a credential.
//!
//! Owns both directions behind the handshake. The upstream's messages are scrubbed whole:
//! a message that is clean or was scrubbed leaves as one frame, whatever fragments it came
//! in (RFC 6455 5.4 lets an intermediary do that where no extension is agreed). A secret in
//! a control frame cuts, since what comes back in a pong must be what was sent.
//!
//! Invariant: no byte of the upstream leaves that is not part of a text message or a
//! control frame which the scrubber has read to its end. At most one message of
//! [`LONGEST`] bytes is kept, and nothing at the host.

use super::answer;
use super::content::Content;
use super::forwarded::{Forwarded, Upload};
use super::guard::Guarded;
use super::run::Run;
use super::session::Looked;
use super::stream::State;
use crate::denial::{Ambiguity, Denial, NotAllowed, Ours, Unscannable};
use crate::effect::{Effect, Part};
use crate::event::Event;
use crate::fields::Fields;
use crate::scrubbing::Scrubber;
use crate::websocket::{self, Fault, Opcode, Piece, Reader, Side};

/// Longest message, in bytes.
pub(super) const LONGEST: usize = 256 * 1024;
/// The gate reads the caller's messages and has their limit; this is the most it can be.
const LONGEST_OF_CALLER: usize = 8 * 1024 * 1024;

/// The handshake has left with a credential.
pub(super) struct Handshake {
    looked: Looked,
    guarded: Guarded,
}

impl Handshake {
    pub(super) fn new(looked: Looked, guarded: Guarded) -> Self {
        Self { looked, guarded }
    }

    pub(super) fn on(self, event: Event, run: &mut Run) -> State {
        match event {
            Event::ResponseHeaders { fields, end } => self.answered(fields, end, run),
            Event::RequestBody { chunk, end: false } if chunk.is_empty() => {
                run.proceed();
                State::Handshake(Box::new(self))
            }
            Event::RequestBody { .. } => run.cut(Denial::RequestAmbiguous(Ambiguity::Frame)),
            Event::Tick => State::Handshake(Box::new(self)),
            Event::Done => State::Over,
            // The head is still here: the injection itself failed.
            Event::EffectFailed => run.refuse(Denial::Internal(Ours::EffectFailed)),
            _ => run.cut(Denial::Internal(Ours::Unexpected)),
        }
    }

    fn answered(self, fields: Fields, end: bool, run: &mut Run) -> State {
        if fields.only(":status") != Some(b"101".as_slice()) {
            // Declined: an answer like any other to a request without content.
            let upload = Upload::new(Content::new(None, self.guarded), None, false);
            let forwarded = Forwarded::new(self.looked, upload, None);
            return forwarded.head(&fields, end, run);
        }
        if end || !websocket::is_agreed(&fields) {
            return run.refuse(Denial::UpstreamUnscannable(Unscannable::Extensions));
        }
        let Looked { secrets, known } = &self.looked;
        let mut scrubber = known.scrubber();
        let part = Part::Response;
        let scrubbed = answer::scrub_fields(&fields, part, secrets, scrubber.as_mut(), run);
        if let Err(denial) = scrubbed {
            return run.refuse(denial);
        }
        run.found(scrubber.hits());
        run.record();
        run.proceed();
        State::Tunnel(Box::new(Tunnel::new(scrubber, self.guarded)))
    }
}

/// Both sides speak frames.
pub(super) struct Tunnel {
    scrubber: Box<dyn Scrubber>,
    guarded: Guarded,
    caller: Reader,
    upstream: Reader,
    /// The upstream's message at hand.
    message: Vec<u8>,
}

impl Tunnel {
    fn new(scrubber: Box<dyn Scrubber>, guarded: Guarded) -> Self {
        let caller = Reader::new(Side::Client, LONGEST_OF_CALLER);
        let upstream = Reader::new(Side::Server, LONGEST);
        Self { scrubber, guarded, caller, upstream, message: Vec::new() }
    }

    pub(super) fn on(mut self, event: Event, run: &mut Run) -> State {
        let result = match event {
            Event::RequestBody { chunk, .. } => self.take_of_caller(&chunk),
            Event::ResponseBody { chunk, .. } => self.take_of_upstream(&chunk, run),
            Event::Tick => Ok(()),
            Event::Done => {
                self.note(run);
                return State::Over;
            }
            Event::EffectFailed => Err(Denial::Internal(Ours::EffectFailed)),
            _ => Err(Denial::Internal(Ours::Unexpected)),
        };
        self.note(run);
        match result {
            Ok(()) => {
                run.proceed();
                State::Tunnel(Box::new(self))
            }
            Err(denial) => run.cut(denial),
        }
    }

    fn note(&self, run: &mut Run) {
        run.found(self.scrubber.hits());
        run.record();
    }

    /// The gate has read it; what leaves with a credential in play is frames here too, and
    /// holds none of this worker's values.
    fn take_of_caller(&mut self, chunk: &[u8]) -> Result<(), Denial> {
        let Self { caller, guarded, .. } = self;
        let read = caller.feed(chunk, &mut |piece| match piece {
            Piece::Text(text) => guarded.chunk(text).is_ok(),
            Piece::End => {
                let clean = guarded.end().is_ok();
                guarded.again();
                clean
            }
            Piece::Control(_, payload) => guarded.alone(payload).is_ok(),
        });
        read.map_err(|fault| match fault {
            Fault::Refused => Denial::CredentialNotAllowed(NotAllowed::SecretInRequest),
            Fault::Frame | Fault::TooLong => Denial::RequestAmbiguous(Ambiguity::Frame),
        })
    }

    fn take_of_upstream(&mut self, chunk: &[u8], run: &mut Run) -> Result<(), Denial> {
        let mut out = Vec::new();
        let Self { scrubber, message, upstream, .. } = self;
        let read = upstream.feed(chunk, &mut |piece| {
            match piece {
                Piece::Text(text) => message.extend_from_slice(text),
                Piece::End => {
                    let whole = std::mem::take(message);
                    let clean = scrubber.field(&whole).unwrap_or(whole);
                    out.extend(websocket::frame(Opcode::Text, &clean));
                }
                Piece::Control(_, payload) if scrubber.field(payload).is_some() => return false,
                Piece::Control(opcode, payload) => out.extend(websocket::frame(opcode, payload)),
            }
            true
        });
        read.map_err(|fault| {
            Denial::UpstreamUnscannable(match fault {
                Fault::Frame => Unscannable::Frame,
                Fault::TooLong => Unscannable::Message,
                Fault::Refused => Unscannable::Control,
            })
        })?;
        if out != chunk {
            run.emit(Effect::ReplaceBody { part: Part::Response, content: out });
        }
        Ok(())
    }
}
