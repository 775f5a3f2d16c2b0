//! Fuzz targets: any bytes in, an invariant checked. A target panics on a violation
//! and on nothing else; the tests run them over a corpus.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_core::effect::Flow;
use postern_core::inject::{InPlay, Keep};
use postern_core::placeholder::Reference;
use postern_core::scrubbing::{Coding, Detector, Scrubber};
use postern_core::secret::Secret;

use crate::coding::{Chain, Room};
use crate::{MarkerDetector, PatternScrubbing};

/// The detector sees the same whether bytes come one by one, or at once, or are looked at
/// before they are read.
pub fn fuzz_detector(data: &[u8]) {
    let mut scan = MarkerDetector.scan();
    for byte in data {
        scan.feed(std::slice::from_ref(byte));
    }
    let seen = scan.finish();
    assert_eq!(seen, MarkerDetector.reads(data), "chunking changed the answer");
    assert_eq!(seen, MarkerDetector.sees(data), "looking before reading changed the answer");
}

/// A raw marker behind any bytes is seen.
pub fn fuzz_marker_behind(data: &[u8]) {
    let mut scan = MarkerDetector.scan();
    scan.feed(data);
    scan.feed(b"<Credential:a>");
    assert!(scan.finish(), "a marker was not seen");
}

/// The first byte gives the length of a secret that follows; the rest is content,
/// cut into chunks by its own bytes. Output is that of the uncut content.
pub fn fuzz_scrubber(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else { return };
    let (value, content) = rest.split_at(usize::from(len).min(rest.len()));
    let secrets = [InPlay {
        value: Secret::new(value.to_vec()),
        rendered: Secret::new([b"Bearer ", value].concat()),
        keep: Keep::Worker,
    }];
    let scrubbing = PatternScrubbing::new();
    let whole = run(&mut *scrubbing.scrubber(&secrets), content, |_| usize::MAX);
    let cut = run(&mut *scrubbing.scrubber(&secrets), content, |b| usize::from(b & 7));
    assert_eq!(whole, cut, "chunking changed the output");
    // What is put in its place has brackets, so a value without them cannot come about there.
    let plain = !value.is_empty() && !value.iter().any(|byte| b"[]".contains(byte));
    let within = |text: &[u8]| text.windows(value.len()).any(|window| window == value);
    assert!(
        !plain || within(b"REDACTED") || !within(whole.as_deref().unwrap_or_default()),
        "the secret came through"
    );
}

/// Whatever the core reads as a placeholder in a text is seen in it, raw and in a Basic pair.
pub fn fuzz_placeholder(data: &[u8]) {
    let Some((&size, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let opens = text.match_indices('<').map(|(at, _)| at);
    let mut parts = opens.flat_map(|from| {
        let closes = text.match_indices('>').map(|(at, _)| at.saturating_add(1));
        closes.filter_map(move |to| (from < to).then_some((from, to)))
    });
    if !parts.any(|(from, to)| text.get(from..to).is_some_and(|it| Reference::parse(it).is_some()))
    {
        return;
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{text}")));
    for body in [rest, text.as_bytes(), basic.as_bytes()] {
        let mut scan = MarkerDetector.scan();
        body.chunks(usize::from(size).max(1)).for_each(|chunk| {
            scan.feed(chunk);
        });
        assert!(scan.finish(), "a placeholder was not seen");
    }
}

/// Decoders take any bytes, and give the same for every chunking.
pub fn fuzz_codings(data: &[u8]) {
    let Some((&which, content)) = data.split_first() else { return };
    let all = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];
    let pick = |bits: u8| all.get(usize::from(bits & 3)).copied();
    let codings: Vec<Coding> =
        [pick(which), pick(which >> 2).filter(|_| which & 16 != 0)].into_iter().flatten().collect();
    let decode = |size: &dyn Fn(u8) -> usize| {
        let mut out = Vec::new();
        let mut chain = Chain::new(&codings, &Room::default());
        let mut rest = content;
        while let Some(&first) = rest.first() {
            let (chunk, more) = rest.split_at(size(first).clamp(1, rest.len()));
            rest = more;
            let fed = chain.feed(chunk, &mut |piece| {
                out.extend_from_slice(piece);
                Ok(())
            });
            if let Err(why) = fed {
                return (out, Err(why));
            }
        }
        (out, chain.finish())
    };
    let (whole, ended) = decode(&|_| usize::MAX);
    let (cut, ended_cut) = decode(&|byte| usize::from(byte & 7));
    if ended.is_ok() || ended_cut.is_ok() {
        assert!(whole == cut && ended == ended_cut, "chunking changed what was decoded");
    }
}

/// Plays a host that honours `Pause`, and returns what left it.
/// `None` when the stream is cut.
fn run(scrubber: &mut dyn Scrubber, content: &[u8], size: impl Fn(u8) -> usize) -> Option<Vec<u8>> {
    let (mut held, mut out, mut rest) = (Vec::new(), Vec::new(), content);
    while let Some(&first) = rest.first() {
        let (chunk, more) = rest.split_at(size(first).clamp(1, rest.len()));
        rest = more;
        held.extend_from_slice(chunk);
        let scrubbed = scrubber.chunk(chunk, rest.is_empty()).ok()?;
        held = scrubbed.replace.unwrap_or(held);
        if scrubbed.flow == Flow::Continue {
            out.append(&mut held);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: [&[u8]; 10] = [
        b"",
        b"<CREDENTIAL:slack>",
        b"%253cCREDENTIAL%3A %u003c &#x3c; \\u{3c} \\74 =3C +ADw- &lt",
        b"PENSRURFTlRJQUw6c2xhY2s+",
        b"\xc0\xbc\xe0\x80\xbc\xff\xfe<\0C\0",
        b"\x05ababcxabababcabab ababc",
        b"\x01aaaaaaaaaaaa",
        b"\x00Bearer Bearer ",
        b"\x04abcdYWJjZA==61626364%61%62%63%64abc",
        b"&#0000000000000000000000000000000000000000000060;CREDENTIAL:",
    ];

    #[test]
    fn corpus_and_every_prefix_of_it_hold() {
        for data in CORPUS {
            for end in 0..=data.len() {
                let prefix = data.get(..end).unwrap_or_default();
                fuzz_detector(prefix);
                fuzz_marker_behind(prefix);
                fuzz_scrubber(prefix);
                fuzz_placeholder(prefix);
                fuzz_codings(prefix);
            }
        }
    }
}
