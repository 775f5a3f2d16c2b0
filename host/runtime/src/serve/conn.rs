//! One connection, plain or with TLS, and its buffers.
//!
//! Owns reading into and writing out of memory. Knows no HTTP. Invariant: nothing is read
//! before somebody wants it, so a peer that sends faster than is taken waits in its own
//! socket.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Bytes that are asked of the system at once.
const CHUNK: usize = 16 * 1024;

/// What carries the bytes.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
pub(super) struct Conn {
    transport: Transport,
    /// Read and not yet taken.
    pub input: BytesMut,
    /// To be written.
    pub output: BytesMut,
    /// The peer sends no more.
    pub eof: bool,
}

impl Conn {
    pub fn new(transport: Transport) -> Self {
        Self { transport, input: BytesMut::new(), output: BytesMut::new(), eof: false }
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
        while self.output.has_remaining() {
            let written = ready!(Pin::new(&mut self.transport).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    /// Whether an idle connection can be used: open, and without a byte that nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.input.is_empty() && !self.eof && self.poll_fill(&mut context).is_pending()
    }

    pub async fn fill(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub async fn drain(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drain(cx)).await
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
