//! The filter in rows, against a second reading of the whole text, and cut anywhere.

use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Fault, Filter, Framework, MOST_DEPTH, MOST_NAMES, Pointer, Reader, Section};

const HOLD: usize = 64;

fn framework() -> Rc<Framework> {
    Rc::new(Framework::new(["public", "internal", "secret"].map(str::to_owned).to_vec()))
}

fn section(at: &str, level: Option<&str>, organisation: Option<&str>) -> Section {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let at = Pointer::parse(at).unwrap();
    Section { at, level: owned(level), organisation: owned(organisation) }
}

/// Sections of documents as the scenarios have them.
fn sections() -> Rc<[Section]> {
    [
        section("/sections/*", Some("level"), Some("org")),
        section("/sections/*/parts/*", Some("level"), None),
    ]
    .into()
}

fn reader(clearance: Option<&str>) -> Reader {
    let clearance = clearance.map(|name| framework().level(name).unwrap());
    Reader { clearance, organisation: "acme".into() }
}

fn filter_cut(
    sections: &Rc<[Section]>,
    clearance: Option<&str>,
    hold: usize,
    text: &[u8],
    cuts: &[usize],
) -> Result<(Vec<u8>, u64), Fault> {
    let mut filter = Filter::new(framework(), Rc::clone(sections), reader(clearance), hold);
    let (mut out, mut rest) = (Vec::new(), text);
    for cut in cuts {
        let (chunk, more) = rest.split_at(*cut.min(&rest.len()));
        out.extend(filter.chunk(chunk)?);
        rest = more;
    }
    out.extend(filter.chunk(rest)?);
    filter.end()?;
    assert!(filter.chunk(b"").unwrap().is_empty(), "everything is out at the end");
    Ok((out, filter.removed()))
}

/// The same for every chunking, or it fails.
fn filter(sections: &Rc<[Section]>, clearance: Option<&str>, text: &str) -> Result<String, Fault> {
    let whole = filter_cut(sections, clearance, HOLD, text.as_bytes(), &[]);
    for size in 1..6 {
        let cuts = vec![size; text.len() / size];
        let cut = filter_cut(sections, clearance, HOLD, text.as_bytes(), &cuts);
        assert_eq!(cut, whole, "cut at {size}: {text}");
    }
    whole.map(|(out, _)| String::from_utf8(out).unwrap())
}

fn cleared(text: &str) -> String {
    filter(&sections(), Some("internal"), text).unwrap_or_else(|fault| format!("{fault:?}"))
}

#[test]
fn sections_above_the_clearance_or_of_others_are_removed() {
    for (text, left) in [
        (r#"{"sections":[]}"#, r#"{"sections":[]}"#),
        (
            r#"{"sections": [ {"level":"public","org":"acme"} , {"level":"secret","org":"acme","x":"no"} ]}"#,
            r#"{"sections": [ {"level":"public","org":"acme"}  ]}"#,
        ),
        (
            r#"{"sections":[{"level":"secret","org":"acme"},{"level":"public","org":"acme"}],"n":1}"#,
            r#"{"sections":[{"level":"public","org":"acme"}],"n":1}"#,
        ),
        (r#"{"sections":[{"level":"public","org":"globex"}]}"#, r#"{"sections":[]}"#),
        (
            r#"{"sections":{"a":{"level":"secret"},"b":{"x":[1,{}],"org":"acme","level":"internal"},"c":{}}}"#,
            r#"{"sections":{"b":{"x":[1,{}],"org":"acme","level":"internal"}}}"#,
        ),
        // Elsewhere a level means nothing.
        (
            r#"{"level":"secret","other":[{"level":"secret"}]}"#,
            r#"{"level":"secret","other":[{"level":"secret"}]}"#,
        ),
        // Sections in sections.
        (
            r#"{"sections":[{"parts":[{"level":"secret"},{"level":"public"}],"level":"public","org":"acme"}]}"#,
            r#"{"sections":[{"parts":[{"level":"public"}],"level":"public","org":"acme"}]}"#,
        ),
        (
            r#"{"sections":[{"parts":[{"level":"public"}],"level":"secret","org":"acme"}]}"#,
            r#"{"sections":[]}"#,
        ),
        // Names are compared as they read.
        (
            r#"{"secti\u006fns":[{"l\u0065vel":"secr\u0065t","org":"acme"}]}"#,
            r#"{"secti\u006fns":[]}"#,
        ),
    ] {
        assert_eq!(cleared(text), left, "{text}");
    }
}

#[test]
fn a_section_whose_tags_are_missing_or_unknown_is_removed() {
    for section in [
        r#"{}"#,
        r#"{"org":"acme"}"#,
        r#"{"level":"public"}"#,
        r#"{"level":"Public","org":"acme"}"#,
        r#"{"level":null,"org":"acme"}"#,
        r#"{"level":["public"],"org":"acme"}"#,
        r#"{"level":{"level":"public"},"org":"acme"}"#,
        r#"{"level":1,"org":"acme"}"#,
        r#"{"level":"","org":"acme"}"#,
        r#"{"level":"public ","org":"acme"}"#,
        r#"{"level":"public","org":""}"#,
        r#"{"level":"pub\ud800lic","org":"acme"}"#,
        r#"{"x":{"level":"public","org":"acme"}}"#,
        r#""public""#,
        "1",
        "null",
        "[[1,2],{}]",
        "true",
    ] {
        let text = format!(r#"{{"sections":[{section},{{"level":"public","org":"acme"}}]}}"#);
        assert_eq!(cleared(&text), r#"{"sections":[{"level":"public","org":"acme"}]}"#, "{text}");
        let text = format!(r#"{{"sections":[{{"level":"public","org":"acme"}},{section}]}}"#);
        assert_eq!(cleared(&text), r#"{"sections":[{"level":"public","org":"acme"}]}"#, "{text}");
    }
    // Without a clearance no level is low enough, and nobody's sections are everybody's.
    let text = r#"{"sections":[{"level":"public","org":"acme"}]}"#;
    assert_eq!(filter(&sections(), None, text).as_deref(), Ok(r#"{"sections":[]}"#));
}

#[test]
fn a_document_that_is_a_section_becomes_null() {
    let whole: Rc<[Section]> = [section("", Some("level"), None)].into();
    let read = |text: &str| filter(&whole, Some("internal"), text);
    for (text, left) in [
        (r#" {"a":1,"level":"secret"} "#, " null "),
        (r#"{"a":1,"level":"internal"}"#, r#"{"a":1,"level":"internal"}"#),
        ("[1]", "null"),
        ("12", "null"),
        (r#""secret""#, "null"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(left), "{text}");
    }
}

#[test]
fn what_is_no_strict_json_is_refused() {
    for text in [
        "{",
        "[",
        "]",
        "}",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{1:2}"#,
        r#"{"a":1 "b":2}"#,
        "nul",
        "nulll",
        "truefalse",
        "True",
        "NaN",
        "Infinity",
        "-",
        "01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "0x1",
        "1_0",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\t\"",
        "\"\u{0}\"",
        "1 2",
        "{} {}",
        "[]]",
        "\u{feff}{}",
        "// c\n1",
        "/**/1",
        "  ",
        r#"{"\ud800":1}"#,
    ] {
        assert_eq!(cleared(text), "Form", "{text}");
    }
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xe2\x82\"",
        b"\"\x80\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\xff\xfe1\0",
        b"{\"\xff\":1}",
    ] {
        for size in [1, 2, 64] {
            let cuts = vec![size; bytes.len() / size];
            let read = filter_cut(&sections(), None, HOLD, bytes, &cuts);
            assert_eq!(read, Err(Fault::Form), "{bytes:x?}");
        }
    }
    // No content at all is whole.
    assert_eq!(cleared(""), "");
}

#[test]
fn a_name_twice_is_refused_however_it_is_written_and_wherever_it_stands() {
    for text in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"[{"x":{"a":1,"b":2,"a":3}}]"#,
        r#"{"sections":[{"level":"public","org":"acme","level":"secret"}]}"#,
        r#"{"sections":[{"level":"secret","x":{"a":1,"a":1}}]}"#,
        r#"{"sections":[],"sections":[{"level":"secret"}]}"#,
    ] {
        assert_eq!(cleared(text), "Twice", "{text}");
    }
    assert_eq!(cleared(r#"[{"a":1},{"a":1}]"#), r#"[{"a":1},{"a":1}]"#);
}

#[test]
fn depth_names_and_what_is_held_have_bounds() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(cleared(&deep(MOST_DEPTH)), deep(MOST_DEPTH));
    assert_eq!(cleared(&deep(MOST_DEPTH + 1)), "Size");
    let names = |count: usize| {
        let members: Vec<String> = (0..count).map(|at| format!("\"{at}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        filter_cut(&sections(), None, HOLD, text.as_bytes(), &[])
            .map(|(out, _)| out == text.as_bytes())
    };
    assert_eq!(names(MOST_NAMES), Ok(true));
    assert_eq!(names(MOST_NAMES + 1), Err(Fault::Size));
    let name = |length: usize| {
        let text = format!("{{\"{}\":1}}", "n".repeat(length)).into_bytes();
        filter_cut(&sections(), None, 4096, &text, &[]).map(|(out, _)| out == text)
    };
    assert_eq!(name(1022), Ok(true));
    assert_eq!(name(1023), Err(Fault::Size));
    assert_eq!(cleared(&format!("{{\"{}\":1}}", "n".repeat(HOLD))), "Held");
    let long = " ".repeat(HOLD);
    // A section that waits for its tags, and one whose tags come first.
    let late = format!(r#"{{"sections":[{{"x":"{long}","level":"public","org":"acme"}}]}}"#);
    assert_eq!(cleared(&late), "Held");
    let early = format!(r#"{{"sections":[{{"level":"public","org":"acme","x":"{long}"}}]}}"#);
    assert_eq!(cleared(&early), early);
    // What is dropped is not held.
    let dropped = format!(r#"{{"sections":[{{"level":"secret","x":"{long}{long}"}}]}}"#);
    assert_eq!(cleared(&dropped), r#"{"sections":[]}"#);
}

#[test]
fn pointers_name_members_elements_and_all_of_them() {
    for (at, left) in [
        ("/a/0", r#"{"a":[{"l":"public"}],"b/c":{"d":{}}}"#),
        ("/a/*", r#"{"a":[{"l":"public"}],"b/c":{"d":{}}}"#),
        ("/a/1", r#"{"a":[{},{"l":"public"}],"b/c":{"d":{}}}"#),
        ("/a/01", r#"{"a":[{},{"l":"public"}],"b/c":{"d":{}}}"#),
        ("/b~1c", r#"{"a":[{},{"l":"public"}]}"#),
        ("/*/d", r#"{"a":[{},{"l":"public"}],"b/c":{}}"#),
        ("/a", r#"{"b/c":{"d":{}}}"#),
    ] {
        let sections: Rc<[Section]> = [section(at, Some("l"), None)].into();
        let text = r#"{"a":[{},{"l":"public"}],"b/c":{"d":{}}}"#;
        assert_eq!(filter(&sections, Some("public"), text).as_deref(), Ok(left), "{at}");
    }
    for text in ["a", "/a~", "/a~2", &"/a".repeat(17)] {
        assert!(Pointer::parse(text).is_err(), "{text}");
    }
}

/// The whole document read by another parser, and filtered from the outside in.
fn expected(value: &Value, path: &[String], clearance: usize) -> Option<Value> {
    let names = ["public", "internal", "secret"];
    let at = |wanted: &[&str]| {
        wanted.len() == path.len()
            && wanted.iter().zip(path).all(|(wanted, step)| *wanted == "*" || wanted == step)
    };
    let level = |value: &Value| {
        let level = value.get("level").and_then(Value::as_str);
        level.and_then(|level| names.iter().position(|name| *name == level))
    };
    let low = level(value).is_some_and(|level| level <= clearance);
    let own = value.get("org").and_then(Value::as_str) == Some("acme");
    if at(&["sections", "*"]) && !(low && own) || at(&["sections", "*", "parts", "*"]) && !low {
        return None;
    }
    let below = |step: String| [path, &[step]].concat();
    Some(match value {
        Value::Array(all) => {
            let kept = all.iter().enumerate();
            kept.filter_map(|(at, one)| expected(one, &below(at.to_string()), clearance)).collect()
        }
        Value::Object(all) => {
            let kept = all.iter().filter_map(|(name, one)| {
                Some((name.clone(), expected(one, &below(name.clone()), clearance)?))
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        other => other.clone(),
    })
}

fn value() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["level", "org", "parts", "sections", "x", "é\"\\", ""]);
    let text = prop::sample::select(vec![
        "public",
        "internal",
        "secret",
        "acme",
        "globex",
        "\u{1f4a1}\n",
        "",
    ]);
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What leaves is what another parser would leave, and the same for every chunking.
    #[test]
    fn what_leaves_is_the_document_without_the_sections(
        inner in prop::collection::vec(value(), 0..6),
        pretty in any::<bool>(),
        clearance in 0..3usize,
        cuts in prop::collection::vec(0..24usize, 0..40),
    ) {
        let document = json!({"first": 1, "sections": inner, "x": {"sections": [{}]}});
        let text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) };
        let text = text.unwrap();
        let name = ["public", "internal", "secret"][clearance];
        let whole = filter_cut(&sections(), Some(name), 1 << 20, &text, &[]).unwrap();
        let cut = filter_cut(&sections(), Some(name), 1 << 20, &text, &cuts).unwrap();
        prop_assert_eq!(&cut, &whole);
        let left: Value = serde_json::from_slice(&whole.0).unwrap();
        prop_assert_eq!(left, expected(&document, &[], clearance).unwrap());
        if whole.1 == 0 {
            prop_assert_eq!(&whole.0, &text);
        }
    }

    /// Whatever comes, how it is cut changes nothing, what is accepted is JSON to another
    /// parser as well, and what leaves is too.
    #[test]
    fn hostile_text_is_read_alike_however_it_is_cut(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", " ", "\"sections\"", "\"level\"", "\"org\"", "\"acme\"", "\"public\"",
            "\"secret\"", "1", "-0", ".5", "e3", "null", "tru", "e", "\"\\u00", "e9\"", "\\", "\"", "{\"sections\":[",
            "{\"level\":\"public\",\"org\":\"acme\"", "\u{e9}",
        ]), 0..24),
        cuts in prop::collection::vec(0..6usize, 0..40),
        hold in 1..200usize,
    ) {
        let text = pieces.concat().into_bytes();
        let whole = filter_cut(&sections(), Some("public"), hold, &text, &[]);
        let cut = filter_cut(&sections(), Some("public"), hold, &text, &cuts);
        prop_assert_eq!(&cut, &whole);
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
        match whole {
            Ok((out, _)) if !text.is_empty() => {
                prop_assert!(read.is_ok(), "{:?}", String::from_utf8_lossy(&text));
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
            }
            Err(Fault::Form) => prop_assert!(read.is_err(), "{:?}", String::from_utf8_lossy(&text)),
            _ => {}
        }
    }
}
