//! The sockets that the gateway listens on.
//!
//! Invariant: what is not TLS is heard by this machine alone.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use super::{Bound, ServeError};
use crate::config::{Address, Gateway};

/// A listener's socket, with what is needed for TLS.
pub(super) type Entry = (TcpListener, Option<Arc<rustls::ServerConfig>>);

/// Plain HTTP only where nobody else can listen in.
pub(super) fn refuse_plain(gateway: &Gateway) -> Result<(), ServeError> {
    let plain = gateway.listeners.iter().filter(|listener| listener.tls.is_none());
    let plain = plain.map(|listener| (format!("listener {:?}", listener.name), &listener.address));
    let admin = gateway.admin.iter().map(|address| ("admin".to_owned(), address));
    for (what, address) in plain.chain(admin) {
        let is_loopback = address.host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
        if !is_loopback {
            return Err(ServeError::Plain(what));
        }
    }
    Ok(())
}

pub(super) fn bind(what: &str, address: &Address) -> Result<(TcpListener, SocketAddr), ServeError> {
    let named = || format!("{what}: {}:{}", address.host, address.port);
    let bound = TcpListener::bind((address.host.as_str(), address.port)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    bound.map_err(|source| ServeError::Bind { what: named(), source })
}

pub(super) fn bind_all(gateway: &Gateway) -> Result<(Vec<TcpListener>, Vec<Bound>), ServeError> {
    let mut sockets = Vec::new();
    let mut bounds = Vec::new();
    for listener in &gateway.listeners {
        let what = format!("listener {:?}", listener.name);
        let (socket, address) = bind(&what, &listener.address)?;
        sockets.push(socket);
        let tls = listener.tls.is_some();
        bounds.push(Bound { name: listener.name.clone(), address, tls });
    }
    Ok((sockets, bounds))
}

/// The same sockets for one more worker.
pub(super) fn shared(
    sockets: &[TcpListener],
    servers: &[Option<Arc<rustls::ServerConfig>>],
) -> Result<Vec<Entry>, ServeError> {
    let copies = sockets.iter().zip(servers);
    let copies = copies.map(|(socket, tls)| Ok((socket.try_clone()?, tls.clone())));
    copies.collect::<std::io::Result<_>>().map_err(ServeError::Thread)
}
