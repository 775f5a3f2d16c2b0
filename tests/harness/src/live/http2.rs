//! Callers and upstreams that speak HTTP/2 in the clear (RFC 9113, 3.3).

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use postern_rig::upstream::{Answer, Framing, Instead};
use postern_rig::wait::until;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(10);
/// Streams at once on one connection.
const MANY: usize = 60;

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    /// Status, content, trailers.
    Answer(u16, Vec<u8>, Option<HeaderMap>),
    /// The stream was reset.
    Reset(Reason),
}

impl Came {
    fn status(&self) -> u16 {
        match self {
            Self::Answer(status, ..) => *status,
            Self::Reset(_) => 0,
        }
    }
}

/// One connection to the gateway.
struct Connection {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// Drives connections on a thread of its own.
fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(1).enable_all().build()?)
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let runtime = runtime()?;
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let (sender, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Self { runtime, sender })
    }

    /// Waits, and not for ever.
    fn within<T>(&self, what: impl Future<Output = T>) -> Result<T> {
        Ok(self.runtime.block_on(async { timeout(PATIENCE, what).await })?)
    }

    fn ask(&self, request: Request<()>, body: Option<(&'static str, HeaderMap)>) -> Result<Came> {
        let sender = self.sender.clone();
        self.within(ask(sender, request, body))?
    }
}

async fn ask(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Option<(&'static str, HeaderMap)>,
) -> Result<Came> {
    let mut sender = sender.ready().await?;
    let (answer, mut send) = sender.send_request(request, body.is_none())?;
    if let Some((content, trailers)) = body {
        send.send_data(content.into(), trailers.is_empty())?;
        if !trailers.is_empty() {
            send.send_trailers(trailers)?;
        }
    }
    let came = async {
        let (head, content) = answer.await?.into_parts();
        let (content, trailers) = read(content).await?;
        Ok(Came::Answer(head.status.as_u16(), content, trailers))
    };
    match came.await {
        Err(error) if h2::Error::is_reset(&error) => {
            Ok(Came::Reset(error.reason().unwrap_or(Reason::NO_ERROR)))
        }
        other => Ok(other?),
    }
}

async fn read(mut content: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(bytes) = content.data().await.transpose()? {
        content.flow_control().release_capacity(bytes.len())?;
        all.extend_from_slice(&bytes);
    }
    Ok((all, content.trailers().await?))
}

/// A request with the caller's key and the credential.
fn request(site: &Site, caller: &Caller, method: &str, path: &str) -> Result<Request<()>> {
    let fields = caller.request(site, "api.test", path, Some("slack")).fields;
    let mut request = Request::builder().method(method).uri(format!("http://api.test{path}"));
    for (name, value) in &fields {
        request = request.header(name.as_slice(), value.as_slice());
    }
    Ok(request.body(())?)
}

fn trailers(name: &'static str) -> HeaderMap {
    let line = (HeaderName::from_static(name), HeaderValue::from_static("1"));
    [line].into_iter().collect()
}

fn with(mut request: Request<()>, lines: &[(String, String)]) -> Result<Request<()>> {
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        request.headers_mut().append(name, value.parse()?);
    }
    Ok(request)
}

/// Answers, what reaches the upstream, and one record for each request.
pub fn requests(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let caller = Caller::new(site, "http2")?;
    let connection = Connection::open(gateway.port())?;
    let mut lines = Vec::new();
    site.world.take_records()?;
    let get = request(site, &caller, "GET", "/api/a")?;
    expect(&mut lines, "GET", 200, connection.ask(get, None)?.status());
    let field = site.take_forwarded().first().and_then(|got| got.text("authorization"));
    let secret = format!("Bearer {}", caller.secret(site, "slack"));
    expect(&mut lines, "the injected field", Some(secret), field);
    let nobody = Request::builder().uri("http://api.test/api/b").body(())?;
    expect(&mut lines, "without a key", 401, connection.ask(nobody, None)?.status());
    let head = request(site, &caller, "HEAD", "/api/c")?;
    expect(&mut lines, "HEAD", 200, connection.ask(head, None)?.status());
    expect(&mut lines, "forwarded", 1, site.take_forwarded().len());
    // Trailers that nothing announces cut an answer whose content may end in part of a secret.
    let answer = Answer {
        fields: vec![(b"trailer".to_vec(), b"x-answered".to_vec())],
        chunks: vec![b"answer".to_vec()],
        trailers: vec![(b"x-answered".to_vec(), b"1".to_vec())],
        framing: Framing::Chunked,
        ..Answer::default()
    };
    let upstream = site.upstreams.get("api").context("no upstream")?;
    upstream.answer(answer);
    let post = request(site, &caller, "POST", "/api/d")?;
    let came = connection.ask(post, Some(("a=b", trailers("x-asked"))))?;
    let want = Came::Answer(200, b"answer".to_vec(), Some(trailers("x-answered")));
    expect(&mut lines, "POST with trailers", want, came);
    upstream.answer(Answer::default());
    let got = site.take_forwarded();
    let content = got.first().map(|got| got.content.clone());
    expect(&mut lines, "its content", Some(b"a=b".to_vec()), content);
    refused(site, &caller, &connection, &mut lines)?;
    let many = (0..MANY).map(|_| request(site, &caller, "GET", "/api/many"));
    let many: Vec<_> = many.collect::<Result<_>>()?;
    let sender = &connection.sender;
    let asking: Vec<_> = many
        .into_iter()
        .map(|request| connection.runtime.spawn(ask(sender.clone(), request, None)))
        .collect();
    for asked in asking {
        let came = connection.within(asked)???;
        expect(&mut lines, "one of many", 200, came.status());
    }
    expect(&mut lines, "many forwarded", MANY, site.take_forwarded().len());
    let records = MANY + 4 + 3;
    expect(&mut lines, "records", records, site.wait_for_records(records)?.len());
    Ok(lines)
}

/// What the codec refuses resets its stream; the next one is served.
fn refused(
    site: &Site,
    caller: &Caller,
    connection: &Connection,
    lines: &mut Vec<String>,
) -> Result<()> {
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let many: Vec<_> = (0..101).map(|number| line(&format!("x{number}"), "y")).collect();
    let rows = [
        ("an underscore in a name", vec![line("x_y", "1")]),
        ("101 fields", many),
        ("33 KiB of fields", vec![line("x", &"y".repeat(33 << 10))]),
    ];
    for (name, more) in rows {
        let request = with(request(site, caller, "GET", "/api/e")?, &more)?;
        let came = connection.ask(request, None)?;
        expect(lines, name, Came::Reset(Reason::INTERNAL_ERROR), came);
    }
    expect(lines, "forwarded of what was refused", 0, site.take_forwarded().len());
    Ok(())
}

/// A stream that its caller cuts while the upstream is waited for: it is recorded, and its
/// connection serves the next one.
pub fn cut(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let caller = Caller::new(site, "http2_cut")?;
    let connection = Connection::open(gateway.port())?;
    let mut lines = Vec::new();
    site.world.take_records()?;
    let upstream = site.upstreams.get("api").context("no upstream")?;
    upstream.answer(Answer { instead: Some(Instead::Stall(Vec::new())), ..Answer::default() });
    let request_ = request(site, &caller, "GET", "/api/cut")?;
    let mut sender = connection.sender.clone();
    let (answer, mut send) = connection.runtime.block_on(async {
        std::future::poll_fn(|cx| sender.poll_ready(cx)).await?;
        sender.send_request(request_, true)
    })?;
    expect(&mut lines, "forwarded", 1, upstream.wait_for(1, PATIENCE).len());
    send.send_reset(Reason::CANCEL);
    drop(answer);
    let records = site.wait_for_records(1)?;
    let record: serde_json::Value =
        serde_json::from_slice(records.first().map_or(&[][..], Vec::as_slice))?;
    expect(&mut lines, "decision", Some("allow"), record["decision"].as_str());
    expect(&mut lines, "status", None, record["status"].as_u64());
    upstream.answer(Answer::default());
    let next = request(site, &caller, "GET", "/api/next")?;
    expect(&mut lines, "the next one", 200, connection.ask(next, None)?.status());
    expect(&mut lines, "its record", 1, site.wait_for_records(1)?.len());
    site.take_forwarded();
    Ok(lines)
}

/// The upstream speaks HTTP/2: the credential is injected, content and trailers pass.
pub fn upstream(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let port = listener.local_addr()?.port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let mut config = site.config(None)?;
    config.cluster_at("api", port)?;
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = &mut config.cluster("api")?["typed_extension_protocol_options"][OPTIONS];
    options["explicit_http_config"] = json!({"http2_protocol_options": {}});
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "http2_upstream")?;
    let mut lines = Vec::new();
    let plain = gateway.ask(&caller.request(site, "api.test", "/api/a?b", Some("slack")))?;
    expect(&mut lines, "HTTP/1.1 to HTTP/2", 200, plain.status());
    let connection = Connection::open(gateway.port())?;
    let te = [("te".to_owned(), "trailers".to_owned())];
    let post = with(request(site, &caller, "POST", "/api/a?b")?, &te)?;
    let came = connection.ask(post, Some(("a=b", trailers("x-asked"))))?;
    // What the upstream says of the request, without showing the secret.
    let said = "POST http://api.test/api/a?b te=trailers bearer=true a=b x-asked=1";
    let want = Came::Answer(200, said.into(), Some(trailers("x-answered")));
    expect(&mut lines, "HTTP/2 to HTTP/2", want, came);
    seen.keep(site, gateway)?;
    Ok(lines)
}

async fn echo(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut answer) = accepted?;
        tokio::spawn(async move {
            let (head, content) = request.into_parts();
            let (content, trailers_) = read(content).await?;
            let text = |value: Option<&HeaderValue>| {
                value.and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
            };
            let bearer = text(head.headers.get("authorization")).starts_with("Bearer ");
            let said = format!(
                "{} {} te={} bearer={bearer} {} x-asked={}",
                head.method,
                head.uri,
                text(head.headers.get("te")),
                String::from_utf8_lossy(&content),
                text(trailers_.as_ref().and_then(|lines| lines.get("x-asked"))),
            );
            let mut send = answer.send_response(http::Response::new(()), false)?;
            send.send_data(said.into(), false)?;
            send.send_trailers(trailers("x-answered"))
        });
    }
    Ok(())
}

/// A caller that resets whatever it asks for is cut off, and the next one is served.
pub fn rapid_reset(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = Gateway::with(site, &site.config(None)?)?;
    let caller = Caller::new(site, "rapid_reset")?;
    let upstream = site.upstreams.get("api").context("no upstream")?;
    upstream.answer(Answer { instead: Some(Instead::Stall(Vec::new())), ..Answer::default() });
    let connection = Connection::open(gateway.port())?;
    let request = request(site, &caller, "POST", "/api/a")?;
    let asked = connection.within(async {
        let (mut sender, mut asked) = (connection.sender.clone(), 0);
        while asked < 2000 {
            let Ok(ready) = sender.ready().await else { break };
            sender = ready;
            let Ok((answer, mut send)) = sender.send_request(request.clone(), false) else { break };
            tokio::time::sleep(Duration::from_millis(2)).await;
            send.send_reset(Reason::CANCEL);
            drop(answer);
            asked += 1;
        }
        asked
    })?;
    let mut lines = Vec::new();
    // Half of 500, and what was on its way: more on a machine that is busy.
    expect(&mut lines, &format!("cut off ({asked})"), true, (250..1000).contains(&asked));
    upstream.answer(Answer::default());
    site.take_forwarded();
    let next = caller.request(site, "api.test", "/api/next", Some("slack"));
    // Their records have to be written first.
    let served = until(PATIENCE, || (gateway.ask(&next).ok()?.status() == 200).then_some(()));
    expect(&mut lines, "the next one", Some(()), served);
    site.take_forwarded();
    seen.keep(site, gateway)?;
    Ok(lines)
}
