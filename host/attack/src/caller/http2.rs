//! HTTP/2 by the book (RFC 9113), over TLS or with prior knowledge.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use postern_rig::client::Content;
use postern_rig::message::{Line, Message};
use tokio::time::timeout;

use super::target::Async;
use super::{Came, PATIENCE, Request, Target};

/// One request on a connection of its own.
pub(super) async fn ask(target: &Target, request: &Request) -> io::Result<Came> {
    let asked = async {
        let mut sender = match target.connect_async().await? {
            Async::Plain(stream) => open(stream).await?,
            Async::Tls(stream) => open(*stream).await?,
        };
        sender = sender.ready().await.map_err(io::Error::other)?;
        exchange(sender, request).await
    };
    timeout(PATIENCE, asked).await?
}

async fn open<S>(stream: S) -> io::Result<SendRequest<Bytes>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(mut sender: SendRequest<Bytes>, request: &Request) -> io::Result<Came> {
    let (chunks, trailers) = match &request.content {
        Content::None => (Vec::new(), Vec::new()),
        Content::Sized(body) => (vec![body.clone()], Vec::new()),
        Content::Chunked(chunks, trailers) => (chunks.clone(), trailers.clone()),
    };
    let none = matches!(request.content, Content::None);
    let (answer, mut send) = sender.send_request(head(request)?, none).map_err(io::Error::other)?;
    let sending = async {
        for (index, chunk) in chunks.iter().enumerate() {
            let last = index + 1 == chunks.len() && trailers.is_empty();
            send.send_data(Bytes::from(chunk.clone()), last)?;
            // What is sent in one turn of the connection goes in one write.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        match (trailers.is_empty(), chunks.is_empty() && !none) {
            (false, _) => send.send_trailers(map(&trailers).unwrap_or_default()),
            (true, true) => send.send_data(Bytes::new(), true),
            (true, false) => Ok(()),
        }
    };
    // An answer may come before everything is sent.
    let (_, came) = tokio::join!(sending, receive(answer));
    Ok(came)
}

fn head(request: &Request) -> io::Result<http::Request<()>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let uri = format!("http://{}{}", text(&request.authority), text(&request.target));
    let uri: Uri = uri.parse().map_err(io::Error::other)?;
    let mut head = http::Request::new(());
    *head.method_mut() = request.method.parse().map_err(io::Error::other)?;
    *head.uri_mut() = uri;
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = map(&request.fields)?;
    if let Content::Sized(body) = &request.content {
        head.headers_mut().insert(http::header::CONTENT_LENGTH, body.len().into());
    }
    Ok(head)
}

fn map(lines: &[Line]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(&name.to_ascii_lowercase()).map_err(io::Error::other)?;
        map.append(name, HeaderValue::from_bytes(value).map_err(io::Error::other)?);
    }
    Ok(map)
}

async fn receive(mut answer: h2::client::ResponseFuture) -> Came {
    let mut came = Came::default();
    let interim = std::future::poll_fn(|cx| {
        use std::task::Poll;
        while let Poll::Ready(Some(Ok(one))) = answer.poll_informational(cx) {
            came.interim.push(one.status().as_u16());
        }
        std::pin::Pin::new(&mut answer).poll(cx)
    });
    let (head, mut content) = match interim.await {
        Ok(response) => response.into_parts(),
        Err(error) => {
            came.trouble = Some(error.to_string());
            return came;
        }
    };
    let mut message = Message {
        start: format!("HTTP/2 {}", head.status.as_u16()).into_bytes(),
        fields: lines(&head.headers),
        complete: true,
        ..Message::default()
    };
    while let Some(data) = content.data().await {
        match data {
            Ok(bytes) => {
                let _ = content.flow_control().release_capacity(bytes.len());
                message.content.extend_from_slice(&bytes);
            }
            Err(error) => {
                message.complete = false;
                came.trouble = Some(error.to_string());
                break;
            }
        }
    }
    match content.trailers().await {
        Ok(trailers) => message.trailers = trailers.as_ref().map(lines).unwrap_or_default(),
        Err(_) => message.complete = false,
    }
    came.answers.push(message);
    came
}

fn lines(map: &HeaderMap) -> Vec<Line> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    map.iter().map(line).collect()
}
