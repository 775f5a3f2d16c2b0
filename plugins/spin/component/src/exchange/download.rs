//! The upstream's answer: through the credential part to the caller.

use std::rc::Rc;

use postern_core::effect::Flow;
use postern_core::event::Event;
use postern_core::fields::Fields;
use postern_spin::side::{Direction, remove};
use spin_sdk::wasip3::http::types::Response;
use spin_sdk::wasip3::wit_bindgen::spawn;

use super::{Exchange, Stop};
use crate::content::{Incoming, Outgoing, Piece};
use crate::gateway::Which;
use crate::{answer, head};

/// What is left of an answer whose head has gone on.
struct Download {
    incoming: Incoming,
    ended: bool,
}

impl Exchange {
    /// The head of the answer, with the content behind it.
    pub(super) async fn download(self: Rc<Self>, response: Response) -> Result<Response, Stop> {
        let fields = head::of_response(&response);
        let status = response.get_status_code();
        let incoming = Incoming::of_response(response);
        let end = self.to_head.get() || is_nothing(status, &fields);
        let mut download = Download { incoming, ended: end };
        let event = Event::ResponseHeaders { fields, end };
        let mut flow = self.pass(Which::Credential, Direction::Response, event).await;
        while flow == Flow::Pause {
            self.open(Which::Credential)?;
            flow = match download.ended {
                true => self.tick(Which::Credential).await,
                false => download.read_or_tick(&self).await.map_err(|()| Stop::NoAnswer)?,
            };
        }
        let mut fields = match self.credential.try_borrow_mut() {
            Ok(mut side) => {
                side.settle(Direction::Response);
                std::mem::take(&mut side.response.head)
            }
            Err(_) => return Err(Stop::Cut),
        };
        if end {
            // Of content that does not come: a host would miss it.
            remove(&mut fields, "content-length");
        }
        let (outgoing, source) = match end {
            true => (None, None),
            false => Some(Outgoing::new()).unzip(),
        };
        let begun = answer::begin(status, &fields, source).map_err(|_| Stop::Cut)?;
        spawn(async move {
            if let Some(outgoing) = outgoing {
                download.run(&self, outgoing).await;
            }
            self.finish(Some(status)).await;
        });
        Ok(begun)
    }

    fn has_ended_here(&self) -> bool {
        self.open(Which::Gate).is_err() || self.open(Which::Credential).is_err()
    }
}

impl Download {
    /// The next piece through the credential part; an error when the answer breaks off.
    async fn read(&mut self, exchange: &Exchange) -> Result<Flow, ()> {
        let piece = self.incoming.next().await;
        self.take(piece, exchange).await
    }

    /// The same while the head waits: the time is told as well.
    async fn read_or_tick(&mut self, exchange: &Exchange) -> Result<Flow, ()> {
        match self.incoming.next_unless(exchange.gateway.pause()).await {
            Some(piece) => self.take(piece, exchange).await,
            None => Ok(exchange.drive(Which::Credential, Event::Tick).await),
        }
    }

    async fn take(&mut self, piece: Piece, exchange: &Exchange) -> Result<Flow, ()> {
        let event = match piece {
            Piece::Chunk(chunk) => Event::ResponseBody { chunk, end: false },
            Piece::End(None) => Event::ResponseBody { chunk: Vec::new(), end: true },
            Piece::End(Some(trailers)) => Event::ResponseTrailers(trailers),
            Piece::Broken => return Err(()),
        };
        self.ended = !matches!(event, Event::ResponseBody { end: false, .. });
        Ok(exchange.pass(Which::Credential, Direction::Response, event).await)
    }

    /// All that is left of the content, as it comes.
    async fn run(mut self, exchange: &Exchange, mut outgoing: Outgoing) {
        loop {
            let (chunk, held, trailers) = exchange.let_go();
            let gone = !outgoing.send(chunk).await;
            if gone || exchange.has_ended_here() || (self.ended && held) {
                return outgoing.break_off().await;
            }
            if self.ended {
                return outgoing.end(trailers.as_ref()).await;
            }
            if self.read(exchange).await.is_err() {
                return outgoing.break_off().await;
            }
        }
    }
}

impl Exchange {
    /// Content that may go to the caller now, whether some is kept back, and trailers.
    fn let_go(&self) -> (Vec<u8>, bool, Option<Fields>) {
        match self.credential.try_borrow_mut() {
            Ok(mut side) => {
                let answer = &mut side.response;
                (answer.take_passed(), answer.holds(), answer.trailers.clone())
            }
            Err(_) => (Vec::new(), true, None),
        }
    }
}

/// Whether no content follows such a head (RFC 9110, 6.4.1).
fn is_nothing(status: u16, fields: &Fields) -> bool {
    matches!(status, 204 | 304) || fields.only("content-length") == Some(b"0")
}
