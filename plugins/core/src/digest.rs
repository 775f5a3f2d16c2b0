//! The request digest: what a permit, a release and an approval are about.
//!
//! SHA-256 over `"postern request/1\0"` and then, each behind its length as a 32-bit
//! big-endian number: method, scheme, authority, path with query; for each bound field
//! that the request has, sorted by lower-case name, its name and its values joined by
//! 0x00; and the content digest, 32 bytes, zeros when the content was not read.
//!
//! Invariant: different requests give different inputs: every part has its length, and a
//! field value cannot hold the joining byte (the gate refuses NUL).

use sha2::{Digest, Sha256};

use crate::fields::Fields;
use crate::order;

const LABEL: &[u8] = b"postern request/1\0";
/// Fields that are bound in every request, because they say what the content is.
const ALWAYS: [&str; 3] = ["content-type", "content-length", "content-encoding"];

/// The digest of a request head with `bound` fields (lower-case names) besides those that
/// describe content, and of its content.
pub fn request_digest(head: &Fields, bound: &[&str], content: Option<[u8; 32]>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(LABEL);
    for pseudo in [":method", ":scheme", ":authority", ":path"] {
        part(&mut hash, head.only(pseudo).unwrap_or_default());
    }
    for name in names(bound) {
        let values: Vec<&[u8]> = head.all(name).collect();
        if !values.is_empty() {
            part(&mut hash, name.as_bytes());
            part(&mut hash, &values.join(&0));
        }
    }
    part(&mut hash, &content.unwrap_or_default());
    hash.finalize().into()
}

/// Names of the bound fields, sorted: `bound`, and those that are bound always.
pub(crate) fn names<'a>(bound: &[&'a str]) -> Vec<&'a str> {
    order::distinct(bound.iter().copied().chain(ALWAYS))
}

fn part(hash: &mut Sha256, bytes: &[u8]) {
    // A header section is far below 4 GiB; a longer part would only fail to match.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hash.update(length.to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(extra: &[(&str, &str)]) -> Fields {
        let pseudo = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "gw.example"),
            (":path", "/api/x?y=1"),
        ];
        pseudo.iter().chain(extra).map(|(name, value)| (*name, *value)).collect()
    }

    #[test]
    fn the_digest_is_over_the_parts_with_their_lengths() {
        let head = head(&[("x-b", "2"), ("Content-Type", "a/b"), ("x-a", "1"), ("x-a", "3")]);
        let mut expected = b"postern request/1\0".to_vec();
        for text in ["POST", "https", "gw.example", "/api/x?y=1", "content-type", "a/b"] {
            expected.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            expected.extend_from_slice(text.as_bytes());
        }
        expected.extend_from_slice(b"\0\0\0\x03x-a\0\0\0\x031\x003\0\0\0\x20");
        expected.extend_from_slice(&[9; 32]);
        assert_eq!(
            request_digest(&head, &["x-a"], Some([9; 32])),
            <[u8; 32]>::from(Sha256::digest(expected))
        );
    }

    #[test]
    fn each_part_changes_the_digest_and_other_fields_do_not() {
        let digest =
            |extra: &[(&str, &str)], content| request_digest(&head(extra), &["x-a"], content);
        let plain = digest(&[], None);
        assert_eq!(digest(&[("x-other", "1")], None), plain);
        assert_eq!(digest(&[], Some([0; 32])), plain);
        for changed in [
            digest(&[("x-a", "")], None),
            digest(&[("content-length", "0")], None),
            digest(&[("content-encoding", "identity")], None),
            digest(&[], Some([1; 32])),
        ] {
            assert_ne!(changed, plain);
        }
    }
}
