//! Fuzz targets: every parser of bytes that a stranger can send. Each takes any bytes
//! and may only return; where something parses, writing it again must give the same
//! bytes, since there is one encoding for each value.

use crate::envelope::{Reply, Request};
use crate::evidence::{self, Seen, Trust};
use crate::exchange::Head;
use crate::message::{Answer, Kind, Message};
use crate::wire::{Reader, Writer};
use postern_core::time::UnixMillis;

const KINDS: [Kind; 7] = [
    Kind::Release,
    Kind::Enrol,
    Kind::Directory,
    Kind::Store,
    Kind::Audit,
    Kind::Exchange,
    Kind::Approval,
];

/// Request and reply envelopes.
pub fn fuzz_envelope(bytes: &[u8]) {
    if let Ok(request) = Request::parse(bytes)
        && let Ok(again) = request.bytes()
    {
        assert_eq!(again, bytes, "request envelope");
    }
    if let Ok(reply) = Reply::parse(bytes)
        && let Ok(again) = reply.bytes()
    {
        assert_eq!(again, bytes, "reply envelope");
    }
}

/// Plaintexts of requests, whole and the part of each type.
pub fn fuzz_request(bytes: &[u8]) {
    for kind in KINDS {
        let whole = Head::decode(kind, bytes);
        drop(whole);
        let mut reader = Reader::new(bytes);
        if let Ok(message) = Message::decode(kind, &mut reader) {
            let read = bytes.len().saturating_sub(reader.rest().len());
            let mut writer = Writer::new(bytes.len());
            let written = message.encode(&mut writer).is_ok();
            assert!(!written || bytes.get(..read) == Some(writer.bytes()), "request part");
        }
    }
}

/// Plaintexts of replies.
pub fn fuzz_reply(bytes: &[u8]) {
    for kind in KINDS {
        if let Ok(answer) = Answer::decode(kind, bytes) {
            let mut writer = Writer::new(bytes.len());
            let written = answer.encode(&mut writer).is_ok();
            assert!(!written || bytes == writer.bytes(), "reply");
        }
    }
}

/// Evidence documents.
pub fn fuzz_evidence(bytes: &[u8]) {
    let trust = Trust::Simulated([7; 32]);
    let now = UnixMillis(1_800_000_000_000);
    let appraised = evidence::appraise(bytes, &trust, Seen::default(), now);
    assert!(appraised.is_err(), "nobody holds this key");
    evidence::fuzz_runtime(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_bytes_make_a_parser_trap(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            fuzz_envelope(&bytes);
            fuzz_request(&bytes);
            fuzz_reply(&bytes);
            fuzz_evidence(&bytes);
        }

        #[test]
        fn nearly_good_bytes_do_not_either(
            which in 0..9_usize, at in any::<prop::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut bytes = fixture::samples().swap_remove(which);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            fuzz_envelope(&bytes);
            fuzz_request(&bytes);
            fuzz_reply(&bytes);
            fuzz_evidence(&bytes);
        }
    }
}
