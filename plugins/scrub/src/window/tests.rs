//! Same bytes out for every chunking, nothing secret in them.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_core::inject::{InPlay, Keep};
use postern_core::secret::Secret;
use proptest::prelude::*;

use super::*;
use crate::automaton::Automaton;
use crate::forms;
use crate::scrubbing::PatternScrubbing;

fn in_play(value: &str, rendered: &str) -> InPlay {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    InPlay { value: secret(value), rendered: secret(rendered), keep: Keep::Worker }
}

fn bearer(value: &str) -> InPlay {
    in_play(value, &format!("Bearer {value}"))
}

fn scrubber(secrets: &[InPlay]) -> Box<dyn Scrubber> {
    // Compiled once for all chunkings.
    thread_local!(static SCRUBBING: PatternScrubbing = PatternScrubbing::new());
    SCRUBBING.with(|scrubbing| scrubbing.scrubber(secrets))
}

/// Plays the host: holds what is paused, applies replacements, returns what left.
struct Host {
    scrubber: Box<dyn Scrubber>,
    held: Vec<u8>,
    out: Vec<u8>,
    longest_held: usize,
}

impl Host {
    fn new(secrets: &[InPlay]) -> Self {
        Self { scrubber: scrubber(secrets), held: Vec::new(), out: Vec::new(), longest_held: 0 }
    }

    fn chunk(&mut self, chunk: &[u8], end: bool) {
        self.held.extend_from_slice(chunk);
        let scrubbed = self.scrubber.chunk(chunk, end).unwrap();
        if let Some(content) = scrubbed.replace {
            self.held = content;
        }
        if scrubbed.flow == Flow::Continue {
            self.out.append(&mut self.held);
        }
        self.longest_held = self.longest_held.max(self.held.len());
    }

    fn trailers(&mut self) -> Result<(), Unscannable> {
        if let Some(content) = self.scrubber.end_by_trailers()? {
            assert!(!self.held.is_empty(), "no buffer to replace");
            self.held = content;
        }
        self.out.append(&mut self.held);
        Ok(())
    }
}

fn scrub(secrets: &[InPlay], body: &[u8], size: usize) -> String {
    let mut host = Host::new(secrets);
    for chunk in body.chunks(size.max(1)) {
        host.chunk(chunk, false);
    }
    host.chunk(b"", true);
    String::from_utf8_lossy(&host.out).into_owned()
}

const VALUE: &str = "xoxb-12/34+\"56&78<90>\\abcdef~";

/// Where and how an upstream may echo the value.
type Row = (&'static str, fn(&str) -> String);
const ECHOES: [Row; 21] = [
    ("raw", |v| v.to_owned()),
    ("rendered", |v| format!("Bearer {v}")),
    ("base64", |v| STANDARD.encode(v)),
    ("base64, one byte in front", |v| STANDARD.encode(format!("1{v}23"))),
    ("base64, two bytes in front", |v| STANDARD.encode(format!("12{v}3"))),
    ("base64, three bytes in front", |v| STANDARD.encode(format!("123{v}456"))),
    ("base64url", |v| URL_SAFE_NO_PAD.encode(v)),
    ("base64url, one byte in front", |v| URL_SAFE_NO_PAD.encode(format!("1{v}"))),
    ("base64url, two bytes in front", |v| URL_SAFE_NO_PAD.encode(format!("12{v}"))),
    ("percent, all, upper", |v| v.bytes().map(|b| format!("%{b:02X}")).collect()),
    ("percent, all, lower", |v| v.bytes().map(|b| format!("%{b:02x}")).collect()),
    ("percent, reserved, upper", |v| reserved(v, "-._~", true)),
    ("percent, reserved, lower", |v| reserved(v, "-._~", false)),
    ("percent, encodeURIComponent", |v| reserved(v, "-._~!'()*", true)),
    ("percent, form", |v| reserved(v, "*-._", true)),
    ("hex, lower", |v| v.bytes().map(|b| format!("{b:02x}")).collect()),
    ("hex, upper", |v| v.bytes().map(|b| format!("{b:02X}")).collect()),
    ("JSON", |v| v.replace('\\', "\\\\").replace('"', "\\\"")),
    ("JSON, solidus", |v| v.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/")),
    ("JSON, HTML-safe", |v| {
        let v = v.replace('\\', "\\\\").replace('"', "\\\"");
        v.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }),
    ("HTML", |v| {
        let v = v.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        v.replace('"', "&quot;")
    }),
];

fn reserved(value: &str, keep: &str, upper: bool) -> String {
    let spell = |c: char| match c {
        _ if c.is_ascii_alphanumeric() || keep.contains(c) => c.to_string(),
        _ if upper => format!("%{:02X}", u32::from(c)),
        _ => format!("%{:02x}", u32::from(c)),
    };
    value.chars().map(spell).collect()
}

#[test]
fn every_form_is_replaced_at_every_chunking() {
    for (name, echo) in ECHOES {
        let body = format!("before: {} :after", echo(VALUE));
        let whole = scrub(&[bearer(VALUE)], body.as_bytes(), body.len());
        assert!(whole.starts_with("before: ") && whole.ends_with(" :after"), "{name}: {whole}");
        assert!(whole.contains("[REDACTED]"), "{name}: {whole}");
        // At most the digits that neighbours share, and their padding, are left.
        assert!(whole.len() <= "before: [REDACTED] :after".len() + 16, "{name}: {whole}");
        for size in 1..body.len() {
            assert_eq!(scrub(&[bearer(VALUE)], body.as_bytes(), size), whole, "{name}, {size}");
        }
    }
}

#[test]
fn basic_credentials_are_replaced_rendered_and_as_token() {
    let token = STANDARD.encode("user:hunter-2-hunter");
    let secret = || [in_play("hunter-2-hunter", &format!("Basic {token}"))];
    for (body, want) in [
        (format!("got Basic {token}."), "got [REDACTED]."),
        (format!("got {token}."), "got [REDACTED]."),
        ("user:hunter-2-hunter".to_owned(), "user:[REDACTED]"),
        (STANDARD.encode(&token), "[REDACTED]"),
    ] {
        assert_eq!(scrub(&secret(), body.as_bytes(), 3), want, "{body}");
    }
}

#[test]
fn short_values_are_replaced_but_not_their_derived_forms() {
    let secret = || [in_play("z", "z")];
    assert_eq!(
        scrub(&secret(), b"zoo 7a eg %7a eg== 7A", 1),
        "[REDACTED]oo 7a eg %7a [REDACTED] 7A"
    );
    let secret = || [in_play("", "")];
    assert_eq!(scrub(&secret(), b"nothing to find", 4), "nothing to find");
    assert_eq!(scrub(&[], b"nothing to find", 4), "nothing to find");
}

#[test]
fn overlapping_secrets_leave_no_end_sticking_out() {
    let secrets =
        || [in_play("abcdef", "abcdef"), in_play("efghij", "efghij"), in_play("cd", "cd")];
    for (body, want) in [
        ("xabcdefghijx", "x[REDACTED]x"),
        ("abcdefabcdef", "[REDACTED][REDACTED]"),
        ("abcde", "ab[REDACTED]e"),
        ("abcdexefghi", "ab[REDACTED]exefghi"),
        ("efghijcd", "[REDACTED][REDACTED]"),
    ] {
        for size in 1..=body.len() {
            assert_eq!(scrub(&secrets(), body.as_bytes(), size), want, "{body} by {size}");
        }
    }
}

#[test]
fn field_values_are_scrubbed_and_clean_ones_left_alone() {
    let mut scrubber = scrubber(&[bearer("s3cret-value")]);
    assert_eq!(
        scrubber.field(b"session=s3cret-value; path=/").unwrap(),
        b"session=[REDACTED]; path=/"
    );
    assert_eq!(scrubber.field(b"session=s3cret-valu"), None);
    assert_eq!(scrubber.hits(), 1);
}

#[test]
fn clean_content_passes_without_replacement_or_delay() {
    let mut scrubber = scrubber(&[bearer("s3cret-value")]);
    for chunk in [&b"data: one\n\n"[..], b"data: two\n\n"] {
        let clean = Scrubbed { replace: None, flow: Flow::Continue };
        assert_eq!(scrubber.chunk(chunk, false), Ok(clean));
    }
}

#[test]
fn a_long_live_prefix_pauses_and_a_short_one_is_kept_inside() {
    let mut scrubber = scrubber(&[bearer("s3cret-value")]);
    let kept = Scrubbed { replace: Some(b"a ".to_vec()), flow: Flow::Continue };
    assert_eq!(scrubber.chunk(b"a s3", false), Ok(kept));
    let paused = Scrubbed { replace: None, flow: Flow::Pause };
    assert_eq!(scrubber.chunk(b"cret-", false), Ok(paused));
    let whole = Scrubbed { replace: Some(b"s3cret-nothing.".to_vec()), flow: Flow::Continue };
    assert_eq!(scrubber.chunk(b"nothing.", false), Ok(whole));
}

#[test]
fn a_whole_secret_at_the_end_of_a_chunk_is_not_delayed() {
    let mut scrubber = scrubber(&[bearer("s3cret-value")]);
    let gone = Scrubbed { replace: Some(b"a [REDACTED]".to_vec()), flow: Flow::Continue };
    assert_eq!(scrubber.chunk(b"a s3cret-value", false), Ok(gone));
}

#[test]
fn trailers_cut_only_what_was_kept_inside() {
    // (expected trailers, last chunk, delivered or cut)
    for (expected, last, want) in [
        (false, "tail", Some("tail")),
        (false, "tail s3", None),
        (false, "tail s3cre", Some("tail s3cre")),
        (true, "tail s3", Some("tail s3")),
        (true, "tail s", Some("tail s")),
        (true, "s3cret-value s3", Some("[REDACTED] s3")),
        (false, "tail s3cret-value", Some("tail [REDACTED]")),
    ] {
        let mut host = Host::new(&[bearer("s3cret-value")]);
        if expected {
            host.scrubber.expect_trailers();
        }
        host.chunk(last.as_bytes(), false);
        let ended = host.trailers();
        let got = ended.is_ok().then(|| String::from_utf8(host.out).unwrap());
        assert_eq!(got.as_deref(), want, "{expected} {last}");
    }
}

#[test]
fn the_host_is_never_asked_to_hold_without_bound() {
    let mut host = Host::new(&[in_play("aaaab", "aaaab")]);
    let chunk = [b'a'; 1000];
    for _ in 0..1000 {
        host.chunk(&chunk, false);
    }
    host.chunk(b"", true);
    assert_eq!(host.out.len(), 1_000_000);
    assert!(host.longest_held <= HELD + chunk.len());
}

#[test]
fn work_is_linear_in_hostile_content() {
    let value = "ab".repeat(500) + "c";
    let text = "ab".repeat(300_000);
    let mut window = Window::new(
        [Rc::new(Automaton::new(&forms::patterns(&[in_play(&value, &value)])).unwrap())].into(),
        Room::default(),
    );
    let mut written = 0;
    for byte in text.as_bytes().chunks(1) {
        written += window.chunk(byte, false).unwrap().replace.map_or(0, |content| content.len());
    }
    assert!(written <= text.len());
    // Every byte enters the window once and is copied out once.
    assert!(window.text.len() + written <= 2 * text.len());
}

#[test]
fn patterns_are_the_same_for_the_same_secrets_and_bounded() {
    let value = "0123456789abcdefghijABCDEFGHIJ0123456789";
    let all = forms::patterns(&[bearer(value)]);
    let bytes: usize = all.iter().map(|pattern| pattern.len()).sum();
    assert!(bytes < 125 * value.len(), "{bytes}");
    assert!(all == forms::patterns(&[bearer(value)]));
    assert_ne!(forms::digest(&[bearer("ab")]), forms::digest(&[bearer("abc")]));
    let both = |first: &str, second: &str| forms::digest(&[bearer(first), bearer(second)]);
    assert_eq!(both("ab", "c"), both("c", "ab"), "the order of use makes no other set");
    assert_ne!(both("ab", "c"), forms::digest(&[bearer("ab")]));
}

#[test]
fn bytes_as_numbers_have_no_leading_zeros() {
    let form = forms::FORMS.iter().find(|form| form.name == "bytes as numbers").unwrap();
    let spelt = (form.spell)(forms::Subject::whole(&[0, 9, 10, 99, 100, 101, 255]));
    assert!(spelt == [forms::Pattern::whole(b"0,9,10,99,100,101,255".to_vec())]);
}

#[test]
fn without_a_pattern_set_nothing_passes() {
    let mut withheld = Withheld::default();
    assert_eq!(withheld.chunk(b"abc", false).unwrap().replace.unwrap(), REDACTED);
    assert_eq!(withheld.chunk(b"abc", true).unwrap().replace.unwrap(), b"");
    assert_eq!(withheld.field(b"abc").unwrap(), REDACTED);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn output_does_not_depend_on_chunks(
        body in "(abab|ababc|aba|bc|Bearer |YWJhYmM|x|6162|%61){0,30}",
        cuts in proptest::collection::vec(1_usize..12, 1..40),
        trailers in any::<bool>(),
    ) {
        let secrets = || [bearer("ababc"), in_play("babab", "babab")];
        let mut host = Host::new(&secrets());
        if trailers { host.scrubber.expect_trailers(); }
        let mut rest = body.as_bytes();
        for cut in cuts {
            let (chunk, more) = rest.split_at(cut.min(rest.len()));
            host.chunk(chunk, false);
            rest = more;
        }
        host.chunk(rest, !trailers);
        if trailers { host.trailers().unwrap(); }
        let out = String::from_utf8(host.out).unwrap();
        prop_assert_eq!(&out, &scrub(&secrets(), body.as_bytes(), body.len()));
        prop_assert!(!out.contains("ababc") && !out.contains("babab"));
    }

    #[test]
    fn no_secret_survives_in_any_form(
        value in "[ -~]{8,40}",
        echo in 0..ECHOES.len(),
        before in "[ -~]{0,20}",
        size in 1_usize..80,
    ) {
        let text = ECHOES[echo].1(&value);
        let body = format!("{before}\n{text}\n");
        let out = scrub(&[bearer(&value)], body.as_bytes(), size);
        prop_assert!(out.contains("[REDACTED]"), "{} -> {}", body, out);
        prop_assert!(!out.contains(&value));
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn content_in_a_coding_leaves_decoded_and_scrubbed_at_every_chunking() {
    let body = format!("before {VALUE} and {VALUE} after, ends in {}", &VALUE[..10]);
    let want = scrub(&[bearer(VALUE)], body.as_bytes(), body.len());
    let coded = gzip(body.as_bytes());
    for size in 1..coded.len() {
        for trailers in [true, false] {
            let mut host = Host::new(&[bearer(VALUE)]);
            host.scrubber.decode(&[Coding::Gzip]);
            if trailers {
                host.scrubber.expect_trailers();
            }
            coded.chunks(size).for_each(|chunk| host.chunk(chunk, false));
            if trailers {
                host.trailers().unwrap();
            } else {
                host.chunk(b"", true);
            }
            assert_eq!(String::from_utf8(host.out).unwrap(), want, "by {size}");
        }
    }
}

#[test]
fn content_that_ends_inside_its_coding_is_malformed() {
    let coded = gzip(b"some text that is long enough");
    for trailers in [true, false] {
        let mut scrubber = scrubber(&[bearer(VALUE)]);
        scrubber.decode(&[Coding::Gzip]);
        scrubber.chunk(&coded[..20], false).unwrap();
        let ended = if trailers {
            scrubber.end_by_trailers().map(|_| ())
        } else {
            scrubber.chunk(b"", true).map(|_| ())
        };
        assert_eq!(ended, Err(Unscannable::Malformed));
    }
}

#[test]
fn one_chunk_that_grows_too_large_at_once_is_refused() {
    let mut scrubber = scrubber(&[bearer(VALUE)]);
    scrubber.decode(&[Coding::Gzip]);
    // Below the ratio, since it does not compress further; more than may be kept.
    let noise: Vec<u8> = (0..Growth::ANSWER.at_once as u32 / 60)
        .flat_map(|n| format!("{n:064}").into_bytes())
        .collect();
    assert_eq!(scrubber.chunk(&gzip(&noise), false), Err(Unscannable::Expansion));
    // The same where nothing says that it is compressed.
    let mut scrubber = self::scrubber(&[bearer(VALUE)]);
    assert_eq!(scrubber.chunk(&gzip(&noise), false), Err(Unscannable::Expansion));
}

#[test]
fn an_archive_is_held_until_it_is_looked_through_and_not_without_bound() {
    let mut mix = 1_u32;
    let mut noise = || {
        mix = mix.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        mix.to_be_bytes()[0]
    };
    let noise: Vec<u8> = (0..2 * HELD).map(|_| noise()).collect();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let small = ruzstd::encoding::compress_to_vec(&noise[..1000], level);
    let mut host = Host::new(&[bearer(VALUE)]);
    host.chunk(&small[..500], false);
    assert_eq!(host.out, b"");
    host.chunk(&small[500..], true);
    assert_eq!(host.out, small);
    let large = ruzstd::encoding::compress_to_vec(noise.as_slice(), level);
    let mut scrubber = scrubber(&[bearer(VALUE)]);
    let mut chunks = large[..large.len() - 1].chunks(16 * 1024);
    let refused = chunks.find_map(|chunk| scrubber.chunk(chunk, false).err());
    assert_eq!(refused, Some(Unscannable::Undeliverable));
}
