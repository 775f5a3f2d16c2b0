//! One value, spelt in every mixture that a reader would undo.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_core::effect::Flow;
use postern_core::inject::{InPlay, Keep};
use postern_core::secret::Secret;
use proptest::prelude::*;

use crate::PatternScrubbing;

const VALUE: &str = "xoxb-7/Gq+secret=Zk4Qw~31";

fn scrub_by(value: &str, body: &[u8], size: usize) -> Vec<u8> {
    let secret = |text: String| Secret::new(text.into_bytes());
    let secrets = [InPlay {
        value: secret(value.to_owned()),
        rendered: secret(format!("Bearer {value}")),
        keep: Keep::Worker,
    }];
    // Compiled once for all chunkings.
    thread_local!(static SCRUBBING: PatternScrubbing = PatternScrubbing::new());
    let mut scrubber = SCRUBBING.with(|scrubbing| scrubbing.scrubber(&secrets));
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for chunk in body.chunks(size.max(1)).chain([&[][..]]) {
        held.extend_from_slice(chunk);
        let scrubbed = scrubber.chunk(chunk, chunk.is_empty()).unwrap();
        held = scrubbed.replace.unwrap_or(held);
        if scrubbed.flow == Flow::Continue {
            out.append(&mut held);
        }
    }
    out
}

fn each(value: &str, spell: impl Fn(usize, u8) -> String) -> Vec<u8> {
    value.bytes().enumerate().map(|(at, b)| spell(at, b)).collect::<String>().into_bytes()
}

fn some(value: &str, spell: impl Fn(u8) -> String) -> Vec<u8> {
    each(value, |at, b| if at % 3 == 1 { spell(b) } else { char::from(b).to_string() })
}

fn named(b: u8) -> String {
    match b {
        b'/' => "&sol;".into(),
        b'+' => "&plus;".into(),
        b'=' => "&equals;".into(),
        b => format!("&#x{b:x};"),
    }
}

fn lines(text: &str, width: usize, line: &str) -> Vec<u8> {
    let lines: Vec<&str> =
        text.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect();
    lines.join(line).into_bytes()
}

fn base32(value: &str, lower: bool) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<u8> = value.bytes().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    let digit =
        |bits: &[u8]| bits.iter().fold(0, |n, b| n << 1 | usize::from(*b)) << (5 - bits.len());
    let text: String = bits.chunks(5).map(|bits| char::from(digits[digit(bits)])).collect();
    if lower { text.to_lowercase() } else { text }
}

fn hex_by(value: &str, between: &str) -> Vec<u8> {
    value.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(between).into_bytes()
}

fn base64(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    STANDARD.encode(bytes).into_bytes()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn escaped(value: &str) -> Vec<u8> {
    each(value, |_, b| match b {
        b'/' | b'+' | b'=' => format!("%{b:02X}"),
        b => char::from(b).to_string(),
    })
}

fn wide(value: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    value.encode_utf16().flat_map(order).collect()
}

type Spelling = (&'static str, fn(&str) -> Vec<u8>);

/// Spellings of which nothing may be left.
const WHOLE: [Spelling; 46] = [
    ("percent, upper", |v| each(v, |_, b| format!("%{b:02X}"))),
    ("percent, lower", |v| each(v, |_, b| format!("%{b:02x}"))),
    ("percent, some", |v| some(v, |b| format!("%{b:02X}"))),
    ("percent, twice", |v| each(v, |_, b| format!("%25{b:02X}"))),
    ("percent, twice, full", |v| {
        each(v, |_, b| format!("%25%3{}%{:02x}", b >> 4, b"0123456789abcdef"[usize::from(b & 15)]))
    }),
    ("backslash u", |v| each(v, |_, b| format!("\\u00{b:02x}"))),
    ("backslash u, some", |v| some(v, |b| format!("\\u00{b:02X}"))),
    ("backslash x", |v| each(v, |_, b| format!("\\x{b:02x}"))),
    ("octal", |v| each(v, |_, b| format!("\\{b:03o}"))),
    ("JSON in JSON", |v| each(v, |_, b| format!("\\\\u00{b:02x}"))),
    ("references, decimal", |v| each(v, |_, b| format!("&#{b};"))),
    ("references, hex", |v| each(v, |_, b| format!("&#X{b:X};"))),
    ("references, zeros", |v| each(v, |_, b| format!("&#x0000000000000000000{b:x};"))),
    ("references, named", |v| each(v, |_, b| named(b))),
    ("mixed for each character", |v| {
        each(v, |at, b| match at % 6 {
            0 => format!("%{b:02X}"),
            1 => format!("\\u00{b:02x}"),
            2 => format!("&#{b};"),
            3 => format!("\\x{b:02X}"),
            4 => named(b),
            _ => char::from(b).to_string(),
        })
    }),
    ("JSON, solidus", |v| v.replace('/', "\\/").into_bytes()),
    ("quoted-printable", |v| each(v, |_, b| format!("={b:02X}"))),
    ("quoted-printable, soft breaks", |v| {
        each(v, |at, b| match (at % 4, b) {
            (3, b'=') => "=3D=\r\n".into(),
            (_, b'=') => "=3D".into(),
            (3, b) => format!("{}=\r\n", char::from(b)),
            (_, b) => char::from(b).to_string(),
        })
    }),
    ("UTF-16LE", |v| v.bytes().flat_map(|b| [b, 0]).collect()),
    ("UTF-16LE, percent", |v| {
        each(v, |_, b| format!("%{b:02X}")).into_iter().flat_map(|b| [b, 0]).collect()
    }),
    ("base64, wrapped", |v| lines(&STANDARD.encode(v), 7, "\r\n")),
    ("base64, wrapped and indented", |v| lines(&STANDARD.encode(v), 9, "\n    ")),
    ("base64, wrapped in JSON", |v| lines(&STANDARD.encode(v), 5, "\\n")),
    ("base64, wrapped in JSON, CR", |v| lines(&STANDARD.encode(v), 5, "\\r\\n")),
    ("base64, percent", |v| STANDARD.encode(v).replace('=', "%3D").into_bytes()),
    ("base32", |v| base32(v, false).into_bytes()),
    ("base32, lower", |v| base32(v, true).into_bytes()),
    ("base32, wrapped", |v| lines(&base32(v, false), 8, "\n")),
    ("hex, colons", |v| hex_by(v, ":")),
    ("hex, spaces", |v| hex_by(v, " ")),
    ("hex, dashes, upper", |v| hex_by(v, "-").to_ascii_uppercase()),
    ("hex, wrapped", |v| hex_by(v, "\n")),
    ("hex, 0x and commas", |v| hex_by(v, ", 0x")),
    ("base64 of base64", |v| base64(base64(v))),
    ("base64 of base64, wrapped", |v| lines(&text(base64(base64(v))), 76, "\r\n")),
    ("base64 of base64url", |v| base64(URL_SAFE_NO_PAD.encode(v))),
    ("base64 of hex", |v| base64(hex_by(v, ""))),
    ("base64 of hex, percent", |v| each(&text(base64(hex_by(v, ""))), |_, b| format!("%{b:02X}"))),
    ("hex of hex", |v| hex_by(&text(hex_by(v, "")), "")),
    ("hex of hex, upper inside", |v| hex_by(&text(hex_by(v, "")).to_uppercase(), "")),
    ("hex of hex, colons", |v| hex_by(&text(hex_by(v, "")), ":")),
    ("bytes in JSON", |v| {
        v.bytes().map(|b| b.to_string()).collect::<Vec<_>>().join(", ").into_bytes()
    }),
    ("lines of an event", |v| [&v[..7], &v[7..]].join("\ndata: ").into_bytes()),
    ("lines of an event, CR and no space", |v| [&v[..5], &v[5..]].join("\r\ndata:").into_bytes()),
    ("in pieces", |v| lines(v, 4, " ")),
    ("in lines", |v| lines(v, 4, "\r\n")),
];

#[test]
fn every_spelling_is_replaced_at_every_chunking() {
    for (name, spell) in WHOLE {
        let body = [b"before; ", &spell(VALUE)[..], b" ;after"].concat();
        let whole = scrub_by(VALUE, &body, body.len());
        let text = String::from_utf8_lossy(&whole);
        assert_eq!(text.replace('\0', ""), "before; [REDACTED] ;after", "{name}");
        for size in 1..body.len() {
            assert_eq!(scrub_by(VALUE, &body, size), whole, "{name} by {size}");
        }
    }
}

/// Encodings of spellings, of which digits may be left that hold bits of what stands beside.
const INSIDE: [Spelling; 8] = [
    ("base64 of base64, inside", |v| base64(base64(format!("ab{v}c")))),
    ("base64 of base64, inside of both", |v| {
        base64([b"a".to_vec(), base64(format!("a{v}"))].concat())
    }),
    ("base64 of hex, inside", |v| base64([b"ab".to_vec(), hex_by(v, "")].concat())),
    ("base64 of percent", |v| base64(escaped(v))),
    ("base64 of JSON, solidus", |v| base64(v.replace('/', "\\/"))),
    ("base64 of UTF-16LE", |v| base64(wide(v, u16::to_le_bytes))),
    ("base64 of UTF-16BE", |v| base64(wide(v, u16::to_be_bytes))),
    ("base64 of UTF-16LE, inside", |v| base64(wide(&format!("\"{v}\""), u16::to_le_bytes))),
];

#[test]
fn encodings_of_spellings_are_replaced_at_every_chunking() {
    for (name, spell) in INSIDE {
        let body = [b"before; ", &spell(VALUE)[..], b" ;after"].concat();
        let whole = scrub_by(VALUE, &body, body.len());
        let text = String::from_utf8_lossy(&whole);
        assert!(text.contains("[REDACTED]") && text.len() < 45, "{name}: {text}");
        for size in 1..body.len() {
            assert_eq!(scrub_by(VALUE, &body, size), whole, "{name} by {size}");
        }
    }
}

#[test]
fn beginnings_are_replaced_in_every_form() {
    let part = |length: usize| &VALUE[..length];
    for length in 12..VALUE.len() {
        for (name, spelt) in [
            ("base64", base64(part(length))),
            ("base64, inside", base64(format!("ab{}!", part(length)))),
            ("hex", hex_by(part(length), "")),
            ("hex, colons", hex_by(part(length), ":")),
            ("hex, 0x and commas", hex_by(part(length), ", 0x")),
            ("base32", base32(part(length), false).into_bytes()),
            (
                "numbers",
                part(length)
                    .bytes()
                    .map(|b| b.to_string())
                    .collect::<Vec<_>>()
                    .join(",")
                    .into_bytes(),
            ),
        ] {
            let body = [b"<", &spelt[..], b">"].concat();
            let whole = scrub_by(VALUE, &body, body.len());
            let text = String::from_utf8_lossy(&whole);
            // Beside it at most the digits that hold bits of what follows.
            assert!(text.contains("[REDACTED]") && text.len() < 24, "{name}, {length}: {text}");
            for size in [1, 3, 7] {
                assert_eq!(scrub_by(VALUE, &body, size), whole, "{name} by {size}");
            }
        }
    }
    let eleven = [base64(part(11)), hex_by(part(11), "")];
    eleven.iter().for_each(|it| assert_eq!(scrub_by(VALUE, it, it.len()), *it));
}

#[test]
fn sixteen_bits_leave_at_most_the_half_of_a_neighbour() {
    let wide: Vec<u8> = VALUE.bytes().flat_map(|b| [0, b]).collect();
    assert_eq!(scrub_by(VALUE, &wide, 3), b"\0[REDACTED]");
}

#[test]
fn beginnings_and_ends_of_twelve_bytes_are_replaced() {
    for (body, want) in [
        (&VALUE[..12], "[REDACTED]"),
        (&VALUE[..11], &VALUE[..11]),
        (&VALUE[..20], "[REDACTED]"),
        (&VALUE[13..], "[REDACTED]"),
        (&VALUE[14..], &VALUE[14..]),
        (&VALUE[3..], "[REDACTED]"),
    ] {
        for size in [1, 5, 100] {
            let out = scrub_by(VALUE, format!("<{body}>").as_bytes(), size);
            assert_eq!(String::from_utf8(out).unwrap(), format!("<{want}>"), "{body}");
        }
    }
}

#[test]
fn what_tells_only_the_kind_of_a_value_is_left() {
    let header = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    let value = format!("{header}.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl");
    let other = format!("{header}.eyJvdGhlciI6IjEifQ.b3RoZXI");
    assert_eq!(scrub_by(&value, other.as_bytes(), 9), other.as_bytes());
    let part = format!("{header}.eyJzdWIiOiJt and more");
    assert_eq!(scrub_by(&value, part.as_bytes(), 9), b"[REDACTED] and more");
}

#[test]
fn gaps_without_end_are_given_up_and_nothing_is_held_for_them() {
    let gap = |count: usize| {
        let body = [&VALUE.as_bytes()[..9], &vec![0; count], &VALUE.as_bytes()[9..]].concat();
        (scrub_by(VALUE, &body, 11), body)
    };
    assert_eq!(gap(64).0, b"[REDACTED]");
    let (out, body) = gap(65);
    // The end of the value is still known.
    assert_eq!(out, [&body[..9 + 65], b"[REDACTED]"].concat());
}

#[test]
fn a_value_that_ends_like_an_escape_is_found_whatever_follows() {
    for (value, text) in [
        ("a0aA >abc\\", "a0aA &gt;abc\\\n"),
        ("a0aA >abc\\", "a0aA &gt;abc\\n"),
        ("a0aA >abc%4", "a0aA &gt;abc%41"),
        ("a0aA >abc&am", "a0aA &gt;abc&amp;"),
    ] {
        for size in [1, 3, 100] {
            let out = scrub_by(value, text.as_bytes(), size);
            assert!(out.starts_with(b"[REDACTED]"), "{}", String::from_utf8_lossy(&out));
        }
    }
}

/// Two readings may be in the same state though what is open began at different places.
#[test]
fn a_beginning_that_only_a_view_has_is_replaced_too() {
    let value = "3738aabbccddee";
    for size in [1, 3, 100] {
        let out = scrub_by(value, b"a 3\\x3738aabbccddee", size);
        assert_eq!(String::from_utf8(out).unwrap(), "a [REDACTED]", "by {size}");
    }
}

#[test]
fn plain_text_is_left_alone() {
    for body in [
        "100% of C:\\new & <b>x</b> &amp; a=b =3D x-y: z, \u{e9}t\u{e9} &#120; \\u0078 %78",
        "{\"a\":\"b\\n\\\"c\\\\\",\"d\":[1,2,3]}\r\n\r\ndata: x\n",
        "%%%%25%25%\\\\\\&&&#&#x&#;==\r\n=\n=4",
    ] {
        for size in [1, 2, 7, 100] {
            let out = scrub_by(VALUE, body.as_bytes(), size);
            assert_eq!(String::from_utf8(out).unwrap(), body, "by {size}");
        }
    }
}

/// Spellings of single characters and of what may stand between them.
fn spelling() -> impl Strategy<Value = Vec<u8>> {
    let character = (0..8_u8, 0..VALUE.len()).prop_map(|(how, at)| {
        let b = VALUE.as_bytes()[at];
        match how {
            0 => format!("%{b:02x}"),
            1 => format!("\\u00{b:02x}"),
            2 => format!("&#{b};"),
            3 => format!("={b:02X}"),
            4 => "\r\n".into(),
            5 => "\0".into(),
            _ => char::from(b).to_string(),
        }
        .into_bytes()
    });
    let all = WHOLE.len() + INSIDE.len();
    let whole = (0..all).prop_map(|at| WHOLE.iter().chain(&INSIDE).nth(at).unwrap().1(VALUE));
    let piece =
        prop_oneof![4 => character, 1 => whole, 1 => "[ -~]{0,6}".prop_map(String::into_bytes)];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn output_is_the_same_for_every_chunking_and_clean(body in spelling(), size in 1_usize..9) {
        let whole = scrub_by(VALUE, &body, body.len());
        prop_assert_eq!(&scrub_by(VALUE, &body, size), &whole);
        prop_assert_eq!(&scrub_by(VALUE, &whole, whole.len()), &whole, "scrubbed again");
    }

    /// Without the characters that these spellings would have to escape always.
    #[test]
    fn any_value_is_found_in_any_mixture(value in "[!-$'-<>-\\[\\]-~]{9,40}", how in 0..WHOLE.len(), size in 1_usize..60) {
        let (name, spell) = WHOLE[how];
        let text = spell(&value);
        let body = [b"\n<", &text[..], b">\n"].concat();
        let out = scrub_by(&value, &body, size);
        let found = out.windows(10).any(|window| window == b"[REDACTED]");
        prop_assert!(found, "{}: {}", name, String::from_utf8_lossy(&body));
    }
}
