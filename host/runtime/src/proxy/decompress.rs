//! Compressed content piece by piece: gzip (RFC 1952), Brotli (RFC 7932), Zstandard (RFC 8878).
//!
//! Invariant: one piece never becomes more than its size times the ratio, rounded up to a
//! chunk; what follows an error or the end of the content is dropped, as Envoy drops it. So
//! content that is broken or a bomb ends early, and its trailers tell how much came of it.
//!
//! Stricter than Envoy: a window of Zstandard is as large as RFC 9659 lets it be in HTTP, or
//! the content is broken; Envoy's library makes one of 128 MiB for whoever asks for it.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::GzDecoder;

use crate::config::{Coding, Library};

/// Takes what comes of a piece, up to a limit.
#[derive(Debug, Default)]
struct Sink {
    out: Vec<u8>,
    limit: usize,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.out.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::Error::other("more than the ratio allows"));
        }
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.out.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Largest window of Zstandard, as a power of two (RFC 9659, 3).
const ZSTD_WINDOW: u32 = 23;

type Zstd = zstd::stream::write::Decoder<'static, Sink>;

fn zstd(sink: Sink) -> io::Result<Zstd> {
    let mut decoder = Zstd::new(sink)?;
    decoder.window_log_max(ZSTD_WINDOW)?;
    Ok(decoder)
}

enum Decoder {
    Gzip(GzDecoder<Sink>),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// One message's content on its way.
pub struct Decompress {
    decoder: Option<Decoder>,
    ratio: usize,
    chunk: usize,
    /// Bytes that came and that came of them.
    pub counts: (u64, u64),
}

impl Decompress {
    /// The beginning of content in a library's coding.
    pub fn new(library: &Library) -> Self {
        let sink = Sink::default();
        let decoder = match library.coding {
            Coding::Gzip => Some(Decoder::Gzip(GzDecoder::new(sink))),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Some(Decoder::Brotli(Box::new(Brotli::new(alloc(), alloc(), alloc()))))
            }
            Coding::Zstd => zstd(sink).ok().map(Decoder::Zstd),
        };
        Self { decoder, ratio: library.ratio, chunk: library.chunk, counts: (0, 0) }
    }

    /// What comes of the next piece.
    pub fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        let most = bytes.len().saturating_mul(self.ratio);
        let limit = (most / self.chunk + 1).saturating_mul(self.chunk);
        let (out, good) = match &mut self.decoder {
            None => (Vec::new(), true),
            Some(decoder) => decoder.piece(bytes, limit),
        };
        if !good {
            self.decoder = None;
        }
        self.counts.0 += bytes.len() as u64;
        self.counts.1 += out.len() as u64;
        out
    }
}

impl Decoder {
    /// What comes of a piece, and whether more may follow.
    fn piece(&mut self, bytes: &[u8], limit: usize) -> (Vec<u8>, bool) {
        match self {
            Self::Gzip(decoder) => {
                decoder.get_mut().limit = limit;
                let good = decoder.write_all(bytes).and_then(|()| decoder.flush()).is_ok();
                (std::mem::take(&mut decoder.get_mut().out), good)
            }
            Self::Zstd(decoder) => {
                decoder.get_mut().limit = limit;
                let good = decoder.write_all(bytes).and_then(|()| decoder.flush()).is_ok();
                (std::mem::take(&mut decoder.get_mut().out), good)
            }
            Self::Brotli(state) => brotli(state, bytes, limit),
        }
    }
}

/// The library has no writer that gives everything that it could give.
fn brotli(state: &mut Brotli, bytes: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let (mut left, mut read, mut total) = (bytes.len(), 0, 0);
    let mut out = Vec::new();
    let mut made = [0; 4096];
    loop {
        let room = made.len().min(limit - out.len());
        let (mut space, mut end) = (room, 0);
        let result = BrotliDecompressStream(
            &mut left, &mut read, bytes, &mut space, &mut end, &mut made, &mut total, state,
        );
        out.extend_from_slice(made.get(..end).unwrap_or_default());
        match result {
            // It has room left, so it has given everything.
            BrotliResult::NeedsMoreInput if space > 0 => return (out, true),
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput if out.len() < limit => {}
            _ => return (out, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn library(coding: Coding) -> Library {
        Library { name: "lib".into(), coding, ratio: 100, chunk: 4096 }
    }

    fn in_pieces(coding: Coding, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut content = Decompress::new(&library(coding));
        bytes.chunks(size).flat_map(|piece| content.piece(piece)).collect()
    }

    #[test]
    fn content_is_the_same_for_every_cut() {
        let text = b"a text that comes in pieces, ".repeat(20);
        let zstd = zstd::bulk::compress(&text, 3).unwrap();
        // `a text` in the words of Brotli: one uncompressed block, then an empty last one.
        let brotli = [b"\x8b\x02\x80".as_slice(), b"a text", b"\x03"].concat();
        for size in [1, 2, 7, 64, 4096] {
            assert_eq!(in_pieces(Coding::Gzip, &gzip(&text), size), text);
            assert_eq!(in_pieces(Coding::Zstd, &zstd, size), text);
            assert_eq!(in_pieces(Coding::Brotli, &brotli, size), b"a text");
        }
    }

    #[test]
    fn what_is_broken_or_follows_the_end_is_dropped() {
        assert!(in_pieces(Coding::Gzip, b"not compressed", 4).is_empty());
        assert!(in_pieces(Coding::Zstd, b"not compressed", 4).is_empty());
        assert!(in_pieces(Coding::Brotli, b"not compressed", 4).is_empty());
        let twice = [gzip(b"one"), gzip(b"two")].concat();
        assert_eq!(in_pieces(Coding::Gzip, &twice, 5), b"one");
        assert_eq!(in_pieces(Coding::Gzip, &gzip(b"cut")[..20], 5), b"cut");
    }

    #[test]
    fn a_bomb_ends_at_the_ratio() {
        let bomb = gzip(&vec![0; 3_000_000]);
        let mut content = Decompress::new(&library(Coding::Gzip));
        let out = content.piece(&bomb);
        assert_eq!(out.len(), (bomb.len() * 100 / 4096 + 1) * 4096);
        assert!(content.piece(b"more").is_empty());
        assert_eq!(content.counts, (bomb.len() as u64 + 4, out.len() as u64));
        let bomb = zstd::bulk::compress(&vec![0; 3_000_000], 3).unwrap();
        let out = in_pieces(Coding::Zstd, &bomb, bomb.len());
        assert!(out.len() <= (bomb.len() * 100 / 4096 + 1) * 4096);
    }

    #[test]
    fn a_frame_that_wants_more_memory_than_http_allows_is_refused() {
        for (log, want) in [(23, b"small".as_slice()), (24, b""), (27, b"")] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(log).unwrap();
            encoder.include_contentsize(false).unwrap();
            encoder.write_all(b"small").unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(in_pieces(Coding::Zstd, &frame, frame.len()), want, "{log}");
        }
    }
}
