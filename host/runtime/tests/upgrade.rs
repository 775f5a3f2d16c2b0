//! WebSocket through the gateway (RFC 6455): bytes of another protocol, both ways.

mod gateway;

use postern_runtime::serve::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use gateway::{front, gateway, run, wait_for};

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
