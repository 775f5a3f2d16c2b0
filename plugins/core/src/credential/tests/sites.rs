//! Values inside the query, the cookies and the content.

use sha2::{Digest, Sha256};

use super::world::*;
use crate::effect::Flow;
use crate::event::Event;

/// What is put into a request that needs no content.
fn injected(name: &str, more: &[(&str, &str)]) -> String {
    let mut world = World::new();
    world.keys.cached.set(true);
    let sealed = world.permit(&[name]);
    world.head(sealed, more).swap_remove(1)
}

/// A request with `content`, decided on with `decided`, that waits for it.
fn waiting(decided: &str) -> (World, Vec<String>) {
    let mut world = World::new();
    world.keys.cached.set(true);
    let mut decision = world.decision(&["hook"]);
    decision.content_digest = Some(Sha256::digest(decided).into());
    let sealed = around(world.seal(decision));
    let effects = world.head_around(sealed, request(&[(":method", "POST")]), false);
    (world, effects)
}

fn body(text: &str, end: bool) -> Event {
    Event::RequestBody { chunk: text.into(), end }
}

const CONTENT: &str = r#"{"t":"<CREDENTIAL:hook>"}"#;
const FILLED: &str = r#"fill {"t":"s3cret-Value"}"#;

#[test]
fn a_parameter_and_a_cookie_are_filled_in_where_they_are_or_added() {
    for (name, more, want) in [
        (
            "find",
            &[(":path", "/api/x?k=<CREDENTIAL:find>&b")][..],
            ":path: /api/x?k=s3cret-Value&b",
        ),
        ("find", &[(":path", "/api/x?k=mine")], ":path: /api/x?k=s3cret-Value"),
        ("visit", &[("cookie", "a=1; s=<CREDENTIAL:visit>")], "cookie: a=1; s=s3cret-Value"),
        ("visit", &[("cookie", "a=1"), ("cookie", "s=2")], "cookie: a=1; s=s3cret-Value"),
        ("visit", &[], "cookie: s=s3cret-Value"),
    ] {
        assert_eq!(injected(name, more), format!("inject {want}"), "{more:?}");
    }
}

#[test]
fn another_placeholder_or_two_of_them_are_not_filled_in() {
    for (name, more) in [
        ("find", (":path", "/api/x?k=<CREDENTIAL:other>")),
        ("find", (":path", "/api/x?k=<CREDENTIAL:find>&k=1")),
        ("visit", ("cookie", "s=<CREDENTIAL:other>")),
        ("visit", ("connection", "cookie")),
    ] {
        let mut world = World::new();
        world.keys.cached.set(true);
        let sealed = world.permit(&[name]);
        let effects = world.head(sealed, &[more]);
        assert_eq!(effects.last().unwrap(), "reply 403 credential_not_allowed", "{more:?}");
    }
}

#[test]
fn content_is_kept_to_its_end_and_filled_in_once() {
    let (mut world, effects) = waiting(CONTENT);
    assert!(effects.contains(&"remove request content-length".to_owned()), "{effects:?}");
    assert_eq!(world.flow(), Flow::Continue);
    let (first, last) = CONTENT.split_at(9);
    assert_eq!(world.handle(body(first, false)), [""; 0]);
    assert_eq!(world.flow(), Flow::Pause);
    assert_eq!(world.handle(body(last, true)), [FILLED]);
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn trailers_end_content_that_is_kept() {
    let (mut world, _) = waiting(CONTENT);
    world.handle(body(CONTENT, false));
    let end = world.handle(Event::RequestTrailers(crate::fields::Fields::default()));
    assert_eq!(end, [FILLED]);
    assert_eq!(world.flow(), Flow::Continue);
}

const TWICE: &str = "<CREDENTIAL:hook><CREDENTIAL:hook>";

#[test]
fn content_that_is_not_what_was_decided_on_is_refused_and_not_filled_in() {
    for (decided, content, reason, end) in [
        (CONTENT, r#"{"u":"<CREDENTIAL:hook>"}"#, "request_changed", "reply 403 policy_denied"),
        // A gate that lets this pass is broken.
        ("{}", "{}", "unreachable", "reset"),
        (TWICE, TWICE, "unreachable", "reset"),
    ] {
        let (mut world, _) = waiting(decided);
        let effects = world.handle(body(content, true));
        assert!(effects[0].contains(reason), "{effects:?}");
        assert_eq!(effects.last().unwrap(), end);
    }
}

#[test]
fn content_that_nobody_read_is_not_filled_in() {
    let mut world = World::new();
    world.keys.cached.set(true);
    let sealed = world.permit(&["hook"]);
    let effects = world.head(sealed, &[(":method", "POST")]);
    assert_eq!(effects.last().unwrap(), "reply 403 credential_not_allowed");
}

#[test]
fn more_content_than_a_gate_holds_is_refused() {
    let (mut world, _) = waiting(CONTENT);
    let effects = world.handle(body(&"x".repeat(8 * 1024 * 1024 + 1), false));
    assert!(effects[0].contains("body_too_large"), "{effects:?}");
    assert_eq!(effects.last().unwrap(), "reply 413 body_too_large");
}
