//! Requests of our own: to the key service and to whom the configuration names.
//!
//! A call's failure looks as it does in Envoy: a reply whose status is not 200.

use std::time::Duration;

use postern_core::fields::Fields;
use postern_core::key_service::{CallAnswer, CallFailure, CallResult};
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Request, Response};
use spin_sdk::wasip3::wit_bindgen::spawn;

use crate::content::{self, Incoming, Outgoing, Piece};
use crate::{head, host};

/// A request of ours.
pub struct Outbound {
    /// Pseudo-fields first; `:authority` is where it goes.
    pub fields: Fields,
    /// Content.
    pub body: Vec<u8>,
    /// Without TLS.
    pub plain: bool,
    /// Most bytes of the reply.
    pub most: usize,
    /// Given up after this.
    pub timeout: Duration,
}

/// Sends it and reads the whole reply.
pub async fn send(outbound: Outbound) -> CallResult {
    let timeout = outbound.timeout;
    match host::within(timeout, exchange(outbound)).await {
        Some(result) => result,
        None => Ok(CallAnswer::of(504, Vec::new())),
    }
}

async fn exchange(outbound: Outbound) -> CallResult {
    let Outbound { fields, body, plain, most, .. } = outbound;
    let lines = head::lines(&fields).ok_or(CallFailure::NotSent)?;
    let request = if body.is_empty() {
        Request::new(lines, None, content::none(), None).0
    } else {
        let (mut outgoing, (bytes, ending)) = Outgoing::new();
        spawn(async move {
            if outgoing.send(body).await {
                outgoing.end(None).await;
            }
        });
        Request::new(lines, Some(bytes), ending, None).0
    };
    head::aim(&request, &fields, plain).ok_or(CallFailure::NotSent)?;
    match client::send(request).await {
        Ok(response) => read(response, most).await,
        Err(_) => Ok(CallAnswer::of(503, Vec::new())),
    }
}

async fn read(response: Response, most: usize) -> CallResult {
    let mut fields = head::of_response(&response);
    let (status, mut incoming) = (response.get_status_code(), Incoming::of_response(response));
    let mut body = Vec::new();
    loop {
        match incoming.next().await {
            Piece::Chunk(chunk) => body.extend(chunk),
            Piece::End(trailers) => {
                fields.0.extend(trailers.into_iter().flat_map(|section| section.0));
                return Ok(CallAnswer { status: Some(status), fields, body });
            }
            Piece::Broken => return Err(CallFailure::Unreadable),
        }
        if body.len() > most {
            return Err(CallFailure::TooLarge);
        }
    }
}
