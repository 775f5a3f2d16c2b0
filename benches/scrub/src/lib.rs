//! Scrubbing beside a plain automaton, measured where it runs: natively, or as a
//! Proxy-Wasm module in a gateway, one measurement a request.
//!
//! Invariant: both sides read the same bytes, and take turns.
#![forbid(unsafe_code)]
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::missing_panics_doc)]

pub mod bodies;
#[cfg(target_arch = "wasm32")]
mod module;

use std::hint::black_box;
use std::time::{Duration, Instant};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use bodies::LENGTH;
use postern_core::inject::{InPlay, Keep};
use postern_core::secret::Secret;
use postern_scrub::PatternScrubbing;

/// Bytes that the scrubber gets at once, and how often before a body ends.
const CHUNKS: usize = 8;
/// Secrets that are looked for.
const SECRETS: usize = 20;

/// Figures of ours and of the other side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Ours.
    pub ours: f64,
    /// The other side's.
    pub other: f64,
}

/// Megabytes a second of a body of this kind, in turns of this length.
pub fn throughput(kind: &str, turn: Duration) -> Turn {
    let secrets = bodies::secrets(0, SECRETS);
    let body = bodies::body(kind, &secrets);
    let (scrubbing, values) = (PatternScrubbing::new(), in_play(&secrets));
    let automaton = AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .match_kind(MatchKind::LeftmostLongest)
        .prefilter(false)
        .build(bodies::encodings(&secrets))
        .expect("the encodings are few");
    let scrub = || {
        let mut scrubber = scrubbing.scrubber(&values);
        (0..CHUNKS).for_each(|_| _ = black_box(scrubber.chunk(&body, false)));
        _ = black_box(scrubber.chunk(b"", true));
    };
    let find = || (0..CHUNKS).for_each(|_| _ = black_box(automaton.find_iter(&body).count()));
    let rate = |seconds: f64| (CHUNKS * LENGTH) as f64 / seconds / 1e6;
    Turn { ours: rate(fastest(turn, scrub)), other: rate(fastest(turn, find)) }
}

/// Microseconds of an answer of 4 KiB whose secret is one of so many; the other side has one.
pub fn many(count: usize, turn: Duration) -> Turn {
    let secrets = bodies::secrets(1, count);
    let body = &bodies::body("json", &secrets)[..4096];
    let scrubbing = PatternScrubbing::new();
    let mut at = 0;
    let mut answer = |of: usize| {
        at = (at + 1) % of;
        let mut scrubber = scrubbing.scrubber(&in_play(&secrets[at..=at]));
        _ = black_box(scrubber.chunk(body, true));
    };
    let mut mean = |of: usize| {
        let (start, mut answers) = (Instant::now(), 0_u32);
        while start.elapsed() < turn {
            answer(of);
            answers += 1;
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(answers)
    };
    Turn { other: mean(1), ours: mean(count) }
}

/// Microseconds of an answer of 4 KiB to a caller who has used so many secrets, each in turn,
/// as they are kept: the last used one last. The other side has one.
pub fn held(count: usize, turn: Duration) -> Turn {
    let secrets = bodies::secrets(1, count);
    let body = &bodies::body("json", &secrets)[..4096];
    let scrubbing = PatternScrubbing::new();
    let mean = |mut used: Vec<InPlay>| {
        let (mut start, mut answers) = (Instant::now(), 0_u32);
        while start.elapsed() < turn {
            used.rotate_left(1);
            let mut scrubber = scrubbing.scrubber(&used);
            _ = black_box(scrubber.chunk(body, true));
            answers += 1;
            // The first compiles.
            if answers == 1 {
                start = Instant::now();
            }
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(answers)
    };
    Turn { other: mean(in_play(&secrets[..1])), ours: mean(in_play(&secrets)) }
}

/// Microseconds of looking for placeholders in the fields of an ordinary request; the other
/// side looks for the plain marker alone.
pub fn fields(turn: Duration) -> Turn {
    use postern_core::scrubbing::Detector as _;
    let detect = || {
        for value in FIELDS {
            let mut scan = postern_scrub::MarkerDetector.scan();
            _ = black_box(scan.feed(value.as_bytes()) | scan.finish());
        }
    };
    let plain = || FIELDS.iter().for_each(|value| _ = black_box(value.contains("<CREDENTIAL:")));
    Turn { ours: fastest(turn, detect) * 1e6, other: fastest(turn, plain) * 1e6 }
}

/// What a browser or an agent's library sends.
const FIELDS: [&str; 14] = [
    "api.example.com",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "en-US,en;q=0.5",
    "gzip, deflate, br, zstd",
    "pk_0123abcd_0123456789abcdefghijABCDEFGHIJ0123456789abc012345",
    "application/json",
    "4096",
    "keep-alive",
    "https://app.example.com/orders?page=2&sort=date%20desc",
    "session=9f86d081884c7d659a2feaa0c55ad015; theme=dark; consent=yes",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "\"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    "2026-11-26T10:00:00Z",
];

fn in_play(secrets: &[String]) -> Vec<InPlay> {
    let secret = |text: String| Secret::new(text.into_bytes());
    let one = |value: &String| InPlay {
        value: secret(value.clone()),
        rendered: secret(format!("Bearer {value}")),
        keep: Keep::Worker,
    };
    secrets.iter().map(one).collect()
}

/// Seconds of the fastest of all runs within `turn`, of which there is one at least.
fn fastest(turn: Duration, mut run: impl FnMut()) -> f64 {
    let (begun, mut least) = (Instant::now(), f64::INFINITY);
    loop {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
        if begun.elapsed() >= turn {
            return least;
        }
    }
}

/// The measurement that a path names, as `/throughput/json/500` (milliseconds last).
pub fn measured(path: &str) -> Option<Turn> {
    let mut words = path.split('/').skip(1);
    let (what, which) = (words.next()?, words.next()?);
    let turn = Duration::from_millis(words.next()?.parse().ok()?);
    match what {
        "throughput" => Some(throughput(which, turn)),
        "many" => Some(many(which.parse().ok()?, turn)),
        "held" => Some(held(which.parse().ok()?, turn)),
        "fields" => Some(fields(turn)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benign_bodies_hold_no_secret_and_echoes_do() {
        let secrets = bodies::secrets(0, SECRETS);
        let scrubbing = PatternScrubbing::new();
        for (kinds, found) in [(&bodies::BENIGN[..], false), (&["echoes"][..], true)] {
            for kind in kinds {
                let mut scrubber = scrubbing.scrubber(&in_play(&secrets));
                scrubber.chunk(&bodies::body(kind, &secrets), true).unwrap();
                assert_eq!(scrubber.hits() > 0, found, "{kind}");
            }
        }
    }

    #[test]
    fn each_measurement_gives_figures() {
        for path in [
            "/throughput/json/1",
            "/throughput/mixed/1",
            "/many/100/1",
            "/held/8/1",
            "/fields/all/1",
        ] {
            let turn = measured(path).unwrap();
            assert!(turn.ours > 0.0 && turn.other > 0.0, "{path}: {turn:?}");
        }
        assert_eq!(measured("/nothing/json/1"), None);
    }
}
