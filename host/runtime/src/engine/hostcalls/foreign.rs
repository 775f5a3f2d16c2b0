//! The proxy's own functions, with arguments and answers in protobuf where they have any.
//!
//! Of the functions of Envoy 1.40 only the three of its expression language (`expr_create`,
//! `expr_evaluate`, `expr_delete`) are not here; they are not found, like any other name.
//! Envoy takes the context whose callback runs, whatever `proxy_set_effective_context` says.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::protobuf::{Message, put_bytes, put_number};
use crate::engine::{deflate, signature};
use crate::view::{Declared, Status};

/// `DeclarePropertyArguments.type` of a string.
const STRING: u64 = 1;
/// Most keys that one context declares.
const MOST_DECLARED: usize = 1024;

pub(in crate::engine) fn call(guest: &mut Guest, name: Span, arguments: Span, out: Out) -> Answer {
    let (name, arguments) = (guest.bytes(name)?, guest.bytes(arguments)?.to_vec());
    let answer = match name {
        b"declare_property" => declare(guest, &arguments).map(|()| Vec::new()),
        b"set_envoy_filter_state" => filter_state(guest, &arguments).map(|()| Vec::new()),
        // A route is looked for when the request leaves the listener's filters, and never
        // kept before.
        b"clear_route_cache" => Ok(Vec::new()),
        b"verify_signature" => verify(&arguments),
        b"sign" => sign(&arguments),
        b"compress" => deflate::compress(&arguments),
        b"uncompress" => deflate::uncompress(&arguments),
        _ => Err(Status::NotFound),
    };
    guest.give(&answer?, out)
}

/// A key is declared once in a context; again is `BadArgument`, as in Envoy.
fn declare(guest: &mut Guest, arguments: &[u8]) -> Result<(), Status> {
    let message = Message::parse(arguments).ok_or(Status::BadArgument)?;
    let declared =
        Declared { readonly: message.number(2) != 0, string: message.number(3) == STRING };
    let host = guest.host_mut();
    let context = host.contexts.get_mut(&host.current).ok_or(Status::BadArgument)?;
    let name = message.bytes(1);
    if context.declared.contains_key(name) {
        return Err(Status::BadArgument);
    }
    if context.declared.len() >= MOST_DECLARED {
        return Err(Status::InternalFailure);
    }
    context.declared.insert(name.to_vec(), declared);
    Ok(())
}

fn filter_state(guest: &Guest, arguments: &[u8]) -> Result<(), Status> {
    let message = Message::parse(arguments).ok_or(Status::BadArgument)?;
    let host = guest.host();
    let view = host.contexts.get(&host.current).and_then(|context| context.view.clone());
    view.ok_or(Status::NotFound)?.set_filter_state(message.bytes(1), message.bytes(2))
}

/// The key of a message: in DER under one number or in PEM under another, not both.
fn key(message: &Message<'_>, der: u64, pem: u64) -> Result<Vec<u8>, Status> {
    match (message.bytes(der), message.bytes(pem)) {
        (b"", b"") => Err(Status::BadArgument),
        (der, b"") => Ok(der.to_vec()),
        (b"", pem) => Ok(signature::pem(pem).unwrap_or_default()),
        _ => Err(Status::BadArgument),
    }
}

fn verify(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let message = Message::parse(arguments).ok_or(Status::BadArgument)?;
    let key = key(&message, 2, 5)?;
    let mut answer = Vec::new();
    match signature::verify(message.bytes(1), &key, message.bytes(3), message.bytes(4)) {
        Ok(()) => put_number(&mut answer, 1, 1),
        Err(fault) => put_bytes(&mut answer, 2, fault.to_string().as_bytes()),
    }
    Ok(answer)
}

fn sign(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let message = Message::parse(arguments).ok_or(Status::BadArgument)?;
    let key = key(&message, 2, 4)?;
    let mut answer = Vec::new();
    match signature::sign(message.bytes(1), &key, message.bytes(3)) {
        Ok(signature) => {
            put_number(&mut answer, 1, 1);
            put_bytes(&mut answer, 2, &signature);
        }
        Err(fault) => put_bytes(&mut answer, 3, fault.to_string().as_bytes()),
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_does_not_count_is_answered_with_a_text() {
        // hash "sha256", a key and a signature of one byte each, no text.
        let answer = verify(b"\x0a\x06sha256\x12\x01k\x1a\x01s").unwrap();
        assert_eq!(answer, b"\x12\x23Failed to initialize digest verify.");
        assert_eq!(verify(b"\x0a\x7f"), Err(Status::BadArgument));
    }

    #[test]
    fn exactly_one_key_is_taken() {
        for arguments in [&b""[..], b"\x0a\x06sha256", b"\x12\x01k\x2a\x01k"] {
            assert_eq!(verify(arguments), Err(Status::BadArgument), "{arguments:?}");
        }
        assert_eq!(sign(b"\x12\x01k\x22\x01k"), Err(Status::BadArgument));
        let refused = sign(b"\x0a\x03md5\x12\x01k").unwrap();
        assert_eq!(refused, b"\x1a\x15md5 is not supported.");
    }
}
