//! Token endpoints: answers held, values stored, placeholders delivered.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::world::*;
use crate::effect::Flow;
use crate::event::Event;
use crate::key_service::KeyServiceFault;
use crate::time::UnixMillis;

const JSON: &[(&str, &str)] = &[("content-type", "application/json"), ("content-length", "9")];
const TOKEN: &str = "tok-en/7+Gq=Zk4~Qw";

/// A request that left for a token endpoint, with one call behind it.
fn asked() -> World {
    let mut world = World::new();
    world.keys.cached.set(true);
    let sealed = world.permit(&["oauth"]);
    world.head(sealed, &[(":path", "/token")]);
    assert_eq!(world.flow(), Flow::Continue);
    world
}

/// The same, with the head of its answer here.
fn held() -> World {
    let mut world = asked();
    assert_eq!(world.answer("200", JSON, false), [""; 0]);
    assert_eq!(world.flow(), Flow::Pause);
    world
}

fn both() -> String {
    format!(r#"{{"access_token":"{TOKEN}","refresh_token":"ref-{TOKEN}","expires_in":60}}"#)
}

/// Names that were stored, in order.
fn names(world: &World) -> Vec<String> {
    world.keys.stored.borrow().iter().map(|minted| minted.credential.clone()).collect()
}

fn refused(effects: &[String], what: &str) {
    assert_eq!(effects.last().map(String::as_str), Some(what), "{effects:?}");
    assert!(!effects.iter().any(|it| it.starts_with("replace") || it.starts_with("set response")));
}

const UNSCANNABLE: &str = "reply 502 upstream_unscannable";
const UNAVAILABLE: &str = "reply 503 key_service_unavailable";

#[test]
fn values_are_stored_one_after_the_other_and_then_the_answer_goes_on() {
    let mut world = held();
    let content = both();
    let (first, last) = content.split_at(20);
    assert_eq!(world.content(first, false), [""; 0]);
    assert_eq!(world.content(last, true), ["call 1"]);
    assert_eq!(world.flow(), Flow::Pause);
    assert_eq!(world.reply(1), ["call 2"]);
    assert_eq!(world.flow(), Flow::Pause);
    let effects = world.reply(2);
    assert_eq!(world.flow(), Flow::Continue);
    let [access, refresh] = names(&world).try_into().unwrap();
    assert!(access.starts_with("access-") && refresh.starts_with("refresh-"));
    assert_ne!(access[7..], refresh[8..]);
    let want = format!(
        r#"replace response {{"access_token":"<CREDENTIAL:{access}>","refresh_token":"<CREDENTIAL:{refresh}>","expires_in":60}}"#
    );
    assert!(effects.contains(&want), "{effects:?}");
    assert!(effects.contains(&"remove response content-length".to_owned()));
    assert!(effects.contains(&"count postern.credential.minted.total".to_owned()));
    assert_eq!(world.handle(Event::Done), [""; 0]);
}

#[test]
fn what_is_stored_says_whose_it_is_what_for_and_how_long() {
    let mut world = held();
    world.content(&both(), true);
    world.reply(1);
    let stored = world.keys.stored.borrow();
    let [access, refresh] = stored.as_slice() else { panic!("two values") };
    assert_eq!(access.value.expose(), TOKEN.as_bytes());
    assert_eq!(access.not_after, NOW.after(Duration::from_secs(60)));
    // A refresh token outlives what it is exchanged for.
    assert_eq!(refresh.not_after, NOW.after(Duration::from_secs(86_400)));
    let mut bindings = world.config.bindings.iter();
    let source = bindings.find(|one| !one.is_family() && !one.mints().is_empty()).unwrap();
    let families: Vec<_> = source.mints().iter().map(|it| source.minted(it).canonical()).collect();
    assert_eq!([&access.binding, &refresh.binding], [&families[0], &families[1]]);
    assert_eq!(access.origin, refresh.origin);
    let origin = &access.origin;
    assert_eq!((origin.agent.as_str(), origin.source.as_str()), ("bot", "oauth"));
    assert_eq!(origin.source_binding, source.hash());
}

#[test]
fn nothing_is_delivered_when_the_key_service_does_not_have_a_value() {
    for (replies, fault) in [(1, KeyServiceFault::Unreachable), (2, KeyServiceFault::NotReady)] {
        let mut world = held();
        world.content(&both(), true);
        for reply in 1..replies {
            world.reply(reply);
        }
        world.keys.fault.set(Some(fault));
        refused(&world.reply(replies), UNAVAILABLE);
        assert_eq!(world.flow(), Flow::Pause);
    }
    let mut world = held();
    world.content(&both(), true);
    world.now = NOW.after(Duration::from_secs(4));
    assert_eq!(world.handle(Event::Tick), [""; 0]);
    world.now = NOW.after(Duration::from_secs(5));
    refused(&world.handle(Event::Tick), UNAVAILABLE);
    assert_eq!(world.keys.abandoned.borrow().len(), 1);
    let mut world = held();
    world.content(&both(), true);
    refused(&world.handle(Event::EffectFailed), "reply 500 internal");
    let mut world = held();
    world.content(&both(), true);
    assert_eq!(world.handle(Event::Done), [""; 0]);
    assert_eq!(world.keys.abandoned.borrow().len(), 1);
    let mut world = held();
    world.content(&both(), true);
    refused(&world.content("more", true), "reply 500 internal");
}

#[test]
fn an_answer_that_is_too_large_too_slow_or_has_trailers_is_refused() {
    let mut world = held();
    assert_eq!(world.content(&"a".repeat(65_536), false), [""; 0]);
    refused(&world.content("b", false), UNSCANNABLE);
    let mut world = held();
    world.content("{", false);
    world.now = UnixMillis(NOW.0 + 4_999);
    assert_eq!(world.handle(Event::Tick), [""; 0]);
    assert_eq!(world.flow(), Flow::Pause);
    world.now = UnixMillis(NOW.0 + 5_000);
    refused(&world.handle(Event::Tick), UNSCANNABLE);
    // A proxy without the switch never shows the content.
    let mut world = held();
    world.now = UnixMillis(NOW.0 + 5_000);
    refused(&world.handle(Event::Tick), UNSCANNABLE);
    let mut world = held();
    world.content(&both(), false);
    refused(&world.handle(Event::ResponseTrailers(request(&[]))), UNSCANNABLE);
    let mut world = held();
    refused(&world.handle(Event::EffectFailed), "reply 500 internal");
    let mut world = held();
    refused(&world.handle(Event::RequestTrailers(request(&[]))), "reply 500 internal");
    let mut world = asked();
    refused(&world.answer("206", JSON, false), UNSCANNABLE);
}

#[test]
fn an_answer_before_the_end_of_the_request_is_refused() {
    let mut world = World::new();
    world.keys.cached.set(true);
    let around = around(world.permit(&["oauth"]));
    world.head_around(around, request(&[(":method", "POST"), (":path", "/token")]), false);
    let effects = world.answer("200", JSON, false);
    refused(&effects, UNSCANNABLE);
    let said = |effect: &&String| effect.starts_with("record ");
    let record = effects.iter().find(said).unwrap();
    assert!(record.contains(r#"reason: "mint_early""#), "{record}");
    assert_eq!(world.keys.stored.borrow().len(), 0);
}

#[test]
fn a_value_in_a_field_refuses_and_an_answer_without_content_passes() {
    let mut world = asked();
    let to = [("location", "https://app.test/#access_token=tok-en")];
    refused(&world.answer("302", &to, true), UNSCANNABLE);
    let mut world = asked();
    world.answer("204", &[], true);
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn what_was_minted_is_scrubbed_elsewhere_and_from_later_answers() {
    let mut world = asked();
    world.answer("200", &[JSON, &[("x-token", TOKEN), ("x-client", VALUE)]].concat(), false);
    let content = format!(r#"{{"access_token":"{TOKEN}","said":"{TOKEN} {VALUE}"}}"#);
    assert_eq!(world.content(&content, true), ["call 1"]);
    let effects = world.reply(1);
    for want in ["set response x-token: *", "set response x-client: *"] {
        assert!(effects.contains(&want.to_owned()), "{effects:?}");
    }
    assert!(effects.iter().any(|it| it.ends_with(r#""said":"* *"}"#)), "{effects:?}");
    world.next();
    let sealed = world.permit(&["slack"]);
    world.head(sealed, &[]);
    world.answer("200", &[], false);
    let effects = world.content(&format!("see {TOKEN}"), true);
    assert_eq!(effects.first().map(String::as_str), Some("replace response see *"));
    world.next();
    let sealed = world.permit(&["slack"]);
    let effects = world.head(sealed, &[("x-note", TOKEN)]);
    refused(&effects, "reply 403 credential_not_allowed");
}

#[test]
fn content_that_comes_while_a_value_is_asked_for_is_kept_and_filled_in() {
    const CONTENT: &str = r#"{"t":"<CREDENTIAL:hook>"}"#;
    let begin = |decided: &str| {
        let mut world = World::new();
        let mut decision = world.decision(&["hook"]);
        decision.content_digest = Some(Sha256::digest(decided).into());
        let sealed = around(world.seal(decision));
        let effects = world.head_around(sealed, request(&[(":method", "POST")]), false);
        assert_eq!(effects.last().unwrap(), "call 1");
        world
    };
    let body = |text: &str, end| Event::RequestBody { chunk: text.into(), end };
    let mut world = begin(CONTENT);
    assert_eq!(world.handle(body(CONTENT, true)), [""; 0]);
    assert_eq!(world.flow(), Flow::Pause);
    let effects = world.reply(1);
    assert_eq!(effects.last().unwrap(), r#"fill {"t":"s3cret-Value"}"#);
    assert_eq!(world.flow(), Flow::Continue);
    // The rest comes later: the head waits for it, since what is here cannot be taken back.
    let mut world = begin(CONTENT);
    let (first, last) = CONTENT.split_at(9);
    world.handle(body(first, false));
    world.reply(1);
    assert_eq!(world.flow(), Flow::Pause);
    assert_eq!(world.handle(body(last, true)), [r#"fill {"t":"s3cret-Value"}"#]);
    assert_eq!(world.flow(), Flow::Continue);
    // It is not what was decided on.
    let mut world = begin("{}");
    refused(&world.handle(body(CONTENT, true)), "reply 403 policy_denied");
    assert_eq!(world.keys.abandoned.borrow().len(), 1);
    let mut world = begin(CONTENT);
    world.handle(body(CONTENT, true));
    refused(&world.handle(body("more", true)), "reply 500 internal");
}
