//! `compress` and `uncompress`: zlib (RFC 1950) in one piece.
//!
//! Invariant: what comes out of `uncompress` and what goes into `compress` is at most
//! [`LARGEST`]: neither is stopped by the deadline of the callback that asks for it.

use std::io::Read;

use flate2::read::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status as Progress};

use crate::view::Status;

/// Most bytes that are not compressed. Envoy's limit is its memory.
const LARGEST: usize = 16 << 20;
/// Room that is made first.
const FIRST: usize = 4096;

/// More than [`LARGEST`]: `InternalFailure`.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    if bytes.len() > LARGEST {
        return Err(Status::InternalFailure);
    }
    let mut out = Vec::new();
    // Reading from memory does not fail.
    let _ = ZlibEncoder::new(bytes, Compression::default()).read_to_end(&mut out);
    Ok(out)
}

/// What follows the end is passed over, as in Envoy. Not zlib, or cut short:
/// `SerializationFailure`; too large: `InternalFailure`.
pub(super) fn uncompress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut inflate = Decompress::new(true);
    let mut out = Vec::with_capacity(FIRST);
    loop {
        let taken = usize::try_from(inflate.total_in()).map_err(|_| Status::InternalFailure)?;
        let rest = bytes.get(taken..).unwrap_or_default();
        let progress = inflate
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_| Status::SerializationFailure)?;
        match progress {
            Progress::StreamEnd => return Ok(out),
            _ if out.len() < out.capacity() => return Err(Status::SerializationFailure),
            _ if out.len() >= LARGEST => return Err(Status::InternalFailure),
            _ => out.reserve(out.len().min(LARGEST - out.len()).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back_and_what_follows_does_not_matter() {
        for length in [0, 1, 1000, 200_000] {
            let text: Vec<u8> = (0..length).map(|n: usize| (n * n / 7) as u8).collect();
            let mut small = compress(&text).unwrap();
            assert_eq!(uncompress(&small), Ok(text.clone()), "{length}");
            small.extend_from_slice(b"xx");
            assert_eq!(uncompress(&small), Ok(text));
        }
        assert_eq!(compress(&[b'a'; 27]).unwrap(), b"x\x9cKL\xc4\x09\x00\x8fU\x0a<");
    }

    #[test]
    fn what_is_cut_or_no_zlib_is_a_failure() {
        let small = compress(b"hellohellohello").unwrap();
        for end in 0..small.len() {
            assert_eq!(uncompress(&small[..end]), Err(Status::SerializationFailure), "{end}");
        }
        assert_eq!(uncompress(b"junkjunk"), Err(Status::SerializationFailure));
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; LARGEST + 1];
        let mut encoder = ZlibEncoder::new(zeros.as_slice(), Compression::default());
        let mut bomb = Vec::new();
        encoder.read_to_end(&mut bomb).unwrap();
        assert!(bomb.len() < 200_000);
        assert_eq!(uncompress(&bomb), Err(Status::InternalFailure));
    }

    #[test]
    fn what_is_larger_than_the_limit_is_not_compressed() {
        assert!(compress(&vec![0; LARGEST]).is_ok());
        assert_eq!(compress(&vec![0; LARGEST + 1]), Err(Status::InternalFailure));
    }
}
