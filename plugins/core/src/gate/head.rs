//! A request head that every parser reads the same way, or a refusal.
//!
//! Invariant: a [`Head`] has one method, one clean path, one authority and unambiguous
//! framing; no field of it holds CR, LF or NUL.

use crate::binding::is_refused_method;
use crate::denial::{Ambiguity, Denial};
use crate::fields::{Field, Fields};
use crate::path::RequestPath;
use crate::websocket;

/// A checked header section.
pub(super) struct Head {
    pub(super) fields: Fields,
    pub(super) method: String,
    pub(super) path: RequestPath,
    /// No content and no trailers follow.
    pub(super) end: bool,
    /// It asks for a WebSocket: what follows is frames and no content.
    pub(super) websocket: bool,
}

impl Head {
    pub(super) fn read(fields: Fields, end: bool) -> Result<Self, Denial> {
        let ambiguous = |what| Err(Denial::RequestAmbiguous(what));
        let method = fields.only(":method").and_then(|method| str::from_utf8(method).ok());
        let Some(method) = method.map(str::to_owned) else {
            return ambiguous(Ambiguity::PseudoFields);
        };
        if is_refused_method(&method) {
            return Err(Denial::MethodRefused);
        }
        if fields.0.iter().any(|field| !is_clean(field)) {
            return ambiguous(Ambiguity::FieldBytes);
        }
        if fields.all(":scheme").count() > 1 {
            return ambiguous(Ambiguity::PseudoFields);
        }
        if !has_one_authority(&fields) {
            return ambiguous(Ambiguity::Authority);
        }
        if !has_one_length(&fields) {
            return ambiguous(Ambiguity::Framing);
        }
        let websocket = websocket::is_asked(&fields);
        if !websocket && leaves_http(&fields) {
            return ambiguous(Ambiguity::Upgrade);
        }
        match fields.only(":path").map(RequestPath::parse) {
            Some(Some(path)) => Ok(Self { fields, method, path, end, websocket }),
            Some(None) => ambiguous(Ambiguity::Path),
            None => ambiguous(Ambiguity::PseudoFields),
        }
    }

    /// Content codings other than identity (RFC 9110 8.4) and transfer codings other than
    /// chunked (RFC 9112 7): nothing here decodes them.
    pub(super) fn has_coded_content(&self) -> bool {
        let coded = |name, plain: &'static [u8]| {
            self.fields.all(name).any(move |value| !value.eq_ignore_ascii_case(plain))
        };
        coded("content-encoding", b"identity") || coded("transfer-encoding", b"chunked")
    }

    /// Whether it is this method, without content, of exactly this path.
    pub(super) fn asks(&self, method: &str, path: &str) -> bool {
        self.method == method && self.end && self.fields.only(":path") == Some(path.as_bytes())
    }

    /// The announced length of the content.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.fields.only("content-length").and_then(decimal)
    }
}

/// The characters of a field name (RFC 9110 5.1), after the colon of a pseudo-field; a
/// value without the bytes that end a line or a string somewhere (section 5.5).
fn is_clean(field: &Field) -> bool {
    let name = field.name.strip_prefix(b":").unwrap_or(&field.name);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty()
        && name.iter().all(token)
        && !field.value.iter().any(|byte| b"\r\n\0".contains(byte))
}

fn has_one_authority(fields: &Fields) -> bool {
    let Some(authority) = fields.only(":authority") else { return false };
    fields.all("host").all(|host| host == authority) && fields.all("host").count() <= 1
}

/// RFC 9112 6.3: more than one length, or a length beside a transfer coding, is how one
/// request becomes two.
fn has_one_length(fields: &Fields) -> bool {
    let mut lengths = fields.all("content-length");
    match (lengths.next(), lengths.next()) {
        (None, _) => true,
        (Some(length), None) => decimal(length).is_some() && !fields.has("transfer-encoding"),
        (Some(_), Some(_)) => false,
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// RFC 9110 7.8 and RFC 8441: what follows an upgrade is not HTTP and cannot be read.
fn leaves_http(fields: &Fields) -> bool {
    let lists_upgrade = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    fields.has("upgrade") || fields.has(":protocol") || fields.all("connection").any(lists_upgrade)
}
