//! The gateway between callers and upstreams that speak HTTP/2.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use postern_runtime::config::Gateway;
use postern_runtime::serve::{Options, Running, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const HTTP2: &str = r#"typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}"#;

/// A gateway with one listener and one cluster; what is added to each, and where it leads.
fn gateway(manager: &str, cluster: &str, upstream: u16) -> Running {
    let text = format!(
        r#"
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          {manager}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: in
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: up, timeout: 60s}}
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 1s
    {cluster}
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"#
    );
    start(Gateway::parse(&text).unwrap(), Options::default()).unwrap()
}

fn front(running: &Running) -> SocketAddr {
    running.report().listeners[0].address
}

/// Runs a test on one thread, and not for ever.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(PATIENCE, test).await.unwrap() });
}

/// A connection to the gateway; it lives as long as its requests.
async fn caller(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(async move { drop(connection.await) });
    sender
}

fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://a.test{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

/// One request that an upstream got.
struct Got {
    request: http::request::Parts,
    content: RecvStream,
    answer: SendResponse<Bytes>,
}

/// An upstream: its port, the requests that come, and the connections that have come.
async fn upstream(streams: u32) -> (u16, UnboundedReceiver<Got>, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = unbounded_channel();
    let connections = Rc::new(Cell::new(0));
    let count = Rc::clone(&connections);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.set(count.get() + 1);
            spawn_local(serve(stream, streams, sender.clone()));
        }
    });
    (port, requests, connections)
}

async fn serve(stream: TcpStream, streams: u32, requests: UnboundedSender<Got>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let (request, content) = request.into_parts();
        let _ = requests.send(Got { request, content, answer });
    }
}

async fn read(mut content: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut all = Vec::new();
    while let Some(bytes) = content.data().await {
        let bytes = bytes.unwrap();
        content.flow_control().release_capacity(bytes.len()).unwrap();
        all.extend_from_slice(&bytes);
    }
    (all, content.trailers().await.unwrap())
}

fn trailers(name: &'static str) -> HeaderMap {
    [(http::HeaderName::from_static(name), http::HeaderValue::from_static("1"))]
        .into_iter()
        .collect()
}

/// The value of a counter or gauge.
async fn stat(running: &Running, name: &str) -> u64 {
    let mut admin = TcpStream::connect(running.report().admin.unwrap()).await.unwrap();
    admin.write_all(b"GET /stats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    admin.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse().unwrap()
}

async fn wait_for(running: &Running, name: &str, value: u64) {
    while stat(running, name).await != value {
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn content_and_trailers_pass_both_ways() {
    run(async {
        let (port, mut requests, _) = upstream(100).await;
        let running = gateway("codec_type: AUTO", HTTP2, port);
        let mut caller = caller(front(&running)).await;
        let mut asked = request("POST", "/a?b");
        asked.headers_mut().insert("te", "trailers".parse().unwrap());
        let (answer, mut send) = caller.send_request(asked, false).unwrap();
        send.send_data("question".into(), false).unwrap();
        send.send_trailers(trailers("x-asked")).unwrap();
        let Got { request, content, answer: mut answers } = requests.recv().await.unwrap();
        assert_eq!((request.method.as_str(), request.uri.path()), ("POST", "/a"));
        assert_eq!(request.uri.authority().unwrap(), "a.test");
        assert_eq!(request.headers["te"], "trailers");
        assert!(!request.headers.contains_key("transfer-encoding"));
        assert_eq!(read(content).await, (b"question".to_vec(), Some(trailers("x-asked"))));
        let mut back = answers.send_response(Response::new(()), false).unwrap();
        back.send_data("answer".into(), false).unwrap();
        back.send_trailers(trailers("x-answered")).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["server"], "postern");
        assert!(!answer.headers().contains_key("transfer-encoding"));
        let got = read(answer.into_body()).await;
        assert_eq!(got, (b"answer".to_vec(), Some(trailers("x-answered"))));
    });
}

#[test]
fn requests_at_once_share_a_connection_until_the_upstream_takes_no_more() {
    for (streams, connections) in [(100, 1), (10, 4)] {
        run(async move {
            let (port, mut requests, made) = upstream(streams).await;
            let running = gateway("codec_type: HTTP2", HTTP2, port);
            let mut caller = caller(front(&running)).await;
            // The first one tells how many may run.
            let first = caller.send_request(request("GET", "/"), true).unwrap().0;
            let mut held = vec![requests.recv().await.unwrap()];
            wait_for(&running, "cluster.up.upstream_rq_active", 1).await;
            let mut answers = vec![first];
            for _ in 1..40 {
                answers.push(caller.send_request(request("GET", "/"), true).unwrap().0);
                held.push(requests.recv().await.unwrap());
            }
            assert_eq!(made.get(), connections);
            for mut got in held {
                got.answer.send_response(Response::new(()), true).unwrap();
            }
            for answer in answers {
                assert_eq!(answer.await.unwrap().status(), 200);
            }
            wait_for(&running, "cluster.up.upstream_rq_active", 0).await;
        });
    }
}

#[test]
fn a_stream_that_is_cut_leaves_both_connections_to_the_others() {
    run(async {
        let (port, mut requests, made) = upstream(100).await;
        let running = gateway("codec_type: AUTO", HTTP2, port);
        let mut caller = caller(front(&running)).await;
        let (answer, mut send) = caller.send_request(request("POST", "/cut"), false).unwrap();
        let mut cut = requests.recv().await.unwrap();
        send.send_reset(Reason::CANCEL);
        let reason = poll_fn(|cx| cut.answer.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::CANCEL);
        drop(answer);
        let answer = caller.send_request(request("GET", "/next"), true).unwrap().0;
        let mut next = requests.recv().await.unwrap();
        next.answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        // The upstream cuts the next one.
        let answer = caller.send_request(request("GET", "/refused"), true).unwrap().0;
        let mut refused = requests.recv().await.unwrap();
        refused.answer.send_reset(Reason::REFUSED_STREAM);
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 503);
        let text = String::from_utf8(read(answer.into_body()).await.0).unwrap();
        assert!(text.ends_with("reset reason: remote refused stream reset"), "{text}");
        assert_eq!(made.get(), 1);
        wait_for(&running, "http.in.downstream_rq_active", 0).await;
        assert_eq!(stat(&running, "http.in.downstream_rq_total").await, 3);
    });
}

#[test]
fn an_upstream_that_leaves_is_replaced_and_what_it_refused_is_said() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let running = gateway("codec_type: AUTO", HTTP2, port);
        let mut caller = caller(front(&running)).await;
        for turn in 0..2 {
            let answer = caller.send_request(request("GET", "/"), true).unwrap().0;
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut back) = connection.accept().await.unwrap().unwrap();
            back.send_response(Response::new(()), true).unwrap();
            // Says `GOAWAY`, lets what runs end, and closes.
            connection.graceful_shutdown();
            spawn_local(async move { while connection.accept().await.is_some() {} });
            assert_eq!(answer.await.unwrap().status(), 200, "{turn}");
            wait_for(&running, "cluster.up.upstream_cx_active", 0).await;
        }
        assert_eq!(stat(&running, "cluster.up.upstream_cx_total").await, 2);
    });
}

#[test]
fn what_a_slow_reader_does_not_take_waits_with_the_upstream() {
    run(async {
        let (port, mut requests, _) = upstream(100).await;
        let options = "http2_protocol_options: {initial_stream_window_size: 65535}";
        let running = gateway(options, HTTP2, port);
        let mut caller = caller(front(&running)).await;
        let slow = caller.send_request(request("GET", "/slow"), true).unwrap().0;
        let mut got = requests.recv().await.unwrap();
        let mut back = got.answer.send_response(Response::new(()), false).unwrap();
        let slow = slow.await.unwrap();
        const WHOLE: usize = 64 << 20;
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        spawn_local(async move {
            while counted.get() < WHOLE {
                back.reserve_capacity(64 * 1024);
                let given = poll_fn(|cx| back.poll_capacity(cx)).await.unwrap().unwrap();
                let given = given.min(WHOLE - counted.get());
                counted.set(counted.get() + given);
                let end = counted.get() == WHOLE;
                back.send_data(vec![b'y'; given].into(), end).unwrap();
            }
        });
        // The other stream of the connection is not slowed down by it.
        let mut before = usize::MAX;
        while before != sent.get() {
            before = sent.get();
            let quick = caller.send_request(request("GET", "/quick"), true).unwrap().0;
            let mut got = requests.recv().await.unwrap();
            got.answer.send_response(Response::new(()), true).unwrap();
            assert_eq!(quick.await.unwrap().status(), 200);
            sleep(Duration::from_millis(200)).await;
        }
        // The window of the upstream's stream, and what the gateway holds of one.
        assert!(before < (16 << 20) + (1 << 20), "{before}");
        let (content, _) = read(slow.into_body()).await;
        assert_eq!(content.len(), WHOLE);
    });
}

#[test]
fn an_upload_waits_with_its_caller() {
    run(async {
        let (port, mut requests, _) = upstream(100).await;
        let options = "http2_protocol_options: {initial_stream_window_size: 65535, \
                       initial_connection_window_size: 65535}";
        let running = gateway(options, HTTP2, port);
        let mut caller = caller(front(&running)).await;
        let (answer, mut send) = caller.send_request(request("POST", "/"), false).unwrap();
        let mut got = requests.recv().await.unwrap();
        const WHOLE: usize = 8 << 20;
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        spawn_local(async move {
            while counted.get() < WHOLE {
                send.reserve_capacity(WHOLE - counted.get());
                let given = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
                counted.set(counted.get() + given);
                let end = counted.get() == WHOLE;
                send.send_data(vec![b'y'; given].into(), end).unwrap();
            }
        });
        let mut before = usize::MAX;
        while before != sent.get() {
            before = sent.get();
            sleep(Duration::from_millis(200)).await;
        }
        assert!(before < 1 << 20, "{before}");
        let content = read(got.content).await.0;
        assert_eq!(content.len(), WHOLE);
        got.answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    });
}

#[test]
fn a_caller_that_only_resets_is_cut_off() {
    run(async {
        let (port, mut requests, _) = upstream(1000).await;
        spawn_local(async move {
            let mut held = Vec::new();
            while let Some(got) = requests.recv().await {
                held.push(got);
            }
        });
        let running = gateway("codec_type: AUTO", HTTP2, port);
        let mut caller = caller(front(&running)).await;
        let mut asked = 0;
        while let Ok(mut ready) = caller.clone().ready().await {
            let Ok((answer, mut send)) = ready.send_request(request("POST", "/"), false) else {
                break;
            };
            asked += 1;
            assert!(asked < 1000);
            if asked % 10 == 0 {
                wait_for(&running, "http.in.downstream_rq_total", asked).await;
            }
            send.send_reset(Reason::CANCEL);
            drop(answer);
            caller = ready;
        }
        assert!((250..300).contains(&asked), "{asked}");
        wait_for(&running, "http.in.downstream_rq_active", 0).await;
        wait_for(&running, "cluster.up.upstream_rq_active", 0).await;
    });
}

#[test]
fn fields_beyond_the_limits_reset_their_stream_only() {
    run(async {
        let (port, mut requests, _) = upstream(100).await;
        let running = gateway("max_request_headers_kb: 8", HTTP2, port);
        let mut caller = caller(front(&running)).await;
        let many = (0..101).map(|number| (format!("x{number}"), "y".to_owned())).collect();
        let large = vec![("x".to_owned(), "y".repeat(9 << 10))];
        for lines in [large, many] {
            let mut asked = request("GET", "/");
            for (name, value) in lines {
                let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
                asked.headers_mut().append(name, value.parse().unwrap());
            }
            let error = caller.send_request(asked, true).unwrap().0.await.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        }
        let answer = caller.send_request(request("GET", "/"), true).unwrap().0;
        let mut got = requests.recv().await.unwrap();
        got.answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        assert_eq!(stat(&running, "http.in.downstream_rq_total").await, 3);
    });
}

#[test]
fn a_listener_speaks_what_its_file_says() {
    let get = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".as_slice();
    let rows = [
        ("AUTO", get, "HTTP/1.1 503"),
        ("HTTP1", get, "HTTP/1.1 503"),
        ("HTTP1", PREFACE, "HTTP/1.1 400"),
        ("AUTO", b"PRI * HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
    ];
    run(async {
        for (codec, bytes, want) in rows {
            let running = gateway(&format!("codec_type: {codec}"), "", 9);
            let mut stream = TcpStream::connect(front(&running)).await.unwrap();
            for byte in bytes {
                stream.write_all(&[*byte]).await.unwrap();
            }
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got).await;
            let got = String::from_utf8_lossy(&got);
            assert!(got.starts_with(want), "{codec} {got:?}");
        }
        let running = gateway("codec_type: HTTP2", "", 9);
        let mut stream = TcpStream::connect(front(&running)).await.unwrap();
        stream.write_all(get).await.unwrap();
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        assert!(!got.starts_with(b"HTTP/1.1"));
    });
}

#[test]
fn what_cannot_be_read_is_counted_and_ends_its_connection() {
    // HEADERS that end stream 1: an indexed `:method`, and nothing else.
    let short = [PREFACE, b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82"].concat();
    // The same, and fields are to follow that never come.
    let half = [PREFACE, b"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82"].concat();
    run(async {
        for bytes in [short, half] {
            let running = gateway("request_headers_timeout: 0.2s", "", 9);
            let mut stream = TcpStream::connect(front(&running)).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got).await;
            wait_for(&running, "http.in.downstream_rq_total", 1).await;
            wait_for(&running, "http.in.downstream_rq_active", 0).await;
        }
    });
}

#[test]
fn an_idle_connection_is_told_to_go_and_a_busy_one_is_not() {
    run(async {
        let (port, mut requests, _) = upstream(100).await;
        let running = gateway("common_http_protocol_options: {idle_timeout: 0.3s}", HTTP2, port);
        let stream = TcpStream::connect(front(&running)).await.unwrap();
        let (mut caller, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = spawn_local(connection);
        let answer = caller.send_request(request("GET", "/"), true).unwrap().0;
        let mut got = requests.recv().await.unwrap();
        sleep(Duration::from_millis(600)).await;
        assert!(!ended.is_finished());
        got.answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        ended.await.unwrap().unwrap();
        wait_for(&running, "http.in.downstream_cx_active", 0).await;
    });
}

#[test]
fn the_gateway_ends_after_the_streams_that_run() {
    run(async {
        let (port, mut requests, _) = upstream(100).await;
        let running = gateway("codec_type: AUTO", HTTP2, port);
        let stream = TcpStream::connect(front(&running)).await.unwrap();
        let (mut caller, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = spawn_local(connection);
        let answer = caller.send_request(request("GET", "/"), true).unwrap().0;
        let mut got = requests.recv().await.unwrap();
        let stopping = std::thread::spawn(move || running.stop(PATIENCE));
        // Refused from the moment that the caller knows.
        while caller.clone().ready().await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
        got.answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        ended.await.unwrap().unwrap();
        stopping.join().unwrap();
    });
}

const ASK: &str =
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// A caller that has sent these bytes, and what the upstream has got of them.
async fn asks(manager: &str, bytes: &str) -> (Running, TcpStream, TcpStream, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = gateway(manager, "", port);
    let mut caller = TcpStream::connect(front(&running)).await.unwrap();
    caller.write_all(bytes.as_bytes()).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    (running, caller, upstream, head)
}

const WEBSOCKET: &str = "upgrade_configs: [{upgrade_type: websocket}]";

#[test]
fn another_protocol_passes_both_ways_until_one_side_ends_it() {
    run(async {
        for caller_ends in [true, false] {
            let (running, mut caller, mut upstream, head) = asks(WEBSOCKET, ASK).await;
            assert!(head.contains("\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"), "{head}");
            assert!(!head.contains("content-length") && !head.contains("chunked"), "{head}");
            // Before the upstream has agreed.
            caller.write_all(b"early").await.unwrap();
            assert_eq!(read_until(&mut upstream, "early").await, "early");
            upstream.write_all(format!("{AGREE}\r\nGET / HTTP/1.1\r\n").as_bytes()).await.unwrap();
            let answer = read_until(&mut caller, "\r\n\r\n").await;
            assert!(answer.starts_with(AGREE), "{answer}");
            assert!(!answer.contains("close") && !answer.contains("chunked"), "{answer}");
            assert_eq!(read_until(&mut caller, "1.1\r\n").await, "GET / HTTP/1.1\r\n");
            let large = vec![b'y'; 4 << 20];
            let (mut from, mut to) = (caller, upstream);
            let (_, got) = tokio::join!(from.write_all(&large), async {
                let mut got = vec![0; large.len()];
                to.read_exact(&mut got).await.unwrap();
                got
            });
            assert_eq!(got, large);
            (caller, upstream) = (from, to);
            let (gone, mut left) =
                if caller_ends { (caller, upstream) } else { (upstream, caller) };
            drop(gone);
            assert_eq!(left.read(&mut [0]).await.unwrap_or(0), 0);
            wait_for(&running, "http.in.downstream_rq_active", 0).await;
            wait_for(&running, "cluster.up.upstream_cx_active", 0).await;
        }
    });
}

#[test]
fn an_upstream_that_stays_with_http_ends_the_connection_with_its_answer() {
    run(async {
        let (_running, mut caller, mut upstream, _) = asks(WEBSOCKET, ASK).await;
        upstream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\ncontent-length: 0\r\n\r\n"), "{answer}");
    });
}

#[test]
fn a_tunnel_on_which_nothing_moves_ends() {
    run(async {
        let manager = &format!("stream_idle_timeout: 0.3s\n          {WEBSOCKET}");
        let (_running, mut caller, mut upstream, _) = asks(manager, ASK).await;
        upstream.write_all(format!("{AGREE}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(AGREE) && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(upstream.read(&mut [0]).await.unwrap_or(0), 0);
    });
}

#[test]
fn another_protocol_is_refused_unless_the_file_names_it_and_nothing_stands_before_it() {
    let other = ASK.replace("websocket", "foo");
    let list = ASK.replace("websocket", "foo, websocket");
    let length = ASK.replace("\r\n\r\n", "\r\ncontent-length: 1\r\n\r\na");
    let chunks = ASK.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    let rows = [
        ("codec_type: AUTO", ASK),
        (WEBSOCKET, &other),
        (WEBSOCKET, &list),
        (WEBSOCKET, &length),
        (WEBSOCKET, &chunks),
    ];
    run(async move {
        for (manager, bytes) in rows {
            let running = gateway(manager, "", 9);
            let mut caller = TcpStream::connect(front(&running)).await.unwrap();
            caller.write_all(bytes.as_bytes()).await.unwrap();
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{bytes} {answer}");
        }
    });
}
