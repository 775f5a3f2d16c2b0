//! The gate's canary in a cluster's filters: what passes, and what does not.

use std::time::Duration;

use super::world::*;
use crate::canary::{MARK, Mark};
use crate::effect::Flow;
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::time::UnixMillis;

/// A worker whose `slack` has a canary, and a mark for it.
fn marked(at: UnixMillis) -> (World, String, String) {
    let world = World::canary();
    let mark = Mark::new([7; 16], world.config.bindings[0].hash(), at);
    let (sealed, proof) = (mark.seal(&permit_keys()), mark.prove(&permit_keys()));
    (world, sealed, proof)
}

fn called() -> Surroundings {
    Surroundings { permit: None, ..around(Vec::new()) }
}

fn canary(mark: &str, more: &[(&str, &str)]) -> Fields {
    let own = [(":path", "/api/me"), ("authorization", "Bearer made-up"), (MARK, mark)];
    let kept = own.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    let lines: Vec<_> = kept.chain(more).copied().collect();
    request(&lines)
}

#[test]
fn a_marked_canary_passes_without_its_mark_and_its_answer_is_proved() {
    let (mut world, mark, proof) = marked(NOW);
    let effects = world.head_around(called(), canary(&mark, &[]), true);
    assert_eq!(effects, [format!("remove request {MARK}")]);
    assert_eq!(world.flow(), Flow::Continue);
    let effects = world.answer("200", &[(MARK, "an upstream's own")], false);
    assert_eq!(effects, [format!("set response {MARK}: {proof}")]);
    assert_eq!(world.content("Bearer made-up", true), [""; 0]);
    assert_eq!(world.flow(), Flow::Continue);
    assert_eq!(world.handle(Event::Tick), [""; 0]);
    assert_eq!(world.handle(Event::Done), [""; 0]);
    assert!(world.keys.asked.borrow().is_empty(), "the key service was asked");
}

#[test]
fn the_value_may_stand_in_the_query() {
    let (mut world, mark, _) = marked(NOW);
    world.head_around(called(), canary(&mark, &[(":path", "/api/me?k=made-up")]), true);
    assert_eq!(world.flow(), Flow::Continue);
}

#[track_caller]
fn refused(effects: &[String], world: &World) {
    let last = effects.last().map(String::as_str);
    assert_eq!(last, Some("reply 403 policy_denied"), "{effects:?}");
    assert!(effects.iter().any(|effect| effect.contains("canary_mark")), "{effects:?}");
    assert_eq!(world.flow(), Flow::Pause);
    assert!(world.keys.asked.borrow().is_empty(), "the key service was asked");
}

#[test]
fn a_mark_is_good_for_the_bindings_own_canary_only() {
    for other in [
        (":path", "/api/me/x"),
        (":path", "/api/x"),
        (":method", "POST"),
        (":authority", "other.com"),
        (MARK, ""),
    ] {
        let (mut world, mark, _) = marked(NOW);
        let effects = world.head_around(called(), canary(&mark, &[other]), true);
        refused(&effects, &world);
    }
    let arounds = [
        Surroundings { cluster: Some(b"other".to_vec()), ..called() },
        Surroundings { cluster: None, ..called() },
        // A caller's request, which has a permit.
        around(World::canary().permit(&["slack"])),
    ];
    for around in arounds {
        let (mut world, mark, _) = marked(NOW);
        let effects = world.head_around(around, canary(&mark, &[]), true);
        refused(&effects, &world);
    }
    // With content.
    let (mut world, mark, _) = marked(NOW);
    let effects = world.head_around(called(), canary(&mark, &[]), false);
    refused(&effects, &world);
    // Twice.
    let (mut world, mark, _) = marked(NOW);
    let mut twice = canary(&mark, &[]);
    twice.0.extend([(MARK, mark.as_str())].into_iter().collect::<Fields>().0);
    let effects = world.head_around(called(), twice, true);
    refused(&effects, &world);
}

#[test]
fn a_mark_that_is_old_forged_or_for_another_binding_is_refused() {
    let (mut world, mark, proof) = marked(NOW);
    world.now = NOW.after(Duration::from_secs(10));
    let effects = world.head_around(called(), canary(&mark, &[]), true);
    refused(&effects, &world);
    for forged in [&mark[1..], &mark.replace(&mark[..8], "00000000"), &proof] {
        let (mut world, ..) = marked(NOW);
        let effects = world.head_around(called(), canary(forged, &[]), true);
        refused(&effects, &world);
    }
    // One that has no canary, and one that is not configured.
    for binding in [World::canary().config.bindings[1].hash(), [9; 32]] {
        let (mut world, ..) = marked(NOW);
        let mark = Mark::new([7; 16], binding, NOW).seal(&permit_keys());
        let effects = world.head_around(called(), canary(&mark, &[]), true);
        refused(&effects, &world);
    }
}

#[test]
fn what_a_canary_cannot_have_cuts_it() {
    let events: [fn() -> Event; 3] = [
        || Event::EffectFailed,
        || Event::RequestBody { chunk: b"x".to_vec(), end: true },
        || Event::RequestTrailers(Fields::default()),
    ];
    for event in events {
        let (mut world, mark, _) = marked(NOW);
        world.head_around(called(), canary(&mark, &[]), true);
        assert_eq!(world.handle(event()).last().map(String::as_str), Some("reset"));
    }
}
