//! Requests that are signed: what the signature covers, and when there is none.

use std::time::Duration;

use super::requests::sha256;
use super::world::*;
use crate::effect::Flow;
use crate::event::{Event, Surroundings};

const PAIR: [(&str, &str); 2] = [("access_key_id", "AKID"), ("secret_access_key", "s3cret-Key")];
const CLIENT: [(&str, &str); 2] = [("consumer_key", "ck"), ("consumer_secret", "s3cret-Client")];
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A world whose key service has these fields at hand.
fn world(fields: &[(&str, &str)]) -> World {
    let world = World::new();
    world.keys.cached.set(true);
    *world.keys.answer.borrow_mut() = Some(Ok(Ok(release(fields))));
    world
}

/// The request's head under a permit for `name` that was decided with this content.
fn head(
    world: &mut World,
    name: &str,
    decided: Option<&str>,
    form: Option<&str>,
    more: &[(&str, &str)],
) -> Vec<String> {
    let mut decision = world.decision(&[name]);
    decision.content_digest = decided.map(|content| sha256(content.as_bytes()));
    let sealed = world.seal(decision);
    let around = Surroundings { form: form.map(|form| form.into()), ..around(sealed) };
    let more: Vec<_> = [(":method", "POST")].iter().chain(more).copied().collect();
    world.head_around(around, request(&more), false)
}

fn body(text: &str) -> Event {
    Event::RequestBody { chunk: text.into(), end: true }
}

fn reason(effects: &[String], reason: &str) -> bool {
    effects.iter().any(|effect| effect.contains(&format!("reason: \"{reason}\"")))
}

#[test]
fn a_signed_request_leaves_with_the_fields_of_its_signature_only() {
    let mut world = world(&PAIR);
    let own = [("x-amz-date", "mine"), ("x-amz-security-token", "mine")];
    let effects = head(&mut world, "store", Some("hello"), None, &own);
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(
        effects[1..4],
        [
            "remove request x-amz-security-token".to_owned(),
            "inject x-amz-date: 19700101T001640Z".to_owned(),
            format!("inject x-amz-content-sha256: {digest}"),
        ]
    );
    let before = "inject authorization: AWS4-HMAC-SHA256 \
        Credential=AKID/19700101/eu-west-1/s3/aws4_request, \
        SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=";
    assert!(effects[4].starts_with(before), "{effects:?}");
    assert_eq!(world.handle(body("hello")), [""; 0]);
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn content_that_changed_after_it_was_signed_is_refused() {
    let mut world = world(&PAIR);
    head(&mut world, "store", Some("hello"), None, &[]);
    let effects = world.handle(body("hullo"));
    assert!(reason(&effects, "request_changed"), "{effects:?}");
    assert_eq!(effects.last().unwrap(), "reply 403 policy_denied");
}

#[test]
fn nothing_is_signed_under_a_permit_that_expired_meanwhile() {
    let mut world = World::new();
    let sealed = world.permit(&["store"]);
    assert_eq!(world.head(sealed, &[]).last().unwrap(), "call 1");
    world.now = NOW.after(Duration::from_secs(11));
    *world.keys.answer.borrow_mut() = Some(Ok(Ok(release(&PAIR))));
    let effects = world.reply(1);
    assert!(reason(&effects, "permit_expired"), "{effects:?}");
    assert!(!effects.iter().any(|effect| effect.starts_with("inject")), "{effects:?}");
}

#[test]
fn content_that_nobody_read_is_not_signed() {
    for (name, form, more) in [
        ("store", None, &[][..]),
        ("client", None, &[FORM][..]),
        // Put there by somebody else: it is not what the permit names.
        ("client", Some("a=1"), &[FORM]),
        ("client", None, &[("content-type", "text/plain"), FORM]),
    ] {
        let mut world = world(&PAIR);
        let effects = head(&mut world, name, None, form, more);
        assert!(reason(&effects, "credential_content"), "{name} {effects:?}");
        assert!(world.keys.asked.borrow().is_empty());
    }
    let mut world = world(&CLIENT);
    let effects = head(&mut world, "client", Some("a=1"), Some("a=2"), &[FORM]);
    assert!(reason(&effects, "credential_content"), "{effects:?}");
}

#[test]
fn a_form_that_the_gate_read_is_part_of_the_signature() {
    let sign = |form: &str| {
        let mut world = world(&CLIENT);
        let effects = head(&mut world, "client", Some(form), Some(form), &[FORM]);
        effects[1].split_once("oauth_signature=").unwrap().1.to_owned()
    };
    assert_ne!(sign("a=1"), sign("a=2"));
    let other = |content: &str| {
        let mut world = world(&CLIENT);
        head(&mut world, "client", Some(content), None, &[("content-type", "text/plain")])
            .swap_remove(1)
    };
    assert_eq!(other("a=1"), other("a=2"));
}

#[test]
fn a_credential_without_the_values_of_its_style_signs_nothing() {
    for (name, fields) in [("store", &CLIENT[..]), ("store", &[("", VALUE)]), ("client", &PAIR)] {
        let mut world = world(fields);
        let effects = head(&mut world, name, Some(""), None, &[]);
        assert!(reason(&effects, "release_field"), "{name} {effects:?}");
    }
    let mut world = world(&[("access_key_id", "A/B"), PAIR[1]]);
    let effects = head(&mut world, "store", Some(""), None, &[]);
    assert!(reason(&effects, "credential_value"), "{effects:?}");
}

#[test]
fn what_belongs_to_a_signature_is_refused_before_anybody_is_asked() {
    for (name, target) in [
        ("store", "/api/x?X-Amz-Signature=0"),
        ("store", "/api/x?a=b+c"),
        ("client", "/api/x?oauth_nonce=0"),
        ("client", "/api/x?a=%"),
    ] {
        let mut world = world(&PAIR);
        let effects = head(&mut world, name, Some(""), None, &[(":path", target)]);
        assert!(reason(&effects, "signature"), "{target} {effects:?}");
        assert_eq!(effects.last().unwrap(), "reply 400 request_ambiguous");
        assert!(world.keys.asked.borrow().is_empty());
    }
}

#[test]
fn a_value_in_what_a_signature_covers_is_refused_beside_it() {
    for (name, signs) in [("find", false), ("mark", false), ("key", true)] {
        let mut world = World::new();
        let mut decision = world.decision(&["store", name]);
        decision.content_digest = Some(sha256(b""));
        let sealed = world.seal(decision);
        let effects = world.head(sealed, &[]);
        assert_eq!(effects.last().unwrap() == "call 1", signs, "{name} {effects:?}");
        assert_eq!(reason(&effects, "credential_site"), !signs, "{name} {effects:?}");
    }
}

#[test]
fn the_signature_and_every_value_are_scrubbed_from_the_answer() {
    let mut world = world(&PAIR);
    let effects = head(&mut world, "store", Some(""), None, &[]);
    let authorization = effects[4].strip_prefix("inject authorization: ").unwrap().to_owned();
    let signature = authorization.rsplit_once('=').unwrap().1.to_owned();
    world.handle(body(""));
    world.answer("200", &[("x-got", &authorization)], false);
    let echo = format!("sig {signature} key s3cret-Key id AKID");
    let effects = world.content(&echo, true);
    assert_eq!(effects[0], "replace response sig * key * id *");
}
