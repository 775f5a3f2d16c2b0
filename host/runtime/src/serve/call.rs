//! One HTTP call-out of a module: a request, and its whole answer or a failure in its shape.
//!
//! Invariant: an answer always comes, within the time of
//! [`CallOut::patience`], and never larger than [`LARGEST`].

use std::future::poll_fn;
use std::time::Instant;

use tokio::time::timeout;

use super::forward::{Forward, FromUpstream};
use super::upstream::Admitted;
use crate::http1::Piece;
use crate::proxy::failure::Failure;
use crate::proxy::fields;
use crate::view::{CallAnswer, CallOut};

/// Content of an answer in bytes. Envoy has no such limit, and a module's memory would be
/// the next one.
pub(super) const LARGEST: usize = 64 << 20;

/// What comes back.
pub(super) async fn ask(admitted: Admitted, call: CallOut) -> CallAnswer {
    let counts = admitted.cluster().counts.clone();
    let mut answer = CallAnswer::default();
    let time = call.patience();
    let ended = match timeout(time, exchange(admitted, call, &mut answer)).await {
        Ok(ended) => ended,
        Err(_) => {
            counts.rq_timeout.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(Failure::Timeout)
        }
    };
    match ended {
        Ok(()) => answer,
        Err(failure) if answer.headers.is_empty() => failure.answer(),
        // An answer that breaks off is none, without fields.
        Err(_) => CallAnswer::default(),
    }
}

/// Whether its fields are such that a request can be made of them.
pub(super) fn is_sendable(call: &CallOut) -> bool {
    fields::request_leaves(&call.headers, true).is_ok()
}

async fn exchange(
    admitted: Admitted,
    call: CallOut,
    answer: &mut CallAnswer,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut forward = send(admitted, &call)?;
    loop {
        match poll_fn(|cx| forward.poll(cx, true)).await {
            FromUpstream::Progress => {}
            FromUpstream::Failed(failure) => return Err(failure),
            FromUpstream::Head(head, end) => {
                answer.headers = fields::answered(head.status, head.fields);
                fields::took(&mut answer.headers, began.elapsed());
                if end {
                    break;
                }
            }
            FromUpstream::Piece(Piece::Data(bytes)) => {
                if answer.body.len() + bytes.len() > LARGEST {
                    return Err(Failure::Closed);
                }
                answer.body.extend_from_slice(&bytes);
            }
            FromUpstream::Piece(Piece::Trailers(trailers)) => {
                answer.trailers = trailers;
                break;
            }
            FromUpstream::Piece(Piece::End) => break,
        }
    }
    forward.settle();
    Ok(())
}

/// Sends it with what Envoy adds, and without trailers, which Envoy takes and leaves out.
fn send(admitted: Admitted, call: &CallOut) -> Result<Forward, Failure> {
    let mut headers = call.headers.clone();
    let mut set = |name: &str, value: String| {
        headers.retain(|(have, _)| have != name.as_bytes());
        headers.push((name.as_bytes().to_vec(), value.into_bytes()));
    };
    if !call.body.is_empty() {
        set("content-length", call.body.len().to_string());
    }
    set("x-envoy-internal", "true".to_owned());
    if !call.timeout.is_zero() {
        set("x-envoy-expected-rq-timeout-ms", call.timeout.as_millis().to_string());
    }
    let end = call.body.is_empty();
    let head = fields::request_leaves(&headers, end).map_err(|_| Failure::Protocol)?;
    let unsendable = |_| Failure::Protocol;
    let mut forward = Forward::start(admitted, &head, end).map_err(unsendable)?;
    if !end {
        forward.content(&call.body, true).map_err(unsendable)?;
    }
    Ok(forward)
}
