//! A gRPC service over HTTP/2 without TLS, which does what the method's name says.

use std::net::{Ipv4Addr, TcpListener as Socket};

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// A running service; it ends with the process.
pub struct Service {
    port: u16,
}

impl Service {
    /// Serves on a thread of its own.
    pub fn start() -> Result<Self> {
        let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0)).context("a port")?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(socket) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream));
                }
            });
        });
        Ok(Self { port })
    }

    /// Where it listens on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }
}

async fn serve(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, answer) = accepted?;
        tokio::spawn(call(request, answer));
    }
    Ok(())
}

async fn call(request: Request<RecvStream>, mut answer: SendResponse<Bytes>) -> Result<()> {
    let (head, content) = request.into_parts();
    let method = head.uri.path().rsplit('/').next().unwrap_or_default();
    match method {
        // A message of what was asked, and fields on both ends.
        "Echo" => {
            let asked = read(content).await?;
            let text = format!("{} {}", told(&head), String::from_utf8_lossy(&asked));
            let mut send = answer.send_response(begun(&[("x-initial", "1")])?, false)?;
            send.send_data(message(text.as_bytes()), false)?;
            send.send_trailers(fields(&[("grpc-status", "0"), ("x-trailing", "1")])?)?;
        }
        "Two" => {
            let mut send = answer.send_response(begun(&[])?, false)?;
            send.send_data(message(b"one"), false)?;
            send.send_data(message(b"two"), false)?;
            send.send_trailers(fields(&[("grpc-status", "0")])?)?;
        }
        "None" => {
            let mut send = answer.send_response(begun(&[])?, false)?;
            send.send_trailers(fields(&[("grpc-status", "0")])?)?;
        }
        "Fails" => {
            let said = [("grpc-status", "5"), ("grpc-message", "not%20here")];
            answer.send_response(begun(&said)?, true)?;
        }
        "FailsLate" => {
            let mut send = answer.send_response(begun(&[])?, false)?;
            send.send_data(message(b"one"), false)?;
            let said = [("grpc-status", "7"), ("grpc-message", "late")];
            send.send_trailers(fields(&said)?)?;
        }
        "Unavailable" => {
            let mut response = Response::new(());
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            answer.send_response(response, true)?;
        }
        "Resets" => answer.send_reset(Reason::CANCEL),
        "Cut" => {
            let mut send = answer.send_response(begun(&[])?, false)?;
            send.send_data(Bytes::from_static(b"\0\0\0\0\x09half"), false)?;
            send.send_trailers(fields(&[("grpc-status", "0")])?)?;
        }
        // Each message comes back as it is sent, until there are no more.
        "Stream" => {
            let mut content = content;
            let mut send = answer.send_response(begun(&[("x-initial", "1")])?, false)?;
            while let Some(piece) = content.data().await {
                let piece = piece?;
                content.flow_control().release_capacity(piece.len())?;
                send.send_data(piece, false)?;
            }
            send.send_trailers(fields(&[("grpc-status", "0"), ("x-trailing", "1")])?)?;
        }
        // Never answers; the call is kept until it is cut.
        _ => std::future::poll_fn(|cx| answer.poll_reset(cx)).await.map(drop)?,
    }
    Ok(())
}

/// What a call says of itself.
fn told(head: &http::request::Parts) -> String {
    let field = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        format!("{name}={}", value.unwrap_or("-"))
    };
    const NAMES: [&str; 8] = [
        "te",
        "content-type",
        "grpc-timeout",
        "x-metadata",
        "x-envoy-internal",
        "x-envoy-expected-rq-timeout-ms",
        "user-agent",
        "grpc-accept-encoding",
    ];
    let parts = NAMES.map(field).join(" ");
    format!("{} {} {parts}", head.method, head.uri.path())
}

async fn read(mut content: RecvStream) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = content.data().await {
        let piece = piece?;
        content.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

fn message(text: &[u8]) -> Bytes {
    let length = u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
    [&[0], length.as_slice(), text].concat().into()
}

fn begun(more: &[(&str, &str)]) -> Result<Response<()>> {
    let mut response = Response::new(());
    *response.headers_mut() = fields(more)?;
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}

fn fields(lines: &[(&str, &str)]) -> Result<HeaderMap> {
    let line = |(name, value): &(&str, &str)| {
        Ok((HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?))
    };
    lines.iter().map(line).collect()
}
