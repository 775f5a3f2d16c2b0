//! Where a placeholder is found, where not, and what stands there afterwards.

use super::*;

const MARK: &str = "<CREDENTIAL:a>";

fn keys(found: Option<Vec<Slot>>) -> Option<Vec<String>> {
    found.map(|slots| slots.into_iter().map(|slot| slot.key).collect())
}

fn key(place: &Place) -> Option<Vec<String>> {
    Some(vec![place.key()])
}

fn none() -> Option<Vec<String>> {
    Some(Vec::new())
}

#[test]
fn a_query_parameter_is_found_by_its_decoded_name() {
    let place = Place::Query("key".into());
    for (target, want) in [
        (format!("/x?key={MARK}"), key(&place)),
        (format!("/x?a=1&k%65y={MARK}&b"), key(&place)),
        (format!("/x?a=1&key={MARK}x"), none()),
        (format!("/x?a=1&other={MARK}"), none()),
        (format!("/key={MARK}"), none()),
        (format!("/x?key={MARK}&key=1"), None),
        (format!("/x?key=1&k%65y={MARK}"), None),
        ("/x?key=1&key=2".to_owned(), none()),
        ("/x?key=%3CCREDENTIAL:a%3E".to_owned(), none()),
    ] {
        assert_eq!(
            keys(in_query(target.as_bytes(), &Places::from_iter([&place]))),
            want,
            "{target}"
        );
    }
}

#[test]
fn a_cookie_and_a_form_field_are_found() {
    let (cookie, form) = (Place::Cookie("s".into()), Place::Form("t".into()));
    let text = format!("a=1; s={MARK}; b=2");
    let slots = in_cookie(text.as_bytes(), &Places::from_iter([&cookie])).unwrap();
    assert_eq!(&text[slots[0].range.clone()], MARK);
    assert_eq!(without(text.as_bytes(), &slots), b"a=1; s=; b=2");
    assert_eq!(
        keys(in_cookie(format!("S={MARK}").as_bytes(), &Places::from_iter([&cookie]))),
        none()
    );
    assert_eq!(
        keys(in_form(format!("a=b&t={MARK}").as_bytes(), &Places::from_iter([&form]))),
        key(&form)
    );
    assert_eq!(keys(in_form(format!("t={MARK}&t=").as_bytes(), &Places::from_iter([&form]))), None);
    assert_eq!(keys(in_form(format!("{MARK}=t").as_bytes(), &Places::from_iter([&form]))), none());
}

#[test]
fn a_json_string_is_found_by_its_pointer_in_strict_json_only() {
    let place = Place::Json("/a~1b/1/c".into());
    let document = |value: &str| format!("{{\"x\": 1.5e3, \"a/b\": [null, {{\"c\": {value}}}]}} ");
    let found = |text: &str| keys(in_json(text.as_bytes(), &Places::from_iter([&place])));
    assert_eq!(found(&document(&format!("\"{MARK}\""))), key(&place));
    for other in
        ["\"x\"", "[\"<CREDENTIAL:a>\"]", "\"<CREDENTIAL:a> \"", "\"\\u003cCREDENTIAL:a>\""]
    {
        assert_eq!(found(&document(other)), none(), "{other}");
    }
    for broken in [
        format!("{{\"c\": \"{MARK}\", \"c\": 1}}"),
        format!("{{\"c\": 1, \"\\u0063\": \"{MARK}\"}}"),
        format!("[\"{MARK}\",]"),
        format!("[\"{MARK}\"] x"),
        format!("{{\"c\": 01, \"d\": \"{MARK}\"}}"),
        format!("{{'c': \"{MARK}\"}}"),
        format!("{}\"{MARK}\"{}", "[".repeat(70), "]".repeat(70)),
        format!("\"{MARK}"),
        String::new(),
    ] {
        assert_eq!(found(&broken), None, "{broken}");
    }
    assert_eq!(keys(in_json(b"[\"\xff\"]", &Places::from_iter([&place]))), None);
}

#[test]
fn values_are_written_as_their_place_wants_them() {
    let text = |place: &Place, value: &[u8]| {
        encoded(place, value).map(|out| String::from_utf8(out.to_vec()).unwrap())
    };
    let (query, form) = (Place::Query("k".into()), Place::Form("k".into()));
    let (cookie, json) = (Place::Cookie("k".into()), Place::Json("/k".into()));
    assert_eq!(text(&query, b"../a?b#c d").unwrap(), "..%2Fa%3Fb%23c%20d");
    assert_eq!(text(&query, b"a\nb"), None);
    assert_eq!(text(&form, b"a\n&=").unwrap(), "a%0A%26%3D");
    assert_eq!(text(&cookie, b"a=b/c+d").unwrap(), "a=b/c+d");
    for bad in [&b"a;b"[..], b"a b", b"a,b", b"a\"b", b"a\\b", b"\xe9"] {
        assert_eq!(text(&cookie, bad), None, "{bad:?}");
    }
    assert_eq!(text(&json, b"a\"b\\c\n").unwrap(), "a\\\"b\\\\c\\u000a");
    assert_eq!(text(&json, b"\xff"), None);
}

#[test]
fn what_the_caller_wrote_in_the_place_goes_and_one_is_added() {
    let out = |place: &Place, text: &[u8]| {
        added(place, text, b"V").map(|out| String::from_utf8(out.to_vec()).unwrap()).unwrap()
    };
    let (query, cookie) = (Place::Query("k".into()), Place::Cookie("k".into()));
    assert_eq!(out(&query, b"/x"), "/x?k=V");
    assert_eq!(out(&query, b"/x?"), "/x?k=V");
    assert_eq!(out(&query, b"/x?a=1&%6b=2&k&k=3&kk=4"), "/x?a=1&kk=4&k=V");
    assert_eq!(out(&cookie, b""), "k=V");
    assert_eq!(out(&cookie, b"a=1; k=2;k=3; b=4"), "a=1; b=4; k=V");
}

#[test]
fn substitution_is_one_pass_and_wants_each_placeholder_once() {
    let value = |mark: &str, value: &str| (mark.to_owned(), Zeroizing::new(value.into()));
    let values = [value("<CREDENTIAL:a>", "<CREDENTIAL:b>"), value("<CREDENTIAL:b>", "B")];
    let out = |text: &str| substituted(text.as_bytes(), &values).map(|out| out.to_vec());
    assert_eq!(out("x<CREDENTIAL:a>y<CREDENTIAL:b>").unwrap(), b"x<CREDENTIAL:b>yB");
    assert_eq!(out("<CREDENTIAL:a>"), None);
    assert_eq!(out("<CREDENTIAL:a><CREDENTIAL:b><CREDENTIAL:b>"), None);
}
