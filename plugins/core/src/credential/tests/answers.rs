//! What the caller gets back: scrubbed heads, content and trailers, or a refusal.

use super::world::*;
use crate::effect::Flow;
use crate::event::Event;
use crate::fields::Fields;

const NO_STORE: &str = "set response cache-control: no-store";
const SCRUBBED: &str = "count postern.credential.scrubbed.total";

fn record(hits: u64) -> String {
    format!("record slack Some((42, true)) Undecided hits {hits}")
}

#[test]
fn a_clean_answer_passes_with_no_store_and_its_end_is_recorded() {
    let mut world = World::forwarded();
    assert_eq!(world.answer("200", &[("content-type", "text/plain")], false), [NO_STORE]);
    assert_eq!(world.content("hello ", false), [""; 0]);
    assert_eq!(world.content("world", true), [record(0)]);
    assert_eq!(world.flow(), Flow::Continue);
    assert_eq!(world.handle(Event::Done), [""; 0]);
}

#[test]
fn what_describes_content_is_removed_when_content_follows() {
    let about = [
        ("content-length", "12"),
        ("etag", "\"x\""),
        ("digest", "x"),
        ("content-digest", "x"),
        ("repr-digest", "x"),
        ("content-md5", "x"),
        ("alt-svc", "h3=\":443\""),
    ];
    let mut world = World::forwarded();
    assert_eq!(
        world.answer("200", &about, false),
        [
            "remove response content-length",
            "remove response etag",
            "remove response digest",
            "remove response content-digest",
            "remove response repr-digest",
            "remove response content-md5",
            "remove response alt-svc",
            NO_STORE,
        ]
    );
}

#[test]
fn an_answer_without_content_tells_nothing_about_content_either() {
    // HEAD and 304: the length would be that of the content with the secret in it.
    for (status, about) in [
        ("200", [("content-length", "31"), ("repr-digest", "sha-256=:x:")]),
        ("304", [("content-length", "31"), ("etag", "\"x\"")]),
    ] {
        let removed = about.map(|(name, _)| format!("remove response {name}"));
        let want = [removed.as_slice(), &[NO_STORE.to_owned(), record(0)]].concat();
        assert_eq!(World::forwarded().answer(status, &about, true), want);
    }
    let empty = World::forwarded().answer("200", &[("content-length", "0")], true);
    assert_eq!(empty, [NO_STORE.to_owned(), record(0)]);
}

#[test]
fn values_are_scrubbed_and_names_that_give_the_secret_away_dropped() {
    let mut world = World::forwarded();
    let more = [
        ("location", "https://x/?t=s3cret-Value"),
        ("x-echo", "Bearer s3cret-Value"),
        ("x-s3cret-value-x", "y"),
        ("x-clean", "z"),
    ];
    assert_eq!(
        world.answer("200", &more, true),
        [
            "set response location: https://x/?t=*".to_owned(),
            "set response x-echo: *".into(),
            "remove response x-s3cret-value-x".into(),
            NO_STORE.into(),
            SCRUBBED.into(),
            record(3),
        ]
    );
}

#[test]
fn of_several_lines_one_dirty_one_changes_all() {
    let mut world = World::forwarded();
    let more = [
        ("vary", "a"),
        ("vary", "s3cret-Value"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=s3cret-Value"),
    ];
    assert_eq!(
        world.answer("200", &more, true)[..3],
        ["remove response set-cookie", "set response vary: a, *", NO_STORE]
    );
}

#[test]
fn content_is_scrubbed_and_held_as_the_scrubber_says() {
    let mut world = World::forwarded();
    world.answer("200", &[], false);
    assert_eq!(world.content("a s3cret-Va~", false), [""; 0]);
    assert_eq!(world.flow(), Flow::Pause);
    // Request events meanwhile do not let it go.
    assert_eq!(world.content("x s3cret-Value y", false), ["replace response a s3cret-Va~x * y"]);
    assert_eq!(world.flow(), Flow::Continue);
    assert_eq!(
        world.content("s3cret-Value", true),
        ["replace response *".to_owned(), SCRUBBED.into(), record(2)]
    );
}

#[test]
fn trailers_end_the_content_and_are_scrubbed() {
    let mut world = World::forwarded();
    world.answer("200", &[], false);
    world.content("s3cret-Value~", false);
    let trailers: Fields = [("grpc-message", "s3cret-Value"), ("x", "y")].into_iter().collect();
    assert_eq!(
        world.handle(Event::ResponseTrailers(trailers)),
        [
            "replace response *~".to_owned(),
            "set response trailer grpc-message: *".into(),
            SCRUBBED.into(),
            record(2),
        ]
    );
    assert_eq!(world.flow(), Flow::Continue);
}

#[test]
fn bytes_that_trailers_would_lose_cut_the_stream() {
    let mut world = World::forwarded();
    world.answer("200", &[], false);
    world.content("x!", false);
    let effects = world.handle(Event::ResponseTrailers(Fields::default()));
    assert_eq!(effects.last().unwrap(), "reset");
    assert!(effects[0].contains("undeliverable"));
    assert_eq!(world.flow(), Flow::Pause);
}

#[test]
fn what_cannot_be_scrubbed_is_refused_with_502() {
    for (status, more, why) in [
        ("200", &[("content-encoding", "x-unheard-of")][..], "encoded"),
        ("200", &[("content-encoding", "gzip, compress")], "encoded"),
        ("200", &[("content-encoding", "gzip, br"), ("content-encoding", "gzip")], "encoded"),
        ("200", &[("transfer-encoding", "gzip, chunked")], "encoded"),
        ("226", &[("im", "gzip")], "encoded"),
        ("206", &[], "partial"),
        ("200", &[("content-type", "Multipart/ByteRanges; boundary=x")], "partial"),
        ("101", &[("upgrade", "websocket")], "upgraded"),
        ("103", &[], "upgraded"),
    ] {
        let mut world = World::forwarded();
        let effects = world.answer(status, more, false);
        assert_eq!(effects.last().unwrap(), "reply 502 upstream_unscannable", "{status} {more:?}");
        assert!(effects[0].contains(&format!("\"{why}\"")), "{effects:?}");
        assert_eq!(world.flow(), Flow::Pause);
    }
}

#[test]
fn codings_that_change_nothing_pass() {
    for more in [
        &[("content-encoding", "Identity")][..],
        &[("content-encoding", "")],
        &[("transfer-encoding", "chunked")],
    ] {
        let mut world = World::forwarded();
        assert_eq!(world.answer("200", more, false), [NO_STORE]);
    }
    // The answer to HEAD names a coding and has no content.
    let mut world = World::forwarded();
    let effects = world.answer("200", &[("content-encoding", "gzip")], true);
    assert_eq!(effects, [NO_STORE.to_owned(), record(0)]);
}

#[test]
fn codings_that_are_known_are_decoded_and_no_longer_named() {
    for more in [
        &[("content-encoding", "gzip"), ("content-length", "9")][..],
        &[("content-encoding", "identity"), ("content-encoding", "br, ZSTD")],
        &[("content-encoding", "x-gzip , deflate")],
    ] {
        let mut world = World::forwarded();
        let effects = world.answer("200", more, false);
        assert!(effects.contains(&"remove response content-encoding".to_owned()), "{effects:?}");
        assert_eq!(effects.last().unwrap(), NO_STORE);
        let effects = world.content("bad", false);
        assert!(effects[0].contains("malformed"), "{effects:?}");
        assert_eq!(effects.last().unwrap(), "reset");
    }
}

#[test]
fn lines_that_give_the_secret_away_together_are_joined_and_scrubbed() {
    let mut world = World::forwarded();
    world.keys.answer.borrow_mut().take();
    let more = [("x-half", "s3cret-Value"), ("x-half", "b"), ("x-other", "a"), ("x-other", "b")];
    let effects = world.answer("200", &more, true);
    assert_eq!(effects[0], "set response x-half: *, b");
    assert!(!effects.iter().any(|effect| effect.contains("x-other")), "{effects:?}");
}

#[test]
fn lines_of_which_none_gives_the_secret_away_alone_are_joined_too() {
    let world = World::new();
    *world.keys.answer.borrow_mut() = Some(Ok(Ok(release(&[("", "s3c, ret")]))));
    let mut world = world.forward(&[]);
    let effects = world.answer("200", &[("x-half", "a s3c"), ("x-half", "ret b")], true);
    assert_eq!(effects[0], "set response x-half: a * b");
}

#[test]
fn a_scrubbed_field_that_would_break_its_line_is_dropped() {
    for end in ["\r", "\n", "\0"] {
        let value = format!("s3cret-Value{end}x: y");
        let effects = World::forwarded().answer("200", &[("x-echo", &value)], true);
        assert_eq!(effects[0], "remove response x-echo");
    }
}

#[test]
fn parts_pass_where_the_configuration_lets_them() {
    let mut world = World::partial();
    let effects = world.answer("206", &[("content-range", "bytes 0-1/9")], false);
    assert_eq!(effects, [NO_STORE]);
    assert_eq!(world.content("s3cret-Value", true)[0], "replace response *");
}

#[test]
fn an_answer_without_a_status_or_with_a_name_no_field_has_is_refused() {
    let mut world = World::forwarded();
    let event = Event::ResponseHeaders { fields: Fields::default(), end: true };
    assert_eq!(world.handle(event).last().unwrap(), "reply 500 internal");
    let mut world = World::forwarded();
    let fields = [(b":status".to_vec(), b"200".to_vec()), (vec![0xff], b"x".to_vec())];
    let event = Event::ResponseHeaders { fields: fields.into_iter().collect(), end: true };
    assert_eq!(world.handle(event).last().unwrap(), "reply 502 upstream_unscannable");
}

#[test]
fn an_early_answer_lets_the_request_finish() {
    let mut world = World::forwarded();
    world.answer("413", &[], true);
    let body = |end| Event::RequestBody { chunk: b"x".to_vec(), end };
    assert_eq!(world.handle(body(false)), [""; 0]);
    assert_eq!(world.flow(), Flow::Continue);
    assert_eq!(world.handle(body(true)), [""; 0]);
    assert_eq!(world.handle(Event::Done), [""; 0]);
}

#[test]
fn more_after_the_end_is_cut() {
    let mut world = World::forwarded();
    world.answer("200", &[], true);
    assert_eq!(world.content("x", true).last().unwrap(), "reset");
    let mut world = World::forwarded();
    world.handle(Event::RequestBody { chunk: Vec::new(), end: true });
    let more = world.handle(Event::RequestBody { chunk: Vec::new(), end: true });
    assert_eq!(more.last().unwrap(), "reset");
}

#[test]
fn hits_of_an_answer_that_breaks_off_are_recorded() {
    let mut world = World::forwarded();
    world.answer("200", &[], false);
    world.content("s3cret-Value", false);
    assert_eq!(world.handle(Event::Done), [SCRUBBED.to_owned(), record(1)]);
}
