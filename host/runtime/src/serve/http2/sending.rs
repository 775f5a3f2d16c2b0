//! The content of one message on its way out, as far as the peer's window goes.
//!
//! Invariant: content is as long as was declared; nothing is given to the codec that the
//! window does not take, so what waits is counted here and nowhere else.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::HeaderMap;

use crate::http1::Unsendable;

/// What follows the content that waits.
#[derive(Debug)]
enum Rest {
    /// More, as soon as it is there.
    Open,
    /// The end.
    End,
    /// The end, with trailers.
    Trailers(HeaderMap),
    /// Nothing: the end has been given to the codec.
    Nothing,
}

/// One outgoing message, after its head.
pub(super) struct Sending {
    /// Once the stream is open.
    stream: Option<SendStream<Bytes>>,
    waiting: BytesMut,
    /// Content that is still to come, if the head has told how much.
    left: Option<u64>,
    rest: Rest,
}

impl Sending {
    /// A message whose content has this length, if it is known; `end` if it has none.
    pub fn new(length: Option<u64>, end: bool) -> Self {
        let rest = if end { Rest::Nothing } else { Rest::Open };
        Self { stream: None, waiting: BytesMut::new(), left: length, rest }
    }

    /// The stream has been opened.
    pub fn attach(&mut self, stream: SendStream<Bytes>) {
        self.stream = Some(stream);
    }

    /// Content; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        self.still_open()?;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes.len() as u64).ok_or(Unsendable::Length)?;
        }
        self.waiting.extend_from_slice(bytes);
        if end { self.close(Rest::End) } else { Ok(()) }
    }

    /// Trailers, which end the message; none is an end without.
    pub fn trailers(&mut self, trailers: HeaderMap) -> Result<(), Unsendable> {
        self.still_open()?;
        self.close(if trailers.is_empty() { Rest::End } else { Rest::Trailers(trailers) })
    }

    fn still_open(&self) -> Result<(), Unsendable> {
        if matches!(self.rest, Rest::Open) { Ok(()) } else { Err(Unsendable::Ended) }
    }

    fn close(&mut self, rest: Rest) -> Result<(), Unsendable> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(Unsendable::Length);
        }
        self.rest = rest;
        Ok(())
    }

    /// Bytes that wait for the window.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the message has ended, here if not yet on the wire.
    pub fn is_ended(&self) -> bool {
        !matches!(self.rest, Rest::Open)
    }

    /// Whether everything has been given to the codec.
    pub fn is_given(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Gives up what has not left.
    pub fn stop(&mut self) {
        self.waiting.clear();
        self.rest = Rest::Nothing;
    }

    /// Cuts the stream.
    pub fn reset(&mut self, reason: Reason) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(reason);
        }
    }

    /// Ready when the peer has cut the stream, or the connection has ended.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => Poll::Pending,
        }
    }

    /// Ready when something has been given to the codec, or nothing ever will be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        if self.waiting.is_empty() {
            return match std::mem::replace(&mut self.rest, Rest::Nothing) {
                Rest::End => Poll::Ready(stream.send_data(Bytes::new(), true)),
                Rest::Trailers(trailers) => Poll::Ready(stream.send_trailers(trailers)),
                rest => {
                    self.rest = rest;
                    Poll::Pending
                }
            };
        }
        stream.reserve_capacity(self.waiting.len());
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        let bytes = self.waiting.split_to(self.waiting.len().min(stream.capacity()));
        let last = self.waiting.is_empty() && matches!(self.rest, Rest::End);
        if last {
            self.rest = Rest::Nothing;
        }
        Poll::Ready(stream.send_data(bytes.freeze(), last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_as_long_as_declared() {
        let mut sending = Sending::new(Some(3), false);
        assert_eq!(sending.content(b"abcd", false), Err(Unsendable::Length));
        let mut sending = Sending::new(Some(3), false);
        assert_eq!(sending.content(b"ab", false), Ok(()));
        assert_eq!(sending.content(b"", true), Err(Unsendable::Length));
        assert_eq!(sending.trailers(HeaderMap::new()), Err(Unsendable::Length));
        assert_eq!(sending.content(b"c", true), Ok(()));
        assert_eq!(sending.content(b"", true), Err(Unsendable::Ended));
        assert_eq!((sending.backlog(), sending.is_ended(), sending.is_given()), (3, true, false));
        sending.stop();
        assert_eq!((sending.backlog(), sending.is_given()), (0, true));
    }

    #[test]
    fn a_message_that_has_ended_takes_nothing() {
        let mut sending = Sending::new(None, true);
        assert!(sending.is_given());
        assert_eq!(sending.content(b"a", false), Err(Unsendable::Ended));
        assert_eq!(sending.trailers(HeaderMap::new()), Err(Unsendable::Ended));
    }
}
