//! A request of the gate's own to an upstream, through the credential part.

use std::rc::Rc;

use postern_core::effect::Flow;
use postern_core::event::{Event, Surroundings};
use postern_core::fields::Fields;
use postern_core::key_service::{CallAnswer, CallFailure, CallResult, MAX_ANSWER, UpstreamCall};
use postern_spin::side::{Direction, set};
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::Response;

use super::Exchange;
use crate::content::{Incoming, Piece};
use crate::gateway::{Gateway, Which};
use crate::{head, host};

/// Sends it; what is refused or does not answer looks as it does in Envoy.
pub(super) async fn send(gateway: Rc<Gateway>, call: UpstreamCall) -> CallResult {
    let timeout = call.timeout;
    match host::within(timeout, exchange(gateway, call)).await {
        Some(result) => result,
        None => Ok(CallAnswer::of(504, Vec::new())),
    }
}

async fn exchange(gateway: Rc<Gateway>, call: UpstreamCall) -> CallResult {
    let authority = gateway.hosts().of(&call.cluster).ok_or(CallFailure::NotSent)?.to_string();
    let scheme = (":scheme".to_owned(), "http".to_owned());
    let mut fields: Fields = call.fields.into_iter().chain([scheme]).collect();
    set(&mut fields, ":authority", authority.as_bytes());
    let exchange = Exchange::new(gateway);
    exchange.to_head.set(fields.only(":method") == Some(b"HEAD"));
    let cluster = Some(call.cluster.into_bytes());
    let around = Surroundings { cluster, ..Surroundings::default() };
    if exchange.begin(Which::Credential, fields, true, around).await == Flow::Pause {
        return Ok(CallAnswer::of(403, Vec::new()));
    }
    let fields = exchange.credential.try_borrow().map(|side| side.request.head.clone());
    let request = fields.ok().and_then(|fields| exchange.aimed(&fields, None));
    match client::send(request.ok_or(CallFailure::NotSent)?).await {
        Ok(response) => exchange.answered(response).await,
        Err(_) => Ok(CallAnswer::of(503, Vec::new())),
    }
}

impl Exchange {
    /// The whole answer, as the credential part lets it go.
    async fn answered(&self, response: Response) -> CallResult {
        let fields = head::of_response(&response);
        let status = response.get_status_code();
        let mut incoming = Incoming::of_response(response);
        let mut ended = self.to_head.get();
        let mut event = Event::ResponseHeaders { fields, end: ended };
        let mut body = Vec::new();
        loop {
            self.pass(Which::Credential, Direction::Response, event).await;
            if let Some(fields) = self.collect(&mut body, ended)? {
                return Ok(CallAnswer { status: Some(status), fields, body });
            }
            event = match incoming.next().await {
                Piece::Chunk(chunk) => Event::ResponseBody { chunk, end: false },
                Piece::End(None) => Event::ResponseBody { chunk: Vec::new(), end: true },
                Piece::End(Some(trailers)) => Event::ResponseTrailers(trailers),
                Piece::Broken => return Err(CallFailure::Unreadable),
            };
            ended = !matches!(event, Event::ResponseBody { end: false, .. });
        }
    }

    /// Adds what may go to `body`; the fields of head and trailers once that was all.
    fn collect(&self, body: &mut Vec<u8>, ended: bool) -> Result<Option<Fields>, CallFailure> {
        let mut side = self.credential.try_borrow_mut().map_err(|_| CallFailure::Unreadable)?;
        if !side.is_open() || (ended && side.response.holds()) {
            return Err(CallFailure::Unreadable);
        }
        body.append(&mut side.response.take_passed());
        if body.len() > MAX_ANSWER {
            return Err(CallFailure::TooLarge);
        }
        if !ended {
            return Ok(None);
        }
        let mut fields = std::mem::take(&mut side.response.head);
        let trailers = side.response.trailers.take();
        fields.0.extend(trailers.into_iter().flat_map(|section| section.0));
        Ok(Some(fields))
    }
}
