//! The proxy's own function `verify_signature`: RSA with PKCS #1 v1.5, and ECDSA with signatures
//! in DER.
//!
//! Invariant: only the one answer that says so means that a signature holds. A proxy without
//! the function is told apart from one that refuses.

use crate::abi::{self, Answer, Status};

/// `VerifySignatureResult` with `result: true` and nothing else.
const HOLDS: &[u8] = &[0x08, 0x01];
/// Fields of `VerifySignatureArguments`.
const HASH: u8 = 1;
const PUBLIC_KEY: u8 = 2;
const SIGNATURE: u8 = 3;
const TEXT: u8 = 4;

/// Whether `signature` is one of `message` under the key of this SubjectPublicKeyInfo, by a hash
/// such as `sha256`; `None` where the proxy does not have the function.
pub fn verify(hash: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    let arguments = [
        field(HASH, hash.as_bytes()),
        field(PUBLIC_KEY, key),
        field(SIGNATURE, signature),
        field(TEXT, message),
    ];
    verdict(abi::foreign_function("verify_signature", &arguments.concat()))
}

fn verdict(answer: Answer<Vec<u8>>) -> Option<bool> {
    match answer {
        Ok(answer) => Some(answer == HOLDS),
        Err(Status::NotFound) => None,
        Err(_) => Some(false),
    }
}

/// A field of bytes (protobuf, wire type 2).
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap_or(0));
    bytes.extend_from_slice(value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::native;

    #[test]
    fn nothing_but_the_answer_that_says_so_means_that_it_holds() {
        let rows: [(Answer<Vec<u8>>, Option<bool>); 9] = [
            (Ok(vec![8, 1]), Some(true)),
            (Ok(vec![]), Some(false)),
            (Ok(vec![8, 0]), Some(false)),
            (Ok(vec![8, 2]), Some(false)),
            (Ok(vec![8, 1, 0x12, 0]), Some(false)),
            (Ok(b"\x12\x1asha3 is not supported.".to_vec()), Some(false)),
            (Err(Status::BadArgument), Some(false)),
            (Err(Status::Other(10)), Some(false)),
            (Err(Status::NotFound), None),
        ];
        for (answer, want) in rows {
            assert_eq!(verdict(answer.clone()), want, "{answer:?}");
        }
    }

    #[test]
    fn a_proxy_without_the_function_is_asked_once_for_each_signature() {
        native::answer(1);
        native::calls();
        assert_eq!(verify("sha256", b"k", b"m", b"s"), None);
        assert_eq!(native::calls(), ["proxy_call_foreign_function"]);
        native::answer(2);
        assert_eq!(verify("sha256", b"k", b"m", b"s"), Some(false));
    }

    #[test]
    fn arguments_are_as_protobuf_has_them() {
        assert_eq!(field(HASH, b"sha256"), b"\x0a\x06sha256");
        assert_eq!(field(PUBLIC_KEY, &[]), [0x12, 0]);
        let long = field(TEXT, &[7; 300]);
        assert_eq!((long.len(), &long[..3]), (303, &[0x22, 0xac, 0x02][..]));
    }
}
