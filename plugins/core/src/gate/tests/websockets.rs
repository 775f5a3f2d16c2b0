//! WebSockets at the gate: which are opened, and what the caller may send.

use serde_json::json;

use super::fixture::*;
use crate::effect::Flow;
use crate::event::Event;

const HANDSHAKE: &[(&str, &str)] = &[
    (":method", "GET"),
    ("upgrade", "websocket"),
    ("connection", "keep-alive, Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// A gate with a binding that may open WebSockets, and those of the fixture that may not.
fn gate() -> Gate {
    let mut document = document();
    document["bindings"].as_array_mut().unwrap().extend([
        json!({
            "credential": "live", "tenant": "acme", "authority": "slack.com",
            "methods": ["GET"], "paths": ["/api/**"],
            "site": {"header": "Authorization", "style": "bearer"}, "websocket": "text",
        }),
        json!({
            "credential": "dead", "tenant": "acme", "authority": "slack.com",
            "methods": ["GET"], "paths": ["/api/**"],
            "site": {"header": "X-Dead", "style": "bearer"},
        }),
    ]);
    Gate::with(&document)
}

fn ask(gate: &Gate, more: &[(&str, &str)]) -> Run {
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[HANDSHAKE, more].concat()), false));
    run
}

fn open() -> Run {
    let mut run = ask(&gate(), &[("x-tap-credential", "live")]);
    let head = [(":status", "101"), ("upgrade", "websocket")].into_iter().collect();
    assert_eq!(run.event(body(b"")), Flow::Continue);
    assert_eq!(run.event(Event::ResponseHeaders { fields: head, end: false }), Flow::Continue);
    run
}

fn body(bytes: &[u8]) -> Event {
    Event::RequestBody { chunk: bytes.to_vec(), end: false }
}

/// A frame of a caller, in a mask.
fn frame(first: u8, text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    let length = u8::try_from(text.len()).unwrap();
    [&[first, 0x80 | length], &mask[..], &masked.collect::<Vec<u8>>()].concat()
}

#[test]
fn a_websocket_is_opened_where_its_binding_allows_it() {
    let run = ask(&gate(), &[("x-tap-credential", "live")]);
    let removed = ["x-tap-credential", "x-tap-key"];
    assert_eq!(run.outcome(), allowed(&["live. at authorization"], &removed));
    assert_eq!(run.set, ["connection: Upgrade"]);
}

#[test]
fn any_other_upgrade_is_refused() {
    let ambiguous = refused(400, "request_ambiguous", "upgrade");
    let without_leave = refused(403, "credential_not_allowed", "credential_websocket");
    for (gate, more, expected) in [
        (Gate::new(), &[("x-tap-credential", "slack")][..], &ambiguous),
        (gate(), &[], &ambiguous),
        (gate(), &[("x-tap-credential", "dead")], &without_leave),
        (
            gate(),
            &[("x-tap-credential", "live"), ("x-dead", "Bearer <CREDENTIAL:dead>")],
            &without_leave,
        ),
        (gate(), &[("x-tap-credential", "live"), ("upgrade", "h2c")], &ambiguous),
        (gate(), &[("x-tap-credential", "live"), ("content-length", "3")], &ambiguous),
        (gate(), &[("x-tap-credential", "live"), (":protocol", "websocket")], &ambiguous),
    ] {
        assert_eq!(ask(&gate, more).outcome(), *expected, "{more:?}");
    }
}

#[test]
fn text_passes_and_pings_do() {
    let mut run = open();
    for bytes in [
        frame(0x81, "hello <CREDENTIAL"),
        frame(0x81, ":live> is in two messages"),
        frame(0x01, "in "),
        frame(0x89, "ping"),
        frame(0x80, "parts"),
        frame(0x88, "\u{3}xbye"),
    ] {
        assert_eq!(run.event(body(&bytes)), Flow::Continue, "{bytes:x?}");
    }
    assert_eq!(run.event(Event::RequestBody { chunk: vec![], end: true }), Flow::Continue);
    assert_eq!(run.resets, 0);
}

#[test]
fn a_placeholder_in_a_message_cuts() {
    for pieces in [
        vec![frame(0x81, "say <CREDENTIAL:live> please")],
        vec![frame(0x81, "say <credential:other>")],
        vec![frame(0x81, "%3Ccredential:live%3e")],
        vec![frame(0x01, "<CRED"), frame(0x89, "x"), frame(0x00, "ENTIAL"), frame(0x80, ":live>")],
        vec![frame(0x89, "<CREDENTIAL:live>")],
        vec![frame(0x8a, "<CREDENTIAL:live>")],
        vec![frame(0x88, "\u{3}x<CREDENTIAL:live>")],
    ] {
        let mut run = open();
        for byte in pieces.concat() {
            run.event(body(&[byte]));
        }
        let expected = "in_message".to_owned();
        assert_eq!(run.outcome(), Outcome::Cut(expected), "{pieces:x?}");
        assert_eq!(run.event(body(&frame(0x81, "more"))), Flow::Pause);
    }
}

#[test]
fn what_is_no_text_cuts() {
    for (reason, bytes) in [
        ("websocket_frame", frame(0x82, "binary")),
        ("websocket_frame", frame(0xc1, "compressed")),
        ("websocket_frame", b"\x81\x05Hello".to_vec()),
        ("websocket_frame", b"GET /api/chat HTTP/1.1\r\n\r\n".to_vec()),
        ("body_too_large", frame(0x81, &"x".repeat(65))),
    ] {
        let mut run = open();
        run.event(body(&bytes));
        assert_eq!(run.outcome(), Outcome::Cut(reason.to_owned()), "{bytes:x?}");
    }
}

#[test]
fn nothing_goes_on_before_the_upstream_agrees_nor_when_it_does_not() {
    let text = frame(0x81, "hello");
    let mut early = ask(&gate(), &[("x-tap-credential", "live")]);
    early.event(body(&text));
    assert_eq!(early.outcome(), Outcome::Cut("websocket_frame".to_owned()));
    let mut declined = ask(&gate(), &[("x-tap-credential", "live")]);
    let head = [(":status", "200")].into_iter().collect();
    declined.event(Event::ResponseHeaders { fields: head, end: false });
    declined.event(body(&text));
    assert_eq!(declined.outcome(), Outcome::Cut("websocket_frame".to_owned()));
}

#[test]
fn bytes_that_come_while_the_caller_is_looked_up_are_refused() {
    let gate = gate();
    gate.directory.mode.set(Mode::Asks);
    let mut run = ask(&gate, &[("x-tap-credential", "live")]);
    run.event(body(&frame(0x81, "hello")));
    run.event(reply(true));
    assert_eq!(run.outcome(), refused(400, "request_ambiguous", "websocket_frame"));
}
