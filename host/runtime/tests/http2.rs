//! The gateway between callers and upstreams that speak HTTP/2.

mod gateway;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::sleep;

use gateway::{PATIENCE, front, gateway, run, stat, wait_for};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const HTTP2: &str = r#"typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}"#;

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
                // Of what is cut off in between nobody counts the last ones.
                let counted = wait_for(&running, "http.in.downstream_rq_total", asked);
                let _ = tokio::time::timeout(Duration::from_secs(5), counted).await;
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
