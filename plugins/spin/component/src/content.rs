//! Content in pieces, from and to `wasi:http`.
//!
//! Invariant: content that broke off is told from content that ended, in both directions; a
//! piece goes on as it came, never split.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures::future::{Either, select};
use postern_core::fields::Fields;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response, Trailers};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult};
use spin_sdk::wasip3::wit_future;

use crate::{head, host};

/// Longest silence inside a message.
const IDLE: Duration = Duration::from_secs(60);
/// Most bytes of one piece.
const PIECE: usize = 64 * 1024;

type Ending = Result<Option<Trailers>, ErrorCode>;

/// What comes next.
pub enum Piece {
    /// Bytes, at least one.
    Chunk(Vec<u8>),
    /// The end, with a trailer section or without.
    End(Option<Fields>),
    /// It broke off, or nothing came for too long.
    Broken,
}

type Parts = (StreamReader<u8>, FutureReader<Ending>);
type Reading = Pin<Box<dyn Future<Output = (Piece, Option<Parts>)>>>;

/// Content that arrives.
pub struct Incoming {
    parts: Option<Parts>,
    /// A read that is under way: who waits for it may give up and come again.
    reading: Option<Reading>,
    /// Read ahead, to know whether there is any.
    first: Option<Piece>,
    _fate: FutureWriter<Result<(), ErrorCode>>,
}

impl Incoming {
    /// The content of a request.
    pub fn of_request(request: Request) -> Self {
        let (fate, reader) = wit_future::new(|| Ok(()));
        Self::new(Request::consume_body(request, reader), fate)
    }

    /// The content of a response.
    pub fn of_response(response: Response) -> Self {
        let (fate, reader) = wit_future::new(|| Ok(()));
        Self::new(Response::consume_body(response, reader), fate)
    }

    fn new(parts: Parts, fate: FutureWriter<Result<(), ErrorCode>>) -> Self {
        Self { parts: Some(parts), reading: None, first: None, _fate: fate }
    }

    /// Whether it ends without a byte and without trailers; waits for the first piece.
    pub async fn is_empty(&mut self) -> bool {
        let first = self.next().await;
        let empty = matches!(first, Piece::End(None));
        self.first = Some(first);
        empty
    }

    /// The next piece. Behind the end it is broken.
    pub async fn next(&mut self) -> Piece {
        if let Some(first) = self.first.take() {
            return first;
        }
        if self.reading.is_none() {
            self.reading = self.parts.take().map(|parts| Box::pin(read(parts)) as Reading);
        }
        let Some(reading) = &mut self.reading else { return Piece::Broken };
        let (piece, parts) = reading.await;
        (self.reading, self.parts) = (None, parts);
        piece
    }

    /// The next piece, or nothing when `pause` is over first.
    pub async fn next_unless(&mut self, pause: impl Future<Output = ()>) -> Option<Piece> {
        match select(pin!(self.next()), pin!(pause)).await {
            Either::Left((piece, _)) => Some(piece),
            Either::Right(((), _)) => None,
        }
    }
}

async fn read((mut bytes, trailers): Parts) -> (Piece, Option<Parts>) {
    let read = host::within(IDLE, async {
        loop {
            match bytes.read(Vec::with_capacity(PIECE)).await {
                (StreamResult::Complete(_), chunk) if chunk.is_empty() => {}
                (StreamResult::Complete(_), chunk) => return Some(chunk),
                _ => return None,
            }
        }
    });
    match read.await {
        Some(Some(chunk)) => (Piece::Chunk(chunk), Some((bytes, trailers))),
        Some(None) => match host::within(IDLE, trailers.into_future()).await {
            Some(Ok(None)) => (Piece::End(None), None),
            Some(Ok(Some(fields))) => (Piece::End(Some(head::of_lines(&fields))), None),
            Some(Err(_)) | None => (Piece::Broken, None),
        },
        None => (Piece::Broken, None),
    }
}

/// Content that leaves. One that is dropped before its end breaks off.
pub struct Outgoing(BodyWriter);

/// The other end of an [`Outgoing`], for a message's constructor.
pub type Source = Parts;

impl Outgoing {
    /// Content that begins.
    pub fn new() -> (Self, Source) {
        let (writer, bytes, ending) = BodyWriter::new();
        (Self(writer), (bytes, ending))
    }

    /// Sends a piece; false when nobody takes it any more, or not for too long.
    pub async fn send(&mut self, chunk: Vec<u8>) -> bool {
        if chunk.is_empty() {
            return true;
        }
        let left = host::within(IDLE, self.0.stream_writer.write_all(chunk)).await;
        left.is_some_and(|left| left.is_empty())
    }

    /// Ends it. Trailers that WASI does not take break it off.
    pub async fn end(self, trailers: Option<&Fields>) {
        let BodyWriter { stream_writer, result_writer, .. } = self.0;
        drop(stream_writer);
        let ending = match trailers.map(head::lines) {
            None => Ok(None),
            Some(Some(lines)) => Ok(Some(lines)),
            Some(None) => Err(ErrorCode::InternalError(None)),
        };
        let _ = result_writer.write(ending).await;
    }

    /// Breaks it off: the connection that carries it is closed.
    pub async fn break_off(self) {
        let BodyWriter { stream_writer, result_writer, .. } = self.0;
        drop(stream_writer);
        let _ = result_writer.write(Err(ErrorCode::ConnectionTerminated)).await;
    }
}

/// The ending of a message without content.
pub fn none() -> FutureReader<Ending> {
    let (writer, reader) = wit_future::new(|| Ok(None));
    drop(writer);
    reader
}
