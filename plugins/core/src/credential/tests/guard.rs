//! Requests that hold what this worker has injected.

use super::world::{World, around, release, request};
use crate::event::Event;

const LONG: &str = "s3cret-Value-of-some-length";
const REFUSED: &str = "reply 403 credential_not_allowed";
const ALARM: &str = "count postern.credential.alarm.secret_in_request.total";

/// A worker that has injected [`LONG`], with another request to come.
fn used() -> World {
    let mut world = World::new();
    *world.keys.answer.borrow_mut() = Some(Ok(Ok(release(&[("", LONG)]))));
    world = world.forward(&[]);
    world.next();
    world
}

/// The rest of a request whose head has left.
fn begun(uses: &[&str]) -> World {
    let mut world = used();
    let sealed = world.permit(uses);
    world.head_around(around(sealed), request(&[]), false);
    world
}

fn body(world: &mut World, chunk: &str, end: bool) -> Vec<String> {
    world.handle(Event::RequestBody { chunk: chunk.into(), end })
}

#[test]
fn a_head_with_it_is_refused_whether_a_credential_is_used_or_not() {
    for uses in [&[][..], &["slack"]] {
        for more in
            [("x-note", LONG), (LONG, "x"), (":path", "/api/x?q=s3cret-Value-of-some-length")]
        {
            let mut world = used();
            let sealed = world.permit(uses);
            let effects = world.head(sealed, &[more]);
            assert_eq!(effects.last().map(String::as_str), Some(REFUSED), "{more:?}");
            assert!(effects.iter().any(|effect| effect == ALARM), "{effects:?}");
        }
    }
}

#[test]
fn content_with_it_is_refused_before_an_answer_and_cut_behind_its_begin() {
    for uses in [&[][..], &["slack"]] {
        let mut world = begun(uses);
        assert!(body(&mut world, "see s3cret-Val", false).is_empty());
        let effects = body(&mut world, "ue-of-some-length", false);
        assert_eq!(effects.last().map(String::as_str), Some(REFUSED));

        let mut world = begun(uses);
        world.answer("200", &[], false);
        let effects = body(&mut world, LONG, false);
        assert_eq!(effects.last().map(String::as_str), Some("reset"));
    }
}

#[test]
fn what_is_known_only_at_the_end_of_content_counts() {
    let mut world = begun(&["slack"]);
    let effects = body(&mut world, "s3cret-Value-of-some-lengt", true);
    assert_eq!(effects.last().map(String::as_str), Some(REFUSED));
    let mut world = begun(&["slack"]);
    assert!(body(&mut world, "s3cret-Value-of-some", true).is_empty());
}

#[test]
fn trailers_with_it_are_refused() {
    let mut world = begun(&["slack"]);
    let fields = [("x-sum", LONG)].into_iter().collect();
    let effects = world.handle(Event::RequestTrailers(fields));
    assert_eq!(effects.last().map(String::as_str), Some(REFUSED));
}
