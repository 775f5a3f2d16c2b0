//! What passes on an HTTP/2 connection, seen from beside the codec.
//!
//! The codec resets a request that it cannot read without a word to anybody; the stream is
//! found here, so that it can be logged. Here too are counted what only a flood sends, with
//! Envoy's bounds. Invariant: bytes are looked at and never changed, in memory that does not
//! grow with the peer's wishes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Size of what precedes the first frame of a caller (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// A frame's head (RFC 9113, 4.1), and the error code of `RST_STREAM` behind it.
const HEAD: usize = 9;
const HEAD_OF_RESET: usize = HEAD + 4;
/// Streams that have begun and were not taken yet, at most; the codec refuses more.
const MOST_BEGUN: usize = 4096;

/// `PRIORITY` frames of a stream, as Envoy's `max_inbound_priority_frames_per_stream`.
const PRIORITIES: u64 = 100;
/// `WINDOW_UPDATE` frames for each frame of content that was sent, as Envoy's
/// `max_inbound_window_update_frames_per_data_frame_sent`.
const UPDATES: u64 = 10;

/// Kinds of frames (RFC 9113, 6).
mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

const END_HEADERS: u8 = 0x4;
/// An error code (RFC 9113, 7): the stream is not processed and may be tried again.
const REFUSED_STREAM: u32 = 0x7;

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Of `RST_STREAM`.
    code: u32,
}

/// Finds the heads of frames in one direction.
#[derive(Debug)]
struct Frames {
    head: [u8; HEAD_OF_RESET],
    have: usize,
    skip: usize,
}

impl Frames {
    fn new(skip: usize) -> Self {
        Self { head: [0; HEAD_OF_RESET], have: 0, skip }
    }

    /// Looks at the next bytes.
    fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped;
            while let Some((first, rest)) = bytes.split_first().filter(|_| self.skip == 0) {
                bytes = rest;
                self.head[self.have] = *first;
                self.have += 1;
                if let Some((frame, length)) = self.frame() {
                    self.skip = length;
                    self.have = 0;
                    found(frame);
                }
            }
        }
    }

    /// The frame whose head has come, and the bytes of it that follow.
    fn frame(&self) -> Option<(Frame, usize)> {
        let head = &self.head;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let with_code = kind == kind::RST_STREAM && length == 4;
        let wanted = if with_code { HEAD_OF_RESET } else { HEAD };
        if self.have < wanted {
            return None;
        }
        let code = u32::from_be_bytes([head[9], head[10], head[11], head[12]]);
        let code = if with_code { code } else { 0 };
        Some((Frame { kind, flags, stream, code }, HEAD + length - wanted))
    }
}

/// What was seen of a connection.
#[derive(Debug)]
pub(super) struct Seen {
    inbound: Frames,
    outbound: Frames,
    /// The highest stream that the peer has begun.
    last: u32,
    /// Streams that have begun and were neither taken nor reset.
    begun: BTreeSet<u32>,
    /// Those of them that the codec has reset since the last look.
    refused: BTreeSet<u32>,
    /// How many of them it has answered, since their fields were too large.
    oversized: usize,
    /// Since when a block of fields has not come whole.
    pub fields_since: Option<Instant>,
    streams: u64,
    priorities: u64,
    updates: u64,
    content: u64,
}

impl Seen {
    fn new() -> Self {
        Self {
            inbound: Frames::new(PREFACE),
            outbound: Frames::new(0),
            last: 0,
            begun: BTreeSet::new(),
            refused: BTreeSet::new(),
            oversized: 0,
            fields_since: None,
            streams: 0,
            priorities: 0,
            updates: 0,
            content: 0,
        }
    }

    /// Whether somebody has to look.
    fn came(&mut self, bytes: &[u8]) -> bool {
        let mut inbound = std::mem::replace(&mut self.inbound, Frames::new(0));
        let before = self.fields_since.is_some();
        inbound.pass(bytes, |frame| self.inbound(frame));
        self.inbound = inbound;
        self.is_flood() || before != self.fields_since.is_some()
    }

    fn inbound(&mut self, frame: Frame) {
        match frame.kind {
            kind::HEADERS | kind::CONTINUATION => {
                let whole = frame.flags & END_HEADERS != 0;
                let since = self.fields_since.take().unwrap_or_else(Instant::now);
                self.fields_since = (!whole).then_some(since);
                if frame.kind == kind::HEADERS && frame.stream > self.last {
                    self.last = frame.stream;
                    self.streams += 1;
                    if self.begun.len() < MOST_BEGUN {
                        self.begun.insert(frame.stream);
                    }
                }
            }
            kind::PRIORITY => self.priorities += 1,
            kind::WINDOW_UPDATE => self.updates += 1,
            _ => {}
        }
    }

    /// Whether a stream was refused.
    fn left(&mut self, bytes: &[u8]) -> bool {
        let mut outbound = std::mem::replace(&mut self.outbound, Frames::new(0));
        let before = (self.refused.len(), self.oversized);
        outbound.pass(bytes, |frame| self.outbound(frame));
        self.outbound = outbound;
        (self.refused.len(), self.oversized) != before
    }

    fn outbound(&mut self, frame: Frame) {
        match frame.kind {
            kind::DATA => self.content += 1,
            kind::HEADERS => self.oversized += usize::from(self.begun.remove(&frame.stream)),
            kind::RST_STREAM => {
                let begun = self.begun.remove(&frame.stream);
                // One stream more than may run is no request that cannot be read.
                if begun && frame.code != REFUSED_STREAM {
                    self.refused.insert(frame.stream);
                }
            }
            _ => {}
        }
    }

    /// A stream has been handed out.
    pub fn taken(&mut self, stream: u32) {
        self.begun.remove(&stream);
        self.refused.remove(&stream);
    }

    /// Streams that the codec has refused since the last time.
    pub fn take_refused(&mut self) -> usize {
        std::mem::take(&mut self.refused).len()
    }

    /// Streams that the codec has answered since the last time.
    pub fn take_oversized(&mut self) -> usize {
        std::mem::take(&mut self.oversized)
    }

    /// Streams whose fields have not come whole, or were never looked at.
    pub fn take_begun(&mut self) -> usize {
        std::mem::take(&mut self.begun).len()
    }

    /// Whether more control frames have come than anybody needs.
    pub fn is_flood(&self) -> bool {
        self.priorities > PRIORITIES * (1 + self.streams)
            || self.updates > 5 + 2 * (self.streams + UPDATES * self.content)
    }
}

/// What was seen, and who is to be told.
pub(super) struct Watch {
    pub seen: RefCell<Seen>,
    pub noticed: Notify,
}

impl Watch {
    pub fn new() -> Self {
        Self { seen: RefCell::new(Seen::new()), noticed: Notify::new() }
    }
}

/// A connection that is watched, with what had been read of it before.
pub(super) struct Watched<T> {
    transport: T,
    early: BytesMut,
    watch: Rc<Watch>,
}

impl<T> Watched<T> {
    pub fn new(transport: T, early: BytesMut, watch: Rc<Watch>) -> Self {
        Self { transport, early, watch }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let it = self.get_mut();
        let before = buffer.filled().len();
        if it.early.is_empty() {
            std::task::ready!(Pin::new(&mut it.transport).poll_read(cx, buffer))?;
        } else {
            let length = it.early.len().min(buffer.remaining());
            buffer.put_slice(it.early.get(..length).unwrap_or_default());
            it.early.advance(length);
        }
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if it.watch.seen.borrow_mut().came(bytes) {
            it.watch.noticed.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let it = self.get_mut();
        let written = std::task::ready!(Pin::new(&mut it.transport).poll_write(cx, bytes))?;
        if it.watch.seen.borrow_mut().left(bytes.get(..written).unwrap_or_default()) {
            it.watch.noticed.notify_one();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let stream = stream.to_be_bytes();
        [&length[1..], &[kind, flags], &stream, payload].concat()
    }

    fn after_preface() -> Seen {
        let mut seen = Seen::new();
        assert!(!seen.came(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        seen
    }

    #[test]
    fn a_reset_of_a_stream_that_nobody_took_is_a_refusal_however_it_is_cut() {
        let begins = frame(kind::HEADERS, END_HEADERS, 1, b"fields");
        let resets = frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 1]);
        for cut in 1..begins.len() {
            let mut seen = after_preface();
            seen.came(&begins[..cut]);
            seen.came(&begins[cut..]);
            let cut = cut % resets.len();
            seen.left(&resets[..cut]);
            seen.left(&resets[cut..]);
            assert_eq!((seen.take_refused(), seen.take_refused()), (1, 0));
        }
    }

    #[test]
    fn what_was_taken_or_was_one_too_many_is_no_refusal() {
        let mut seen = after_preface();
        for stream in [1, 3] {
            seen.came(&frame(kind::HEADERS, END_HEADERS, stream, b"fields"));
        }
        seen.taken(1);
        assert!(!seen.left(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 1])));
        assert!(!seen.left(&frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 7])));
        assert_eq!(seen.take_refused(), 0);
        seen.came(&frame(kind::HEADERS, END_HEADERS, 5, b"fields"));
        assert!(seen.left(&frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 1])));
        seen.taken(5);
        assert_eq!(seen.take_refused(), 0);
    }

    #[test]
    fn fields_that_come_in_parts_are_timed_from_the_first() {
        let mut seen = after_preface();
        assert!(seen.came(&frame(kind::HEADERS, 0, 1, b"fie")));
        let since = seen.fields_since;
        assert!(since.is_some());
        assert!(!seen.came(&frame(kind::CONTINUATION, 0, 1, b"ld")));
        assert_eq!(seen.fields_since, since);
        assert!(seen.came(&frame(kind::CONTINUATION, END_HEADERS, 1, b"s")));
        assert_eq!(seen.fields_since, None);
    }

    #[test]
    fn control_frames_that_nobody_needs_are_a_flood() {
        for (kind, payload, most) in [(kind::PRIORITY, 5, 200), (kind::WINDOW_UPDATE, 4, 7)] {
            let mut seen = after_preface();
            seen.came(&frame(kind::HEADERS, END_HEADERS, 1, b"fields"));
            let one = frame(kind, 0, 1, &vec![0; payload]);
            for _ in 0..most {
                assert!(!seen.came(&one), "{kind}");
            }
            assert!(seen.came(&one), "{kind}");
        }
        let mut seen = after_preface();
        seen.left(&frame(kind::DATA, 0, 1, b"content"));
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        assert_eq!((0..30).filter(|_| seen.came(&update)).count(), 5);
    }
}
