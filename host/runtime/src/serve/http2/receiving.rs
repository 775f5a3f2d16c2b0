//! The content of one message as it comes.
//!
//! Invariant: a byte is acknowledged when it is taken, and bytes are taken one piece at a
//! time, so a peer has no more on its way than its window.

use std::task::{Context, Poll, ready};

use h2::RecvStream;

use super::wire;
use crate::http1::Piece;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Content,
    Trailers,
    Nothing,
}

/// One incoming message, after its head.
pub(super) struct Receiving {
    stream: RecvStream,
    next: Next,
}

impl Receiving {
    pub fn new(stream: RecvStream) -> Self {
        let next = if stream.is_end_stream() { Next::Nothing } else { Next::Content };
        Self { stream, next }
    }

    /// Whether the message has come whole.
    pub fn is_done(&self) -> bool {
        self.next == Next::Nothing
    }

    /// The next piece; never ready again after the end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, h2::Error>> {
        while self.next == Next::Content {
            let Some(bytes) = ready!(self.stream.poll_data(cx)).transpose()? else {
                self.next = Next::Trailers;
                break;
            };
            self.stream.flow_control().release_capacity(bytes.len())?;
            if !bytes.is_empty() {
                return Poll::Ready(Ok(Piece::Data(bytes)));
            }
        }
        if self.next == Next::Nothing {
            return Poll::Pending;
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        self.next = Next::Nothing;
        let trailers = trailers.map(|fields| wire::pairs(&fields)).unwrap_or_default();
        let end = if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) };
        Poll::Ready(Ok(end))
    }
}
