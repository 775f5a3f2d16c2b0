//! How the content of a message is delimited (RFC 9112, 6) and whether the connection stays.
//!
//! Invariant: at most one field says how long content is. Two of them, or one that two
//! readers could read differently, are refused and never repaired.

use super::Malformed;
use super::head::{RequestHead, ResponseHead, Version};
use crate::view::Pairs;

/// Where content ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none, and no field says so.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// Where the connection ends; for responses only.
    UntilClose,
    /// The same, both ways: another protocol follows (RFC 9110, 7.8).
    Tunnel,
}

/// How the content of a request is delimited (RFC 9112, 6.3); without a field there is none.
pub fn request_framing(head: &RequestHead) -> Result<Framing, Malformed> {
    Ok(declared(head.version, &head.fields)?.unwrap_or(Framing::None))
}

/// How the content of a response is delimited (RFC 9112, 6.3); `to_head` if it answers HEAD.
///
/// An upstream that sends content with a status that has none leaves bytes in the buffer:
/// its connection must not be used again while there are any.
pub fn response_framing(head: &ResponseHead, to_head: bool) -> Result<Framing, Malformed> {
    let declared = declared(head.version, &head.fields)?;
    if to_head || has_no_content(head.status) {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

/// Whether responses with this status never have content (RFC 9110, 6.4.1).
pub(super) fn has_no_content(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether another message may follow on the connection (RFC 9112, 9.3).
pub fn keeps_alive(version: Version, fields: &Pairs) -> bool {
    !says_close(fields) && (version == Version::Http11 || says(fields, b"keep-alive"))
}

/// Whether the connection ends after this message.
pub(super) fn says_close(fields: &Pairs) -> bool {
    says(fields, b"close")
}

/// Whether `connection` lists this option (RFC 9110, 7.6.1).
fn says(fields: &Pairs, option: &[u8]) -> bool {
    let options = |value: &[u8]| {
        value
            .split(|byte| *byte == b',')
            .any(|found| found.trim_ascii().eq_ignore_ascii_case(option))
    };
    values(fields, b"connection").into_iter().any(options)
}

fn declared(version: Version, fields: &Pairs) -> Result<Option<Framing>, Malformed> {
    let codings = values(fields, b"transfer-encoding");
    let lengths = values(fields, b"content-length");
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(None),
        ([], _) => content_length(fields).map(|length| length.map(Framing::Length)),
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => match version {
            Version::Http11 => Ok(Some(Framing::Chunked)),
            // Faulty by RFC 9112, 6.1; a server that refuses HTTP/1.0 never gets here.
            Version::Http10 => Err(Malformed::Version),
        },
        (_, []) => Err(Malformed::TransferEncoding),
        (_, _) => Err(Malformed::Framing),
    }
}

/// The one content length, if there is one (RFC 9110, 8.6).
pub(super) fn content_length(fields: &Pairs) -> Result<Option<u64>, Malformed> {
    match values(fields, b"content-length")[..] {
        [] => Ok(None),
        [value] => digits(value).map(Some).ok_or(Malformed::ContentLength),
        _ => Err(Malformed::ContentLength),
    }
}

fn values<'f>(fields: &'f Pairs, name: &[u8]) -> Vec<&'f [u8]> {
    let named = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_slice()).collect()
}

/// A number of digits only: no sign, no blank, no list.
fn digits(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::tests::fields;

    fn request(fields: Pairs) -> RequestHead {
        let (method, target) = (b"POST".to_vec(), b"/".to_vec());
        RequestHead { method, target, version: Version::Http11, fields }
    }

    /// Fields of a message.
    type Given = &'static [(&'static str, &'static str)];
    type Framed = Result<Framing, Malformed>;

    const TE: &str = "transfer-encoding";
    const CL: &str = "content-length";

    #[test]
    fn requests_have_content_only_if_one_field_says_so() {
        let rows: &[(Given, Framed)] = &[
            (&[], Ok(Framing::None)),
            (&[(CL, "0")], Ok(Framing::Length(0))),
            (&[(CL, "007")], Ok(Framing::Length(7))),
            (&[(CL, "18446744073709551615")], Ok(Framing::Length(u64::MAX))),
            (&[(CL, "18446744073709551616")], Err(Malformed::ContentLength)),
            (&[(CL, "")], Err(Malformed::ContentLength)),
            (&[(CL, "+1")], Err(Malformed::ContentLength)),
            (&[(CL, "-1")], Err(Malformed::ContentLength)),
            (&[(CL, "0x1")], Err(Malformed::ContentLength)),
            (&[(CL, "1 1")], Err(Malformed::ContentLength)),
            (&[(CL, "1, 1")], Err(Malformed::ContentLength)),
            (&[(CL, "1"), (CL, "1")], Err(Malformed::ContentLength)),
            (&[(CL, "1"), (CL, "2")], Err(Malformed::ContentLength)),
            (&[(CL, "\u{661}")], Err(Malformed::ContentLength)),
            (&[(TE, "chunked")], Ok(Framing::Chunked)),
            (&[(TE, "Chunked")], Ok(Framing::Chunked)),
            (&[(TE, "chunked"), (TE, "chunked")], Err(Malformed::TransferEncoding)),
            (&[(TE, "chunked, chunked")], Err(Malformed::TransferEncoding)),
            (&[(TE, "gzip, chunked")], Err(Malformed::TransferEncoding)),
            (&[(TE, "chunked,")], Err(Malformed::TransferEncoding)),
            (&[(TE, "chunked;q=1")], Err(Malformed::TransferEncoding)),
            (&[(TE, "identity")], Err(Malformed::TransferEncoding)),
            (&[(TE, "")], Err(Malformed::TransferEncoding)),
            (&[(TE, "chunked"), (CL, "1")], Err(Malformed::Framing)),
            (&[(CL, "x"), (TE, "gzip")], Err(Malformed::Framing)),
        ];
        for (given, want) in rows {
            assert_eq!(request_framing(&request(fields(given))), *want, "{given:?}");
        }
    }

    #[test]
    fn chunks_in_http_1_0_are_refused() {
        let mut head = request(fields(&[(TE, "chunked")]));
        head.version = Version::Http10;
        assert_eq!(request_framing(&head), Err(Malformed::Version));
    }

    #[test]
    fn responses_end_where_status_and_method_say() {
        let rows: &[(u16, bool, Given, Framed)] = &[
            (200, false, &[], Ok(Framing::UntilClose)),
            (200, false, &[(CL, "5")], Ok(Framing::Length(5))),
            (200, false, &[(TE, "chunked")], Ok(Framing::Chunked)),
            (200, false, &[(TE, "gzip")], Err(Malformed::TransferEncoding)),
            (200, false, &[(TE, "chunked"), (CL, "5")], Err(Malformed::Framing)),
            (200, true, &[(CL, "5")], Ok(Framing::None)),
            (200, true, &[(TE, "chunked")], Ok(Framing::None)),
            (200, true, &[(CL, "5"), (CL, "6")], Err(Malformed::ContentLength)),
            (100, false, &[], Ok(Framing::None)),
            (101, false, &[], Ok(Framing::None)),
            (204, false, &[(CL, "5")], Ok(Framing::None)),
            (205, false, &[(CL, "0")], Ok(Framing::Length(0))),
            (304, false, &[(CL, "5")], Ok(Framing::None)),
        ];
        for (status, to_head, given, want) in rows {
            let head =
                ResponseHead { status: *status, version: Version::Http11, fields: fields(given) };
            assert_eq!(response_framing(&head, *to_head), *want, "{status} {given:?}");
        }
    }

    #[test]
    fn connections_stay_unless_somebody_says_close() {
        use Version::{Http10, Http11};
        let rows: &[(Version, Given, bool)] = &[
            (Http11, &[], true),
            (Http11, &[("connection", "keep-alive")], true),
            (Http11, &[("connection", "CLOSE")], false),
            (Http11, &[("connection", "x ,\tclose")], false),
            (Http11, &[("connection", "keep-alive"), ("connection", "close")], false),
            (Http11, &[("connection", "closed")], true),
            (Http11, &[("x", "close")], true),
            (Http10, &[], false),
            (Http10, &[("connection", "Keep-Alive")], true),
            (Http10, &[("connection", "keep-alive, close")], false),
        ];
        for (version, given, want) in rows {
            assert_eq!(keeps_alive(*version, &fields(given)), *want, "{version:?} {given:?}");
        }
    }
}
