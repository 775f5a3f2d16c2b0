//! The proxy's own functions: `declare_property` and `verify_signature`, with arguments and
//! answers in protobuf, as Envoy has them.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::protobuf::Message;
use crate::engine::signature;
use crate::view::{Declared, Status};

/// `DeclarePropertyArguments.type` of a string.
const STRING: u64 = 1;

pub(in crate::engine) fn call(guest: &mut Guest, name: Span, arguments: Span, out: Out) -> Answer {
    let (name, arguments) = (guest.bytes(name)?, guest.bytes(arguments)?.to_vec());
    match name {
        b"declare_property" => declare(guest, &arguments),
        b"verify_signature" => {
            let answer = verify(&arguments)?;
            guest.give(&answer, out)
        }
        _ => Err(Status::NotFound.into()),
    }
}

/// A key is declared once for a plugin; again is `BadArgument`, as in Envoy.
fn declare(guest: &mut Guest, arguments: &[u8]) -> Answer {
    let message = Message::parse(arguments).ok_or(Status::BadArgument)?;
    let name = message.bytes(1).to_vec();
    let declared =
        Declared { readonly: message.number(2) != 0, string: message.number(3) == STRING };
    let root = guest.host_mut().root_mut().ok_or(Status::BadArgument)?;
    if root.declared.contains_key(&name) {
        return Err(Status::BadArgument.into());
    }
    root.declared.insert(name, declared);
    Ok(())
}

fn verify(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let message = Message::parse(arguments).ok_or(Status::BadArgument)?;
    let hash = message.bytes(1);
    match signature::verify(hash, message.bytes(2), message.bytes(3), message.bytes(4)) {
        Ok(()) => Ok(vec![0x08, 0x01]),
        Err(fault) => {
            let text = fault.to_string();
            // Every text of a fault is shorter than 128 bytes: one byte of length.
            let length = u8::try_from(text.len()).map_err(|_| Status::InternalFailure)?;
            Ok([&[0x12, length], text.as_bytes()].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_does_not_count_is_answered_with_a_text() {
        // hash "sha256", a key and a signature of one byte each, no text.
        let answer = verify(b"\x0a\x06sha256\x12\x01k\x1a\x01s").unwrap();
        assert_eq!(answer[0], 0x12);
        assert_eq!(usize::from(answer[1]), answer.len() - 2);
        assert!(String::from_utf8_lossy(&answer[2..]).contains("public key"));
        assert_eq!(verify(b"\x0a\x7f"), Err(Status::BadArgument));
    }
}
