//! The request's content: through the gate, through the credential part, to the upstream.

use std::rc::Rc;

use postern_core::effect::Flow;
use postern_core::event::Event;
use postern_core::fields::Fields;
use postern_spin::side::Direction;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Request, Response};
use spin_sdk::wasip3::wit_bindgen::spawn;

use super::{Exchange, FIRST_BYTE, Stop};
use crate::content::{self, Incoming, Outgoing, Piece};
use crate::gateway::Which;
use crate::{head, host};

/// Content of a request, as far as the gate has let it go.
pub(super) struct Upload {
    incoming: Incoming,
    /// All of it was read.
    pub(super) ended: bool,
    /// What the gate let go and nobody has taken.
    passed: Vec<u8>,
    /// Behind it.
    trailers: Option<Fields>,
}

impl Upload {
    pub(super) fn new(incoming: Incoming, ended: bool) -> Self {
        Self { incoming, ended, passed: Vec::new(), trailers: None }
    }

    /// More that the gate has let go.
    pub(super) fn add(&mut self, mut content: Vec<u8>) {
        self.passed.append(&mut content);
    }

    /// Nothing is left of it, and nothing was there.
    pub(super) fn is_nothing(&self) -> bool {
        self.ended && self.passed.is_empty() && self.trailers.is_none()
    }

    /// The next piece through the gate.
    pub(super) async fn read(&mut self, exchange: &Exchange) -> Result<Flow, Stop> {
        let piece = self.incoming.next().await;
        self.take(piece, exchange).await
    }

    /// The same while the head waits: the time is told as well.
    pub(super) async fn read_or_tick(&mut self, exchange: &Exchange) -> Result<Flow, Stop> {
        match self.incoming.next_unless(exchange.gateway.pause()).await {
            Some(piece) => self.take(piece, exchange).await,
            None => Ok(exchange.drive(Which::Gate, Event::Tick).await),
        }
    }

    async fn take(&mut self, piece: Piece, exchange: &Exchange) -> Result<Flow, Stop> {
        let event = match piece {
            Piece::Chunk(chunk) => Event::RequestBody { chunk, end: false },
            Piece::End(None) => Event::RequestBody { chunk: Vec::new(), end: true },
            Piece::End(Some(trailers)) => Event::RequestTrailers(trailers),
            Piece::Broken => return Err(Stop::Cut),
        };
        self.ended = !matches!(event, Event::RequestBody { end: false, .. });
        let flow = exchange.pass(Which::Gate, Direction::Request, event).await;
        exchange.open(Which::Gate)?;
        if let Ok(mut gate) = exchange.gate.try_borrow_mut() {
            self.add(gate.request.take_passed());
            if self.ended {
                self.trailers = gate.request.trailers.take();
            }
        }
        Ok(flow)
    }

    /// What the gate has let go through the credential part; `ended` once that was all.
    pub(super) async fn pass(
        &mut self,
        exchange: &Exchange,
        ended: &mut bool,
    ) -> Result<Flow, Stop> {
        while self.passed.is_empty() && !self.ended {
            self.read(exchange).await?;
        }
        let event = if !self.passed.is_empty() {
            let end = self.ended && self.trailers.is_none();
            Event::RequestBody { chunk: std::mem::take(&mut self.passed), end }
        } else {
            match self.trailers.take() {
                Some(trailers) => Event::RequestTrailers(trailers),
                None => Event::RequestBody { chunk: Vec::new(), end: true },
            }
        };
        *ended = !matches!(event, Event::RequestBody { end: false, .. });
        let flow = exchange.pass(Which::Credential, Direction::Request, event).await;
        exchange.open(Which::Credential)?;
        Ok(flow)
    }

    /// All that is left to the upstream, as it comes. Whatever stops it breaks it off.
    async fn run(mut self, exchange: Rc<Exchange>, mut outgoing: Outgoing, mut ended: bool) {
        loop {
            let (chunk, held) = exchange.taken();
            if !outgoing.send(chunk).await || (ended && held) {
                return outgoing.break_off().await;
            }
            if ended {
                break;
            }
            if self.pass(&exchange, &mut ended).await.is_err() {
                exchange.cut_upload();
                return outgoing.break_off().await;
            }
        }
        let trailers = exchange.credential.try_borrow().ok();
        let trailers = trailers.and_then(|side| side.request.trailers.clone());
        outgoing.end(trailers.as_ref()).await;
    }
}

impl Exchange {
    /// Content that may go to the upstream now, and whether some is kept back.
    fn taken(&self) -> (Vec<u8>, bool) {
        match self.credential.try_borrow_mut() {
            Ok(mut side) => (side.request.take_passed(), side.request.holds()),
            Err(_) => (Vec::new(), true),
        }
    }

    /// The gate has cut what the credential part still lets pass: nothing may pass any more.
    fn cut_upload(&self) {
        if let (Ok(gate), Ok(mut credential)) =
            (self.gate.try_borrow(), self.credential.try_borrow_mut())
            && !gate.is_open()
        {
            credential.cut();
        }
    }

    /// Both parts let the head go: it leaves, and what is left of the content behind it.
    pub(super) async fn send(
        self: Rc<Self>,
        upload: Upload,
        ended: bool,
    ) -> Result<Response, Stop> {
        let fields = match self.credential.try_borrow_mut() {
            Ok(mut side) => {
                side.settle(Direction::Request);
                side.request.head.clone()
            }
            Err(_) => return Err(Stop::Cut),
        };
        let authority = fields.only(":authority").unwrap_or_default();
        self.gateway.hosts().route(authority).ok_or(Stop::NoRoute)?;
        let nothing = ended && self.nothing_to_send();
        let (outgoing, source) = match nothing {
            true => (None, None),
            false => Some(Outgoing::new()).unzip(),
        };
        let Some(request) = self.aimed(&fields, source) else {
            self.drive(Which::Credential, Event::EffectFailed).await;
            self.open(Which::Credential)?;
            return Err(Stop::Cut);
        };
        if let Some(outgoing) = outgoing {
            spawn(upload.run(Rc::clone(&self), outgoing, ended));
        }
        let sent = host::within(FIRST_BYTE, client::send(request)).await;
        self.open(Which::Gate)?;
        self.open(Which::Credential)?;
        match sent {
            Some(Ok(response)) => self.download(response).await,
            Some(Err(_)) => Err(Stop::NoAnswer),
            None => Err(Stop::TooLate),
        }
    }

    fn nothing_to_send(&self) -> bool {
        self.credential
            .try_borrow()
            .is_ok_and(|side| side.request.is_empty() && side.request.trailers.is_none())
    }

    /// The request for WASI: to the authority of the configuration, and to no other.
    pub(super) fn aimed(
        &self,
        fields: &Fields,
        source: Option<content::Source>,
    ) -> Option<Request> {
        let lines = head::lines(fields)?;
        let request = match source {
            Some((bytes, ending)) => Request::new(lines, Some(bytes), ending, None).0,
            None => Request::new(lines, None, content::none(), None).0,
        };
        let authority = str::from_utf8(fields.only(":authority")?).ok()?;
        self.gateway.hosts().route(authority.as_bytes())?;
        head::aim(&request, fields, self.gateway.hosts().is_plain(authority))?;
        Some(request)
    }
}
