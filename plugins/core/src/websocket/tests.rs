//! Frames and handshakes in rows.

use super::*;

/// What is in these bytes, cut into pieces of `cut` bytes.
fn read_cut(from: Side, bytes: &[u8], cut: usize) -> (Vec<String>, Result<(), Fault>) {
    let mut reader = Reader::new(from, 1000);
    let (mut seen, mut open) = (Vec::new(), String::new());
    let mut result = Ok(());
    for chunk in bytes.chunks(cut) {
        result = reader.feed(chunk, &mut |piece| {
            match piece {
                Piece::Text(text) => open.push_str(&String::from_utf8_lossy(text)),
                Piece::End => seen.push(std::mem::take(&mut open)),
                Piece::Control(opcode, payload) => {
                    seen.push(format!("{opcode:?} {}", String::from_utf8_lossy(payload)));
                }
            }
            true
        });
        if result.is_err() {
            break;
        }
    }
    if !reader.is_between() && result.is_ok() {
        seen.push("…".to_owned());
    }
    (seen, result)
}

fn read(from: Side, bytes: &[u8]) -> (Vec<String>, Result<(), Fault>) {
    let whole = read_cut(from, bytes, bytes.len().max(1));
    for cut in 1..8 {
        assert_eq!(read_cut(from, bytes, cut), whole, "cut at {cut}: {bytes:x?}");
    }
    whole
}

/// The examples of RFC 6455 5.7.
#[test]
fn the_examples_of_the_rfc_are_read() {
    for (from, bytes, expected) in [
        (Side::Server, &b"\x81\x05Hello"[..], "Hello"),
        (Side::Client, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "Hello"),
        (Side::Server, b"\x01\x03Hel\x80\x02lo", "Hello"),
        (Side::Server, b"\x89\x05Hello", "Ping Hello"),
        (Side::Client, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "Pong Hello"),
    ] {
        assert_eq!(read(from, bytes), (vec![expected.to_owned()], Ok(())), "{bytes:x?}");
    }
}

#[test]
fn messages_in_fragments_have_control_frames_between_them() {
    for (bytes, expected) in [
        (&b"\x01\x01a\x89\x01p\x00\x00\x80\x01b\x81\x00"[..], &["Ping p", "ab", ""][..]),
        (b"\x88\x00", &["Close "]),
        (b"\x88\x04\x03\xe8by", &["Close \u{3}\u{fffd}by"]),
        (b"\x81\x01a\x88\x02\x03\xe8", &["a", "Close \u{3}\u{fffd}"]),
        (b"\x01\x01a", &["…"]),
        (b"\x81", &["…"]),
        (b"\x81\x05He", &["…"]),
        (b"", &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(read(Side::Server, bytes), (expected, Ok(())), "{bytes:x?}");
    }
}

#[test]
fn what_is_no_frame_of_text_ends_the_reading() {
    use Side::*;
    for (why, from, bytes) in [
        ("binary", Server, &b"\x82\x01a"[..]),
        ("binary in fragments", Server, b"\x02\x01a"),
        ("compressed (RFC 7692)", Server, b"\xc1\x01a"),
        ("second reserved bit", Server, b"\xa1\x01a"),
        ("third reserved bit", Server, b"\x91\x01a"),
        ("reserved bit of a ping", Server, b"\xc9\x00"),
        ("reserved data opcode", Server, b"\x83\x00"),
        ("reserved control opcode", Server, b"\x8b\x00"),
        ("another", Server, b"\x8f\x00"),
        ("a ping in fragments", Server, b"\x09\x00"),
        ("a close in fragments", Server, b"\x08\x00"),
        ("a long ping", Server, b"\x89\x7e\x00\x7e"),
        ("a ping with a long length", Server, b"\x89\x7f\0\0\0\0\0\0\0\x01a"),
        ("a masked server", Server, b"\x81\x81\0\0\0\0a"),
        ("a client without a mask", Client, b"\x81\x01a"),
        ("a length in two bytes too many", Server, b"\x81\x7e\x00\x7d"),
        ("a length in eight bytes too many", Server, b"\x81\x7f\0\0\0\0\0\0\xff\xff"),
        ("a length with its first bit", Server, b"\x81\x7f\x80\0\0\0\0\x01\0\0"),
        ("a continuation of nothing", Server, b"\x80\x01a"),
        ("a continuation behind an end", Server, b"\x81\x01a\x80\x01b"),
        ("a message inside a message", Server, b"\x01\x01a\x81\x01b"),
        ("text behind a close", Server, b"\x88\x00\x81\x01a"),
        ("a close behind a close", Server, b"\x88\x00\x88\x00"),
        ("a close of one byte", Server, b"\x88\x01\x03"),
        ("HTTP", Server, b"HTTP/1.1 200 OK"),
        ("HTTP of a client", Client, b"GET / HTTP/1.1"),
    ] {
        assert_eq!(read(from, bytes).1, Err(Fault::Frame), "{why}");
    }
}

#[test]
fn a_message_has_a_greatest_length_over_all_its_frames() {
    let text = |length: usize, fin: u8, opcode: u8| {
        let mut bytes = frame(Opcode::Text, &vec![b'x'; length]);
        bytes[0] = fin | opcode;
        bytes
    };
    assert_eq!(read(Side::Server, &text(1000, 0x80, 1)).1, Ok(()));
    assert_eq!(read(Side::Server, &text(1001, 0x80, 1)).1, Err(Fault::TooLong));
    let halves = [text(500, 0, 1), text(501, 0x80, 0)].concat();
    assert_eq!(read(Side::Server, &halves).1, Err(Fault::TooLong));
    // Refused by its header, before any of it is there.
    assert_eq!(
        read(Side::Server, b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff").1,
        Err(Fault::TooLong)
    );
}

#[test]
fn what_is_written_reads_back_in_the_shortest_form() {
    for (length, header) in [
        (0, &[0x81, 0][..]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 0xff, 0xff]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let bytes = frame(Opcode::Text, &vec![b'x'; length]);
        assert_eq!(&bytes[..header.len()], header);
        let mut reader = Reader::new(Side::Server, length);
        let mut read = 0;
        let result = reader.feed(&bytes, &mut |piece| {
            read += if let Piece::Text(text) = piece { text.len() } else { 0 };
            true
        });
        assert_eq!((result, read, reader.is_between()), (Ok(()), length, true));
    }
}

#[test]
fn a_reading_that_was_refused_stays_so() {
    let mut reader = Reader::new(Side::Server, 10);
    assert_eq!(reader.feed(b"\x81\x01a", &mut |_| false), Err(Fault::Refused));
    assert_eq!(reader.feed(b"\x81\x01a", &mut |_| true), Err(Fault::Refused));
    assert_eq!(reader.feed(b"", &mut |_| true), Err(Fault::Refused));
}

const HANDSHAKE: &[(&str, &str)] = &[
    (":method", "GET"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

fn asked(change: (&str, Option<&str>), more: &[(&str, &str)]) -> bool {
    let kept = HANDSHAKE.iter().filter(|(name, _)| *name != change.0).copied();
    let changed = change.1.map(|value| (change.0, value));
    is_asked(&kept.chain(changed).chain(more.iter().copied()).collect())
}

#[test]
fn a_handshake_is_exactly_that_of_the_rfc() {
    assert!(asked(("", None), &[]));
    for (name, value) in
        [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"), ("connection", "upgrade")]
    {
        assert!(asked((name, Some(value)), &[]), "{name}: {value}");
    }
    for (name, value) in [
        (":method", Some("POST")),
        (":method", Some("CONNECT")),
        ("upgrade", None),
        ("upgrade", Some("h2c")),
        ("upgrade", Some("websocket, h2c")),
        ("connection", None),
        ("connection", Some("keep-alive")),
        ("connection", Some("upgrade, authorization")),
        ("sec-websocket-version", None),
        ("sec-websocket-version", Some("8")),
        ("sec-websocket-version", Some("13, 8")),
        ("sec-websocket-key", None),
        ("sec-websocket-key", Some("")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZ-==")),
    ] {
        assert!(!asked((name, value), &[]), "{name}: {value:?}");
    }
    for more in [
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        (":protocol", "websocket"),
        ("http2-settings", "AAMAAABk"),
    ] {
        assert!(!asked(("", None), &[more]), "{more:?}");
    }
}

#[test]
fn an_answer_agrees_to_the_protocol_and_to_no_extension() {
    let agreed = |lines: &[(&str, &str)]| is_agreed(&lines.iter().copied().collect());
    assert!(agreed(&[("upgrade", "WebSocket")]));
    assert!(!agreed(&[]));
    assert!(!agreed(&[("upgrade", "h2c")]));
    assert!(!agreed(&[("upgrade", "websocket"), ("upgrade", "websocket")]));
    assert!(!agreed(&[("upgrade", "websocket"), (EXTENSIONS, "permessage-deflate")]));
    assert!(!agreed(&[("upgrade", "websocket"), (EXTENSIONS, "")]));
}
