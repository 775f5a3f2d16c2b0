//! One side of a stream: the message that leaves there, framed as it would be on a socket.
//!
//! Invariant: content that does not fit what the head has said of it is refused here as it
//! is in the gateway, whose encoder this uses.

use bytes::BytesMut;

use super::message::Message;
use crate::http1::{Encoder, Framing, Unsendable};
use crate::proxy::fields::{RequestHead, ResponseHead};
use crate::serve::forward::framing;
use crate::view::Pairs;

/// A message on its way out.
pub(super) struct Side {
    pub message: Message,
    encoder: Encoder,
}

impl Side {
    /// A request to an upstream.
    pub fn request(head: RequestHead, end: bool) -> Result<Self, Unsendable> {
        let RequestHead { method, target, fields, content, .. } = head;
        let framing = framing(content, &fields);
        let encoder = Encoder::request(&mut BytesMut::new(), &method, &target, &fields, framing)?;
        let pseudo = [(b":method".to_vec(), method), (b":path".to_vec(), target)];
        Self::begin(encoder, pseudo.into_iter().chain(fields).collect(), end)
    }

    /// A response to the caller; `to_head` if the request was `HEAD`.
    pub fn response(head: ResponseHead, to_head: bool, end: bool) -> Result<Self, Unsendable> {
        let ResponseHead { status, fields, content } = head;
        let silent = to_head || matches!(status, 204 | 304);
        let framing = if silent { Framing::None } else { framing(content, &fields) };
        let encoder = Encoder::response(&mut BytesMut::new(), status, &fields, framing)?;
        let pseudo = (b":status".to_vec(), status.to_string().into_bytes());
        Self::begin(encoder, std::iter::once(pseudo).chain(fields).collect(), end)
    }

    fn begin(encoder: Encoder, head: Pairs, end: bool) -> Result<Self, Unsendable> {
        let mut side = Self { message: Message { head, ..Message::default() }, encoder };
        side.content(&[], end)?;
        Ok(side)
    }

    /// Content; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        let mut wire = BytesMut::new();
        if !bytes.is_empty() {
            self.encoder.data(&mut wire, bytes)?;
            self.message.chunks.push(bytes.to_vec());
        }
        if end {
            self.encoder.end(&mut wire)?;
            self.message.whole = true;
        }
        Ok(())
    }

    /// Trailers, which end it.
    pub fn trailers(&mut self, pairs: Pairs) -> Result<(), Unsendable> {
        self.encoder.trailers(&mut BytesMut::new(), &pairs)?;
        self.message.trailers = pairs;
        self.message.whole = true;
        Ok(())
    }

    /// Status of a response.
    pub fn status(&self) -> u16 {
        self.message.status()
    }
}
