//! A small HTTP/1.1 server on 127.0.0.1, one thread a connection, for the parts that a
//! test plays itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::RigError;
use crate::message::{Direction, Message, Reader};

/// Whether the connection stays open after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Wait for the next request.
    Keep,
    /// Close.
    Close,
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Writes the answer to one request.
    fn handle(&self, request: Message, to: &mut dyn Write) -> io::Result<After>;
}

/// A running server; dropping it closes every connection and ends its threads.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    closing: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    /// Listens on a free port, with TLS when `tls` is given.
    pub fn start(
        handler: Arc<dyn Handler>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, RigError> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(RigError::io("bind 127.0.0.1"))?;
        let port = listener.local_addr().map_err(RigError::io("local address"))?.port();
        let shared =
            Arc::new(Shared { closing: AtomicBool::new(false), open: Mutex::default(), tls });
        let accept = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept_all(&listener, &accept, &handler));
        Ok(Self { port, shared, accepting: Some(accepting) })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes every open connection; new ones are still served.
    pub fn drop_connections(&self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        self.drop_connections();
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<dyn Handler>) {
    for stream in listener.incoming() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let _ = stream.set_nodelay(true);
        if let Ok(copy) = stream.try_clone() {
            shared.open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        }
        let (handler, tls) = (Arc::clone(handler), shared.tls.clone());
        std::thread::spawn(move || connection(stream, tls, handler.as_ref()));
    }
}

/// Errors end the connection: the peer sees a close, and the test sees that.
fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, handler: &dyn Handler) {
    let closer = stream.try_clone();
    let _ = match tls.map(ServerConnection::new) {
        None => serve(stream, handler),
        Some(Ok(session)) => serve(StreamOwned::new(session, stream), handler),
        Some(Err(_)) => Ok(()),
    };
    if let Ok(stream) = closer {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn serve(stream: impl Read + Write, handler: &dyn Handler) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    while let Some(request) = reader.next(Direction::Request)? {
        let after = handler.handle(request, reader.connection())?;
        reader.connection().flush()?;
        if after == After::Close {
            break;
        }
    }
    Ok(())
}
