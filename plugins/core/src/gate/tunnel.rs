//! A WebSocket on its way through the gate: what the caller sends is read as it passes.
//!
//! Owns the caller's direction only; the credential module has the upstream's. Nothing is
//! filled into a message, so a placeholder in one is a mistake at best: it cuts.
//!
//! Invariant: no byte of the caller goes on before the upstream has agreed (101), and none
//! that is not part of a text message or a control frame which the detector has read. Of a
//! message nothing is kept but the detector's state.

use crate::config::gate::Config;
use crate::denial::{Ambiguity, DecisionId, Denial, Ours, Place};
use crate::effect::Flow;
use crate::event::Event;
use crate::gate::Step;
use crate::gate::outcome::{cut, refuse};
use crate::gate::states::State;
use crate::record::Draft;
use crate::scrubbing::{Detector, Scan};
use crate::websocket::{Fault, Piece, Reader, Side};

/// The permit is out, for a WebSocket.
pub(super) struct Tunnel {
    draft: Draft,
    id: DecisionId,
    reader: Reader,
    /// Of the message at hand.
    scan: Option<Box<dyn Scan>>,
    agreed: bool,
    /// The host is still performing the effects of the grant: nothing has left.
    fresh: bool,
}

impl Tunnel {
    pub(super) fn new(config: &Config, draft: Draft, id: DecisionId) -> Self {
        // Messages are as long as content may be.
        let reader = Reader::new(Side::Client, config.body_limit);
        Self { draft, id, reader, scan: None, agreed: false, fresh: true }
    }

    pub(super) fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        let fresh = std::mem::replace(&mut self.fresh, false);
        match event {
            Event::EffectFailed if fresh => {
                refuse(step, self.draft, self.id, &Denial::Internal(Ours::EffectFailed))
            }
            Event::RequestBody { chunk, .. } => match self.take(&chunk, &*step.pipeline.detector) {
                Ok(()) => self.go_on(step),
                Err(denial) => cut(step, self.draft, &denial),
            },
            Event::ResponseHeaders { fields, .. } => {
                self.agreed = fields.only(":status") == Some(b"101".as_slice());
                self.go_on(step)
            }
            Event::ResponseBody { .. } | Event::ResponseTrailers(_) => self.go_on(step),
            Event::Tick => {
                self.fresh = fresh;
                State::Tunnel(Box::new(self))
            }
            Event::Done => State::Over,
            Event::EffectFailed => cut(step, self.draft, &Denial::Internal(Ours::EffectFailed)),
            Event::RequestHeaders { .. } | Event::RequestTrailers(_) | Event::CallReply { .. } => {
                cut(step, self.draft, &Denial::Internal(Ours::Unexpected))
            }
        }
    }

    fn go_on(self, step: &mut Step<'_>) -> State {
        step.flow(Flow::Continue);
        State::Tunnel(Box::new(self))
    }

    fn take(&mut self, chunk: &[u8], detector: &dyn Detector) -> Result<(), Denial> {
        if !chunk.is_empty() && !self.agreed {
            // An upstream that does not agree would take them for another request.
            return Err(Denial::RequestAmbiguous(Ambiguity::Frame));
        }
        let scan = &mut self.scan;
        let read = self.reader.feed(chunk, &mut |piece| !sighted(detector, scan, &piece));
        read.map_err(|fault| match fault {
            Fault::Frame => Denial::RequestAmbiguous(Ambiguity::Frame),
            Fault::TooLong => Denial::BodyTooLarge,
            Fault::Refused => Denial::PlaceholderMisplaced(Place::Message),
        })
    }
}

/// A message is read over its fragments; a control frame, which may stand between them, by
/// itself.
fn sighted(detector: &dyn Detector, scan: &mut Option<Box<dyn Scan>>, piece: &Piece<'_>) -> bool {
    match piece {
        Piece::Text(text) => scan.get_or_insert_with(|| detector.scan()).feed(text),
        Piece::End => scan.take().is_some_and(|mut scan| scan.finish()),
        Piece::Control(_, payload) => {
            let mut scan = detector.scan();
            scan.feed(payload) || scan.finish()
        }
    }
}
