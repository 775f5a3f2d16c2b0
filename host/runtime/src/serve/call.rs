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
const LARGEST: usize = 64 << 20;

/// What comes back.
pub(super) async fn ask(admitted: Admitted, call: CallOut) -> CallAnswer {
    let counts = admitted.cluster().counts.clone();
    let time = call.patience();
    let answer = match timeout(time, exchange(admitted, call)).await {
        Ok(answer) => answer,
        Err(_) => {
            counts.rq_timeout.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(Failure::Timeout)
        }
    };
    answer.unwrap_or_else(Failure::answer)
}

async fn exchange(admitted: Admitted, call: CallOut) -> Result<CallAnswer, Failure> {
    let began = Instant::now();
    let mut forward = send(admitted, &call)?;
    let mut answer = CallAnswer::default();
    loop {
        match poll_fn(|cx| forward.poll(cx, true)).await {
            FromUpstream::Progress => {}
            FromUpstream::Failed(failure) => return Err(failure),
            FromUpstream::Head(head, end) => {
                answer.headers = fields::answered(head.status, head.fields, Some(began.elapsed()));
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
    Ok(answer)
}

fn send(admitted: Admitted, call: &CallOut) -> Result<Forward, Failure> {
    let mut headers = call.headers.clone();
    let has_length = headers.iter().any(|(name, _)| name == b"content-length");
    if !call.body.is_empty() && call.trailers.is_empty() && !has_length {
        headers.push((b"content-length".to_vec(), call.body.len().to_string().into_bytes()));
    }
    let end = call.body.is_empty() && call.trailers.is_empty();
    let head = fields::request_leaves(&headers, end).map_err(|_| Failure::Protocol)?;
    let unsendable = |_| Failure::Protocol;
    let mut forward = Forward::start(admitted, &head, end).map_err(unsendable)?;
    if !end {
        forward.content(&call.body, call.trailers.is_empty()).map_err(unsendable)?;
    }
    if !call.trailers.is_empty() {
        forward.trailers(&fields::trailers_leave(&call.trailers)).map_err(unsendable)?;
    }
    Ok(forward)
}
