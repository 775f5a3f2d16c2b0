//! WebSockets that were opened with a credential: what leaves of each side.

use proptest::prelude::*;

use super::world::*;
use crate::effect::Flow;
use crate::event::Event;

const AGREED: &[(&str, &str)] = &[("upgrade", "websocket"), ("connection", "upgrade")];

fn open() -> World {
    let (mut world, _) = World::websocket(&[]);
    assert_eq!(world.answer("101", AGREED, false), [""; 0]);
    assert_eq!(world.flow(), Flow::Continue);
    world
}

fn says(world: &mut World, bytes: &[u8]) -> Vec<String> {
    world.handle(Event::ResponseBody { chunk: bytes.to_vec(), end: false })
}

fn sends(world: &mut World, bytes: &[u8]) -> Vec<String> {
    world.handle(Event::RequestBody { chunk: bytes.to_vec(), end: false })
}

fn was_cut(effects: &[String], reason: &str) {
    assert_eq!(effects.last().map(String::as_str), Some("reset"), "{reason}: {effects:?}");
    assert!(effects.iter().any(|line| line.contains(&format!("\"{reason}\""))), "{effects:?}");
}

#[test]
fn a_handshake_leaves_with_the_credential_and_without_extensions() {
    let (world, effects) = World::websocket(&[("sec-websocket-extensions", "permessage-deflate")]);
    for expected in
        ["inject authorization: Bearer s3cret-Value", "remove request sec-websocket-extensions"]
    {
        assert!(effects.iter().any(|line| line == expected), "{expected}: {effects:?}");
    }
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn a_binding_without_leave_opens_none() {
    let mut world = World::new();
    let sealed = world.permit(&["slack"]);
    let effects = world.head(sealed, HANDSHAKE);
    assert_eq!(effects.last().unwrap(), "reply 403 credential_not_allowed");
    assert!(effects[0].contains("\"credential_websocket\""), "{effects:?}");
}

#[test]
fn messages_of_the_upstream_are_scrubbed_whole() {
    for (bytes, expected) in [
        (&b"\x81\x05Hello"[..], None),
        (b"\x89\x01p", None),
        (b"\x81\x0e<s3cret-Value>", Some("\u{fffd}\u{3}<*>")),
        // In fragments, with a ping between them: one frame, behind the ping.
        (
            b"\x01\x03a s\x89\x01p\x00\x053cret\x80\x06-Value",
            Some("\u{fffd}\u{1}p\u{fffd}\u{3}a *"),
        ),
        (b"\x01\x01a\x80\x01b", Some("\u{fffd}\u{2}ab")),
        (b"\x01\x05Hello", Some("")),
    ] {
        let expected: Vec<String> =
            expected.iter().map(|text| format!("replace response {text}")).collect();
        let effects = says(&mut open(), bytes);
        let replaced: Vec<String> =
            effects.into_iter().filter(|line| line.starts_with("replace")).collect();
        assert_eq!(replaced, expected, "{bytes:x?}");
    }
}

#[test]
fn a_frame_leaves_when_its_message_is_whole() {
    let mut world = open();
    assert_eq!(says(&mut world, b"\x81"), ["replace response "]);
    assert_eq!(says(&mut world, b"\x0cs3cret"), ["replace response "]);
    let effects = says(&mut world, b"-Value\x81\x02ok");
    assert_eq!(effects[0], "replace response \u{fffd}\u{1}*\u{fffd}\u{2}ok");
    assert!(effects.iter().any(|line| line.ends_with("hits 1")), "{effects:?}");
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn what_an_upstream_must_not_say_cuts() {
    for (reason, bytes) in [
        ("websocket_frame", b"\x82\x01a".to_vec()),
        ("websocket_frame", b"\xc1\x01a".to_vec()),
        ("websocket_frame", b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec()),
        ("websocket_frame", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("websocket_message", b"\x81\x7f\0\0\0\0\0\x04\0\x01".to_vec()),
        ("websocket_control", b"\x89\x0cs3cret-Value".to_vec()),
        ("websocket_control", b"\x8a\x0cs3cret-Value".to_vec()),
        ("websocket_control", b"\x88\x0e\x03\xe8s3cret-Value".to_vec()),
    ] {
        let mut world = open();
        was_cut(&says(&mut world, &bytes), reason);
        assert_eq!(world.flow(), Flow::Pause);
        assert_eq!(says(&mut world, b"\x81\x01a"), [""; 0]);
    }
}

#[test]
fn what_a_caller_must_not_send_cuts_here_too() {
    for bytes in [&b"\x81\x01a"[..], b"\x82\x81\0\0\0\0a", b"GET / HTTP/1.1\r\n\r\n"] {
        was_cut(&sends(&mut open(), bytes), "websocket_frame");
    }
    let mut world = open();
    assert_eq!(sends(&mut world, b"\x81\x81\0\0\0\0a"), [""; 0]);
    assert_eq!(world.handle(Event::RequestBody { chunk: vec![], end: true }), [""; 0]);
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn bytes_before_the_answer_cut() {
    let (mut world, _) = World::websocket(&[]);
    assert_eq!(sends(&mut world, b""), [""; 0]);
    was_cut(&sends(&mut world, b"\x81\x81\0\0\0\0a"), "websocket_frame");
}

#[test]
fn an_agreement_to_anything_else_is_refused() {
    for more in [
        &[][..],
        &[("upgrade", "h2c")],
        &[("upgrade", "websocket"), ("sec-websocket-extensions", "permessage-deflate")],
    ] {
        let (mut world, _) = World::websocket(&[]);
        let effects = world.answer("101", more, false);
        assert_eq!(effects.last().unwrap(), "reply 502 upstream_unscannable", "{more:?}");
        assert!(effects[0].contains("\"websocket_extensions\""), "{effects:?}");
    }
}

#[test]
fn an_agreement_is_scrubbed() {
    let (mut world, _) = World::websocket(&[]);
    let lines = [AGREED, &[("x-echo", "Bearer s3cret-Value")]].concat();
    let effects = world.answer("101", &lines, false);
    assert_eq!(effects[0], "set response x-echo: *");
}

#[test]
fn an_upstream_that_declines_gives_an_answer_like_any_other() {
    let (mut world, _) = World::websocket(&[]);
    let effects = world.answer("400", &[("x-echo", "s3cret-Value")], false);
    assert!(effects.contains(&"set response x-echo: *".to_owned()), "{effects:?}");
    assert_eq!(world.content("s3cret-Value", true)[0], "replace response *");
}

/// A piece of what an upstream writes: frames, their parts, and rubbish.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = |first: u8| {
        prop_oneof![Just("s3cret-Value"), Just("s3cret"), Just("-Value"), Just("x"), Just("")]
            .prop_map(move |text: &str| {
                [&[first, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
            })
    };
    prop_oneof![
        4 => text(0x81),
        4 => text(0x01),
        4 => text(0x00),
        4 => text(0x80),
        2 => text(0x89),
        1 => text(0x82),
        1 => Just(b"s3cret-Value".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// What leaves for the caller when these bytes come in pieces of `cut` bytes.
fn delivered(bytes: &[u8], cut: usize) -> String {
    let mut world = open();
    let mut out = String::new();
    for chunk in bytes.chunks(cut) {
        let effects = says(&mut world, chunk);
        if world.flow() == Flow::Pause {
            break;
        }
        let replaced = effects.iter().find_map(|line| line.strip_prefix("replace response "));
        let text = String::from_utf8_lossy(chunk);
        out.push_str(replaced.unwrap_or(&text));
    }
    out
}

proptest! {
    #[test]
    fn no_bytes_of_an_upstream_give_the_value_however_they_are_cut(
        pieces in prop::collection::vec(piece(), 0..8),
        cut in 1usize..16,
    ) {
        let bytes = pieces.concat();
        let out = delivered(&bytes, cut);
        prop_assert!(!out.contains(VALUE), "{out}");
        // What one cut leaves undelivered when the connection is cut, another may deliver.
        let whole = delivered(&bytes, 1);
        prop_assert!(whole.starts_with(&out), "{out:?} {whole:?}");
    }
}
