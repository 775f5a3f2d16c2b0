//! What a module has written into a message, as it leaves: refused, or exactly one message
//! that says the same to a reader of its own.

use bytes::BytesMut;
use postern_runtime::http1::{Encoder, Framing};
use postern_runtime::proxy::fields::{Content, Leaving, request_leaves, response_leaves};
use postern_runtime::view::Pairs;

use crate::source::Source;
use crate::wire::{self, Kind};

/// Takes any bytes and may only return.
pub fn fuzz_leave(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let flags = source.byte();
    let content = source.block();
    let mut pairs = Pairs::new();
    while !source.is_empty() {
        let name = NAMES.get(usize::from(source.byte()));
        let name = name.map_or_else(|| source.block().to_vec(), |name| name.as_bytes().to_vec());
        pairs.push((name, source.block().to_vec()));
    }
    request(&pairs, content, flags);
    response(&pairs, content, flags);
}

/// Names that mean something; others come from the input.
const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":authority",
    ":status",
    ":scheme",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
];

fn framing(content: Content) -> Framing {
    match content {
        Content::None => Framing::None,
        Content::Length(length) => Framing::Length(length),
        Content::Chunked => Framing::Chunked,
        Content::Tunnel => Framing::Tunnel,
    }
}

/// Whether the content fits what was said of it.
fn written(encoder: &mut Encoder, out: &mut BytesMut, content: &[u8]) -> bool {
    (content.is_empty() || encoder.data(out, content).is_ok()) && encoder.end(out).is_ok()
}

fn request(pairs: &Pairs, content: &[u8], flags: u8) {
    let Ok(head) = request_leaves(pairs, flags & 1 != 0) else { return };
    let (mut out, framing) = (BytesMut::new(), framing(head.content));
    let encoder = Encoder::request(&mut out, &head.method, &head.target, &head.fields, framing);
    let Ok(mut encoder) = encoder else { return };
    if written(&mut encoder, &mut out, content) {
        one(&out, Kind::Request, content);
    }
}

fn response(pairs: &Pairs, content: &[u8], flags: u8) {
    let date = "Thu, 26 Nov 2026 05:17:14 GMT";
    let leaving = Leaving {
        date,
        close: flags & 2 != 0,
        end: flags & 1 != 0,
        head: flags & 4 != 0,
        http2: false,
        upgrade: false,
    };
    let Ok(head) = response_leaves(pairs, &leaving) else { return };
    let silent = leaving.head || matches!(head.status, 204 | 304);
    let framing = if silent { Framing::None } else { framing(head.content) };
    let mut out = BytesMut::new();
    let Ok(mut encoder) = Encoder::response(&mut out, head.status, &head.fields, framing) else {
        return;
    };
    // What has no framing goes on until the end, which the reader is not told of here.
    if written(&mut encoder, &mut out, content) {
        let content_possible = !silent && framing != Framing::None;
        one(&out, Kind::Answer { content: content_possible }, content);
    }
}

/// Exactly one message, with this content.
fn one(bytes: &[u8], kind: Kind, content: &[u8]) {
    let read = wire::read(bytes, kind);
    let read = read.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    let (message, length) = read.unwrap_or_else(|| panic!("not whole: {}", bytes.escape_ascii()));
    assert_eq!(length, bytes.len(), "bytes behind the message: {}", bytes.escape_ascii());
    assert_eq!(message.content, content, "content: {}", bytes.escape_ascii());
}
