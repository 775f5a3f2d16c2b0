//! Content as servers send it, and as attackers do.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use postern_core::denial::Unscannable;
use postern_core::scrubbing::Coding::{self, Brotli, Deflate, Gzip, Zstd};

use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn bare(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Brotli that stores: a window of 16 bits, one uncompressed metablock, an empty last one.
fn brotli(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len() - 1).unwrap();
    // WBITS 0, ISLAST 0, MNIBBLES 0 (four), MLEN - 1, ISUNCOMPRESSED 1.
    let bits = length << 4 | 1 << 20;
    let mut out = bits.to_le_bytes()[..3].to_vec();
    out.extend_from_slice(text);
    out.push(3);
    out
}

fn decode_by(codings: &[Coding], bytes: &[u8], size: usize) -> Result<Vec<u8>, Unscannable> {
    let mut out = Vec::new();
    let mut chain = Chain::new(codings, &Room::default());
    for chunk in bytes.chunks(size) {
        chain.feed(chunk, &mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        })?;
    }
    chain.finish()?;
    Ok(out)
}

const TEXT: &[u8] = b"a page, a page and once more a page with xoxb-7/Gq+secret in it";

#[test]
fn every_coding_is_undone_for_every_chunking() {
    let twice = [gzip(TEXT), gzip(b""), gzip(TEXT)].concat();
    let mut named = gzip(TEXT);
    named[3] = 4 | 8 | 16 | 2;
    named.splice(10..10, [3, 0, 9, 9, 9].into_iter().chain(*b"name\0comment\0").chain([1, 2]));
    let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7][..], &zstd(TEXT)].concat();
    let both = [zstd(TEXT), zstd(TEXT)].concat();
    for (name, codings, bytes, times) in [
        ("gzip", &[Gzip][..], gzip(TEXT), 1),
        ("gzip, every part of a header", &[Gzip], named, 1),
        ("gzip, three members", &[Gzip], twice, 2),
        ("gzip, zeros behind", &[Gzip], [gzip(TEXT), vec![0; 7]].concat(), 1),
        ("deflate, zlib", &[Deflate], zlib(TEXT), 1),
        ("deflate, bare", &[Deflate], bare(TEXT), 1),
        ("br", &[Brotli], brotli(TEXT), 1),
        ("zstd", &[Zstd], zstd(TEXT), 1),
        ("zstd, a skipped frame", &[Zstd], skipped, 1),
        ("zstd, two frames", &[Zstd], both, 2),
        ("gzip, br", &[Gzip, Brotli], brotli(&gzip(TEXT)), 1),
        ("br, zstd", &[Brotli, Zstd], zstd(&brotli(TEXT)), 1),
        ("nothing", &[Gzip, Brotli], Vec::new(), 0),
        ("none", &[], TEXT.to_vec(), 1),
    ] {
        for size in [1, 2, 3, 7, 4096] {
            let decoded = decode_by(codings, &bytes, size);
            assert_eq!(decoded, Ok(TEXT.repeat(times)), "{name} by {size}");
        }
    }
}

#[test]
fn content_that_is_not_what_its_coding_says_is_malformed() {
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 3].to_vec();
    let more = |bytes: Vec<u8>| [bytes, b"more".to_vec()].concat();
    let mut dictionary = zlib(TEXT);
    dictionary[..2].copy_from_slice(&[0x78, 0x20]);
    for (name, coding, bytes) in [
        ("gzip, cut", Gzip, cut(gzip(TEXT))),
        ("gzip, more", Gzip, more(gzip(TEXT))),
        ("gzip, label only", Gzip, TEXT.to_vec()),
        ("gzip, reserved flag", Gzip, b"\x1f\x8b\x08\x80\0\0\0\0\0\0".to_vec()),
        ("gzip that is zstd", Gzip, zstd(TEXT)),
        ("zlib, cut", Deflate, cut(zlib(TEXT))),
        ("zlib, more", Deflate, more(zlib(TEXT))),
        ("zlib, a dictionary", Deflate, dictionary),
        ("bare, cut", Deflate, cut(bare(TEXT))),
        ("bare, more", Deflate, more(bare(TEXT))),
        ("one byte", Deflate, b"\x78".to_vec()),
        ("br, cut", Brotli, cut(brotli(TEXT))),
        ("br, more", Brotli, more(brotli(TEXT))),
        ("br, a large window", Brotli, b"\x11abc".to_vec()),
        ("br that is gzip", Brotli, gzip(TEXT)),
        ("zstd, cut", Zstd, cut(zstd(TEXT))),
        ("zstd, more", Zstd, more(zstd(TEXT))),
        ("zstd, a dictionary", Zstd, b"\x28\xb5\x2f\xfd\x01\x58\x07\x01\0\0".to_vec()),
        ("zstd, a window of 16 MiB", Zstd, b"\x28\xb5\x2f\xfd\0\x70\x01\0\0".to_vec()),
    ] {
        for size in [1, 4096] {
            let decoded = decode_by(&[coding], &bytes, size);
            assert_eq!(decoded, Err(Unscannable::Malformed), "{name} by {size}");
        }
    }
}

#[test]
fn what_grows_out_of_proportion_is_refused() {
    let zeros = vec![0; 4 << 20];
    let stacked = gzip(&gzip(&zeros));
    for (codings, bytes) in [
        (&[Gzip][..], gzip(&zeros)),
        (&[Deflate], bare(&zeros)),
        (&[Zstd], zstd(&zeros)),
        (&[Gzip, Gzip], stacked),
    ] {
        let decoded = decode_by(codings, &bytes, 4096);
        assert_eq!(decoded, Err(Unscannable::Expansion), "{codings:?}");
    }
    // A page of one word is none.
    let page = gzip(&b"word ".repeat(100_000));
    assert!(decode_by(&[Gzip], &page, 4096).is_ok());
}

#[test]
fn a_window_of_zstd_has_eight_mebibytes_at_most() {
    // A frame without length and checksum, and one raw block (RFC 8878, section 3.1).
    let frame =
        |window: u8| [&b"\x28\xb5\x2f\xfd\x00"[..], &[window, 0x29, 0, 0], b"hello"].concat();
    assert_eq!(decode_by(&[Zstd], &frame(13 << 3), 4096).unwrap(), b"hello");
    assert_eq!(decode_by(&[Zstd], &frame(13 << 3 | 1), 4096), Err(Unscannable::Malformed));
}

#[test]
fn windows_that_do_not_fit_together_are_refused_and_come_back() {
    let room = Room::default();
    let window_of_16_mib = [0x0f];
    let open = || {
        let mut chain = Chain::new(&[Brotli], &room);
        let fed = chain.feed(&window_of_16_mib, &mut |_| Ok(()));
        fed.map(|()| chain)
    };
    let held: Vec<_> = std::iter::from_fn(|| open().ok()).collect();
    assert_eq!(held.len(), 5);
    assert_eq!(open().err(), Some(Unscannable::Crowded));
    drop(held);
    assert!(open().is_ok());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Whatever becomes of them on the way: a decoder refuses or decodes, and does both
    /// alike for every chunking.
    #[test]
    fn damaged_streams_are_decoded_or_refused_for_every_chunking(
        which in 0..5_usize,
        text in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..600),
        damage in proptest::collection::vec((0..700_usize, proptest::prelude::any::<u8>()), 0..4),
        cut in 0..40_usize,
        size in 1..40_usize,
    ) {
        let (coding, mut bytes) = match which {
            0 => (Gzip, gzip(&text)),
            1 => (Deflate, zlib(&text)),
            2 => (Deflate, bare(&text)),
            3 => (Brotli, brotli(&text)),
            _ => (Zstd, zstd(&text.repeat(3))),
        };
        for (at, byte) in damage {
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(20)));
        let whole = decode_by(&[coding], &bytes, bytes.len().max(1));
        let pieces = decode_by(&[coding], &bytes, size);
        proptest::prop_assert_eq!(whole.is_ok(), pieces.is_ok());
        if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
            proptest::prop_assert_eq!(whole, pieces);
        }
    }
}
