//! Rows: one per encoding that must be seen, one per innocent text that must not.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use postern_core::placeholder::Reference;
use proptest::prelude::*;

use super::*;

/// Whether a scan sees a marker when `bytes` come in chunks of `size`, and whether so does a
/// look at all of them at once.
fn sees_in_chunks(bytes: &[u8], size: usize) -> bool {
    let mut scan = MarkerDetector.scan();
    bytes.chunks(size.max(1)).for_each(|chunk| {
        scan.feed(chunk);
    });
    let seen = scan.finish();
    assert_eq!(MarkerDetector.sees(bytes), seen, "{}", String::from_utf8_lossy(bytes));
    seen
}

const PLACEHOLDER: &str = "<CREDENTIAL:slack>";

/// An encoding of a text; `seed` varies what the encoding leaves open.
type Encoding = (&'static str, fn(&[u8], u64) -> Vec<u8>);

/// Applies `spell` to the bytes that `seed` chooses, at least to one, and to what an
/// encoder cannot leave as it is.
fn some(text: &[u8], seed: u64, spell: impl Fn(u8) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, &b) in text.iter().enumerate() {
        if seed >> (i % 61) & 1 == 1 || i as u64 == seed % 11 || b"\\&".contains(&b) {
            out.extend(spell(b).into_bytes());
        } else {
            out.push(b);
        }
    }
    out
}

/// The same for escapes that spell characters, not bytes.
fn points(text: &[u8], seed: u64, spell: impl Fn(u8) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    for run in text.chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
        if run[0].is_ascii() { out.extend(some(run, seed, &spell)) } else { out.extend(run) }
    }
    out
}

fn wrapped(text: &str, width: usize, line: &str) -> Vec<u8> {
    let lines: Vec<&str> =
        text.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect();
    lines.join(line).into_bytes()
}

fn utf16(text: &[u8]) -> impl Iterator<Item = u16> {
    text.iter().map(|b| u16::from(*b))
}

fn hex_of(text: &[u8]) -> String {
    text.iter().map(|b| format!("{b:02x}")).collect()
}

fn padded(text: &[u8], seed: u64) -> Vec<u8> {
    let mut shifted = b"xyz"[..(seed % 4) as usize].to_vec();
    shifted.extend_from_slice(text);
    shifted
}

/// Encodings of which any two may lie on top of each other.
const STACKABLE: [Encoding; 12] = [
    ("percent, upper-case hex", |t, s| some(t, s, |b| format!("%{b:02X}"))),
    ("percent, lower-case hex", |t, s| some(t, s, |b| format!("%{b:02x}"))),
    ("percent u", |t, s| points(t, s, |b| format!("%u{b:04x}"))),
    ("JSON escapes", |t, s| points(t, s, |b| format!("\\u{b:04X}"))),
    ("backslash x", |t, s| some(t, s, |b| format!("\\x{b:02x}"))),
    ("backslash braces", |t, s| points(t, s, |b| format!("\\u{{{b:x}}}"))),
    ("character references, decimal", |t, s| points(t, s, |b| format!("&#{b};"))),
    ("character references, hex", |t, s| points(t, s, |b| format!("&#x00000{b:X};"))),
    ("base64", |t, s| STANDARD.encode(padded(t, s)).into_bytes()),
    ("base64url", |t, s| URL_SAFE_NO_PAD.encode(padded(t, s)).into_bytes()),
    ("hex, lower", |t, _| hex_of(t).into_bytes()),
    ("hex, upper", |t, _| hex_of(t).to_uppercase().into_bytes()),
];

/// Encodings that are tried alone and inside base64.
const FURTHER: [Encoding; 20] = [
    ("raw", |t, _| t.to_vec()),
    ("lower case", |t, _| t.to_ascii_lowercase()),
    ("octal", |t, s| some(t, s, |b| format!("\\{b:03o}"))),
    ("backslash U", |t, s| points(t, s, |b| format!("\\U{b:08x}"))),
    ("backslash before punctuation", |t, _| {
        String::from_utf8_lossy(t).replace('<', "\\<").replace(':', "\\:").into_bytes()
    }),
    ("named references", |t, _| {
        String::from_utf8_lossy(t).replace('<', "&lt;").replace(':', "&colon;").into_bytes()
    }),
    ("named reference without semicolon", |t, _| {
        String::from_utf8_lossy(t).replace('<', "&lt").into_bytes()
    }),
    ("decimal reference without semicolon", |t, _| {
        String::from_utf8_lossy(t).replace('<', "&#60").into_bytes()
    }),
    ("quoted-printable", |t, s| some(t, s, |b| format!("={b:02X}"))),
    ("soft line breaks", |t, s| some(t, s, |b| format!("=\r\n{}", char::from(b)))),
    ("UTF-16LE", |t, _| utf16(t).flat_map(u16::to_le_bytes).collect()),
    ("UTF-16BE", |t, _| utf16(t).flat_map(u16::to_be_bytes).collect()),
    ("UTF-32LE", |t, _| t.iter().flat_map(|b| u32::from(*b).to_le_bytes()).collect()),
    ("UTF-7, each character", |t, s| {
        some(t, s, |b| format!("+{}-", STANDARD_NO_PAD.encode(u16::from(b).to_be_bytes())))
    }),
    ("UTF-7, one run", |t, _| {
        let wide: Vec<u8> = utf16(t).flat_map(u16::to_be_bytes).collect();
        format!("+{}-", STANDARD_NO_PAD.encode(wide)).into_bytes()
    }),
    ("overlong, two bytes", |t, _| t.iter().flat_map(|b| [0xc0 | b >> 6, 0x80 | b & 63]).collect()),
    ("overlong, three bytes", |t, _| {
        t.iter().flat_map(|b| [0xe0, 0x80 | b >> 6, 0x80 | b & 63]).collect()
    }),
    ("full width", |t, _| {
        let wide = |b: &u8| char::from_u32(u32::from(*b) + 0xfee0).unwrap();
        t.iter().map(wide).collect::<String>().into_bytes()
    }),
    ("Cyrillic letters", |t, _| String::from_utf8_lossy(t).replace('C', "С").into_bytes()),
    ("soft hyphens", |t, _| {
        t.iter().map(|b| format!("{}\u{ad}", char::from(*b))).collect::<String>().into_bytes()
    }),
];

const SEEDS: [u64; 6] = [0, 1, 0x5555_5555, 0xaaaa_aaab, 0x1234_5678_9abc_def1, u64::MAX];

#[test]
fn every_encoding_is_seen_at_every_chunking() {
    for (name, encode) in STACKABLE.iter().chain(&FURTHER) {
        for seed in SEEDS {
            let body = [b"{\"text\": \"", &*encode(PLACEHOLDER.as_bytes(), seed), b"\"}"].concat();
            for size in [1, 2, 3, 5, 7, 64, body.len()] {
                assert!(sees_in_chunks(&body, size), "{name} seed {seed:x} chunks of {size}");
            }
        }
    }
}

#[test]
fn every_encoding_is_seen_at_the_very_end() {
    for (name, encode) in STACKABLE.iter().chain(&FURTHER) {
        for seed in SEEDS {
            assert!(MarkerDetector.sees(&encode(b"<CREDENTIAL:", seed)), "{name} seed {seed:x}");
        }
    }
}

#[test]
fn two_encodings_on_top_of_each_other_are_seen() {
    for (inner, encode) in STACKABLE.iter().chain(&FURTHER) {
        for (outer, again) in &STACKABLE {
            for seed in SEEDS {
                let once = encode(PLACEHOLDER.as_bytes(), seed);
                let twice = again(&once, seed.rotate_left(7));
                assert!(MarkerDetector.sees(&twice), "{outer} of {inner}, seed {seed:x}");
            }
        }
    }
}

#[test]
fn wrapped_base64_is_seen() {
    let text = STANDARD.encode(b"some words before <CREDENTIAL:slack> and some behind it");
    for (width, line) in [
        (76, "\r\n"),
        (64, "\n"),
        (4, "\r\n"),
        (1, "\n"),
        (20, "\\n"),
        (20, "%0D%0A"),
        (20, "=\r\n"),
    ] {
        assert!(MarkerDetector.sees(&wrapped(&text, width, line)), "{width} {line:?}");
    }
}

#[test]
fn long_plain_text_in_front_hides_nothing() {
    for (name, encode) in STACKABLE.iter().chain(&FURTHER) {
        let body = [&b"word ".repeat(400)[..], &encode(PLACEHOLDER.as_bytes(), 5)].concat();
        assert!(MarkerDetector.sees(&body), "{name}");
        let body =
            [&b"abcdefgh".repeat(400)[..], b" ", &encode(PLACEHOLDER.as_bytes(), 5)].concat();
        assert!(MarkerDetector.sees(&body), "{name} behind a run");
    }
}

#[test]
fn mixed_escapes_in_one_marker_are_seen() {
    for row in [
        &b"&lt;CRED%45NTIAL\\u003a"[..],
        b"%26lt%3BCREDENTIAL%3A",
        b"%253CCREDENTIAL%253A",
        b"\\\\u003cCREDENTIAL:",
        b"\\u0025\\u0033CCREDENTIAL:",
        b"x=%3ccredential%3aa%3e",
        b"key=3c43524544454e5449414c3a",
        b"key=3c%34%33524544454e5449414c3a",
        b"%%3CCREDENTIAL:",
        b"\\u00<CREDENTIAL:",
        b"&<CREDENTIAL:",
        b"+<CREDENTIAL:",
        b"=<CREDENTIAL:",
        b"=3<CREDENTIAL:",
        b"\xc3<CREDENTIAL:",
        b"<<<CREDENTIAL:",
        b"<CRED<CREDENTIAL:",
        b"&ampl;<CREDENTIAL:",
        b"3c 43 52 45 44 45 4e 54 49 41 4c 3a",
    ] {
        for size in [1, 4, row.len()] {
            assert!(sees_in_chunks(row, size), "{}", String::from_utf8_lossy(row));
        }
    }
}

#[test]
fn innocent_text_is_not_seen() {
    for row in [
        &b""[..],
        b"{\"credential\": \"<none>\", \"name\": \"CREDENTIAL:\"}",
        b"<CREDENTIAL>",
        b"<CREDENTIAL",
        b"< CREDENTIAL:slack>",
        b"&lt;CREDENTIALS:",
        b"<credentials:x>",
        b"%3CCREDENTIAL%3E",
        b"a=1&b=2+3&c=%20%20&d=100%",
        b"C:\\new\\table\\users\\x",
        b"=?utf-8?q?=3Cnothing=3E?=",
        b"<p>1 &lt; 2 &amp;&amp; 3 &gt; 2 &copy; &#169;</p>",
        b"PENSRURFTlRJQUw8",          // base64 of `<CREDENTIAL<`
        b"P!ENSRURFTlRJQUw6c2xhY2s+", // of the run that is long enough the `<` has but a part
        b"3!c43524544454e5449414c3a",
        b"3c43524544454e5449414c3c",
        b"\xff\xfe\x00\x00\x01\x02",
    ] {
        for size in [1, 4, row.len()] {
            assert!(!sees_in_chunks(row, size), "{}", String::from_utf8_lossy(row));
        }
    }
    let image: Vec<u8> =
        (0_u32..60_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert!(!MarkerDetector.sees(&image));
    assert!(!MarkerDetector.sees(STANDARD.encode(&image).as_bytes()));
    assert!(!MarkerDetector.sees(hex_of(&image).as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_placeholder_is_seen_in_any_place(
        name in "[a-z0-9][a-z0-9_-]{0,62}",
        before in ".{0,80}",
        gap in "[ ,;\"'>\n(]",
        after in ".{0,40}",
        first in 0..STACKABLE.len(),
        second in 0..STACKABLE.len() * 2,
        seeds in any::<(u64, u64)>(),
        size in 1_usize..200,
    ) {
        let mut text = STACKABLE[first].1(format!("<CREDENTIAL:{name}>").as_bytes(), seeds.0);
        if let Some((_, encode)) = STACKABLE.get(second) {
            text = encode(&text, seeds.1);
        }
        let body = [before.as_bytes(), gap.as_bytes(), &text, after.as_bytes()].concat();
        prop_assert!(sees_in_chunks(&body, size));
    }

    #[test]
    fn what_is_seen_at_once_is_what_a_scan_sees(
        first in 0..STACKABLE.len() + FURTHER.len(),
        second in 0..STACKABLE.len() + FURTHER.len() + 8,
        seeds in any::<(u64, u64)>(),
        before in ".{0,8}",
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<Option<u8>>()), 0..4),
    ) {
        let encodings: Vec<&Encoding> = STACKABLE.iter().chain(&FURTHER).collect();
        let mut text = encodings[first].1(PLACEHOLDER.as_bytes(), seeds.0);
        if let Some((_, encode)) = encodings.get(second) {
            text = encode(&text, seeds.1);
        }
        text.splice(0..0, before.bytes());
        for (at, to) in changes {
            let at = at.index(text.len());
            match to {
                Some(to) => text[at] = to,
                None => drop(text.remove(at)),
            }
        }
        prop_assert_eq!(MarkerDetector.sees(&text), MarkerDetector.reads(&text));
    }

    #[test]
    fn whatever_the_core_reads_as_a_placeholder_is_seen(
        text in "(<|<CREDENTIAL:|<credential:|[a-z0-9_.-]{1,8}|>| ){0,8}",
        before in proptest::collection::vec(any::<u8>(), 0..40),
        size in 1_usize..30,
    ) {
        for from in 0..text.len() {
            for to in from..=text.len() {
                if Reference::parse(&text[from..to]).is_some() {
                    let body = [&before[..], text.as_bytes()].concat();
                    prop_assert!(sees_in_chunks(&body, size));
                    let basic = format!("Basic {}", STANDARD.encode(format!("user:{text}")));
                    let seen = sees_in_chunks(basic.as_bytes(), size);
                    prop_assert!(seen);
                }
            }
        }
    }

    #[test]
    fn a_raw_placeholder_is_seen_behind_any_bytes(
        before in proptest::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..50,
    ) {
        // A lead byte of UTF-8 in front cannot swallow `<`.
        let body = [&before[..], PLACEHOLDER.as_bytes()].concat();
        prop_assert!(sees_in_chunks(&body, size));
    }

    #[test]
    fn random_bytes_are_not_seen(
        body in proptest::collection::vec(any::<u8>(), 0..2000),
        escapes in "[<%\\\\&=+#;ux0-9A-Fa-f:]{0,300}",
    ) {
        prop_assert!(!MarkerDetector.sees(&body));
        prop_assert!(!MarkerDetector.sees(escapes.as_bytes()));
        prop_assert!(!MarkerDetector.sees(STANDARD.encode(&body).as_bytes()));
    }

    #[test]
    fn the_answer_does_not_depend_on_chunks(
        body in "(<|%3C|&lt;|CREDENTIAL|%|=|3c|:|%3A|\\\\u003a|\\+ADw-|x){0,12}",
        size in 1_usize..20,
    ) {
        prop_assert_eq!(sees_in_chunks(body.as_bytes(), size), MarkerDetector.reads(body.as_bytes()));
    }
}

#[test]
fn a_marker_in_compressed_content_is_seen_at_every_chunking() {
    use std::io::Write as _;
    let compress = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let once = compress(b"a form with %3CCREDENTIAL:slack> in it");
    let twice = compress(&once);
    let clean = compress(b"a form with nothing in it");
    for (bytes, seen) in [(&once, true), (&twice, true), (&clean, false)] {
        for size in 1..bytes.len() {
            assert_eq!(sees_in_chunks(bytes, size), seen, "by {size}");
        }
    }
}
