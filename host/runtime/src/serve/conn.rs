//! One connection, plain or with TLS, and its buffers.
//!
//! Owns reading into and writing out of memory. Knows no HTTP. Invariant: nothing is read
//! before somebody wants it, so a peer that sends faster than is taken waits in its own
//! socket.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

/// Bytes that are asked of the system at once.
const CHUNK: usize = 16 * 1024;

/// What carries the bytes.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
pub(super) struct Conn<T = Transport> {
    transport: T,
    /// Read and not yet taken.
    pub input: BytesMut,
    /// To be written.
    pub output: BytesMut,
    /// The transport has taken bytes that it may still hold, as TLS does.
    unflushed: bool,
    /// The peer sends no more.
    pub eof: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Conn<T> {
    pub fn new(transport: T) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { transport, input, output, unflushed: false, eof: false }
    }

    /// What carries the bytes, and those that were read and not taken. Nothing may wait to
    /// be written.
    pub fn into_parts(self) -> (T, BytesMut) {
        (self.transport, self.input)
    }

    /// Whether bytes have yet to leave, here or in the transport.
    pub fn is_writing(&self) -> bool {
        !self.output.is_empty() || self.unflushed
    }

    /// Gives up what has not left.
    pub fn stop_writing(&mut self) {
        self.output.clear();
        self.unflushed = false;
    }

    /// Ready when more has been read, or the peer has ended.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.eof {
            return Poll::Pending;
        }
        self.input.reserve(CHUNK);
        let read = ready!(pin!(self.transport.read_buf(&mut self.input)).poll(cx))?;
        self.eof = read == 0;
        Poll::Ready(Ok(()))
    }

    /// Ready when everything has been written.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            ready!(self.poll_write(cx))?;
        }
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(cx, &self.output))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.output.advance(written);
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    /// Whether an idle connection can be used: open, and without a byte that nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        if !self.input.is_empty() || self.eof || self.is_writing() {
            return false;
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        // A task that has had its share of events is told that nothing has come.
        let filling = tokio::task::unconstrained(poll_fn(|cx| self.poll_fill(cx)));
        pin!(filling).poll(&mut context).is_pending()
    }

    pub async fn fill(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub async fn drain(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_drain(cx)).await
    }

    /// The same for a peer that may be slow: `patience` is for each step, not for the whole.
    pub async fn drain_slowly(&mut self, patience: Duration) -> io::Result<()> {
        while !self.output.is_empty() {
            timeout(patience, poll_fn(|cx| self.poll_write(cx))).await??;
        }
        timeout(patience, self.drain()).await?
    }

    /// Ends our side after what is written.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.drain().await?;
        self.transport.shutdown().await
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything, and is not ready to send it on the first time.
    #[derive(Default)]
    struct Holding {
        refused: bool,
        taken: Vec<u8>,
        sent: Vec<u8>,
    }

    impl AsyncRead for Holding {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.get_mut().taken.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let it = self.get_mut();
            if !std::mem::replace(&mut it.refused, true) {
                return Poll::Pending;
            }
            it.sent.append(&mut it.taken);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_tls_holds_back_is_still_to_be_written() {
        let mut conn = Conn::new(Holding::default());
        let mut context = Context::from_waker(std::task::Waker::noop());
        conn.output.extend_from_slice(b"event");
        assert!(conn.poll_drain(&mut context).is_pending());
        assert!(conn.output.is_empty());
        assert!(conn.is_writing());
        assert!(!conn.is_quiet());
        assert!(conn.poll_drain(&mut context).is_ready());
        assert_eq!(conn.transport.sent, b"event");
        assert!(!conn.is_writing());
        assert!(conn.is_quiet());
    }
}
