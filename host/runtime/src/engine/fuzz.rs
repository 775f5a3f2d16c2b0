//! Fuzz targets: what a module passes in its own encodings.

use super::pairs;
use super::protobuf::Message;
use super::signature;

/// Header maps: what decodes says the same once it is encoded again.
pub fn fuzz_pairs(bytes: &[u8]) {
    let Some(pairs) = pairs::decode(bytes) else { return };
    assert!(pairs::size(&pairs) <= bytes.len(), "more text than there were bytes");
    let again = pairs::encode(&pairs);
    assert_eq!(pairs::decode(&again), Some(pairs), "a map that was read reads back");
}

/// Arguments of foreign functions: nothing is read that did not stand there.
pub fn fuzz_protobuf(bytes: &[u8]) {
    let Some(message) = Message::parse(bytes) else { return };
    for field in 0..8 {
        let value = message.bytes(field);
        let stands = value.is_empty() || bytes.windows(value.len()).any(|part| part == value);
        assert!(stands, "a value from nowhere");
    }
}

/// Keys and signatures: nobody here can sign, so nothing verifies.
pub fn fuzz_signature(bytes: &[u8]) {
    let (key, signature) = bytes.split_at(bytes.len() / 2);
    for (key, signature) in [(key, signature), (bytes, b"s".as_slice())] {
        let verified = signature::verify(b"sha256", key, signature, b"text");
        assert!(verified.is_err(), "a signature that nobody made");
    }
}
