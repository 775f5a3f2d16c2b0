//! Where a request asks to be forwarded to: one absolute `https` URL of one spelling.
//!
//! Owns the reader of `X-TAP-Target`. It repairs nothing: what a lenient parser would mend
//! (RFC 3986 leaves room, and the URL standard mends backslashes, tabs, dots and digits) is
//! refused, so that every parser behind reads the same place.
//!
//! Invariant: a [`Target`] names a DNS host in lower case without user information, and a
//! path that is a [`RequestPath`]; its bytes are those that the caller wrote.

use crate::authority::Authority;
use crate::denial::NotAllowed;
use crate::path::RequestPath;

/// Longest target, in bytes: what a server must take in a request line (RFC 9112 3).
pub const LONGEST: usize = 8000;

/// An absolute `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port.
    pub authority: Authority,
    /// The path, ready to be matched.
    pub path: RequestPath,
    /// Path and query as they are forwarded.
    pub origin_form: String,
}

impl Target {
    /// Reads the value of the field; the reason is for the audit record.
    pub fn parse(value: &[u8]) -> Result<Self, NotAllowed> {
        let text = str::from_utf8(value).map_err(|_| NotAllowed::TargetBytes)?;
        if text.len() > LONGEST {
            return Err(NotAllowed::TargetLength);
        }
        if !text.bytes().all(is_expected) {
            return Err(NotAllowed::TargetBytes);
        }
        if is_joined(text) {
            return Err(NotAllowed::TargetJoined);
        }
        let rest = without_scheme(text).ok_or(NotAllowed::TargetScheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).ok_or(NotAllowed::TargetBytes)?;
        // An empty path and `/` are the same place (RFC 9110 4.2.3).
        let origin_form = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        let path = RequestPath::parse(origin_form.as_bytes()).ok_or(NotAllowed::TargetPath)?;
        Ok(Self { authority: read_authority(authority)?, path, origin_form })
    }
}

/// Printable ASCII without what ends a URL (`#`) and what some read as a slash (`\`).
fn is_expected(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#' && byte != b'\\'
}

/// Two lines of the field that somebody has joined (RFC 9110 5.3), so that the second URL
/// looks like a part of the first.
fn is_joined(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains(",https:") || lower.contains(",http:")
}

/// Schemes are compared in any case (RFC 3986 3.1).
fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    scheme.eq_ignore_ascii_case("https").then_some(rest)
}

fn read_authority(text: &str) -> Result<Authority, NotAllowed> {
    if text.contains('@') {
        return Err(NotAllowed::TargetUserinfo);
    }
    let authority = Authority::parse(text).ok_or(NotAllowed::TargetHost)?;
    if authority.is_address() { Err(NotAllowed::TargetHost) } else { Ok(authority) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, String), NotAllowed> {
        let target = Target::parse(text.as_bytes())?;
        Ok((target.authority.to_string(), target.origin_form))
    }

    #[test]
    fn one_place_has_one_reading() {
        for (text, authority, path) in [
            ("https://slack.com/api/chat.postMessage", "slack.com", "/api/chat.postMessage"),
            ("https://slack.com/api/x?a=1&b=%2F//../", "slack.com", "/api/x?a=1&b=%2F//../"),
            ("https://SLACK.com./api/x", "slack.com", "/api/x"),
            ("HTTPS://slack.com:443/", "slack.com", "/"),
            ("https://slack.com", "slack.com", "/"),
            ("https://slack.com?a", "slack.com", "/?a"),
            ("https://mail.test:8443/x;v=1", "mail.test:8443", "/x;v=1"),
            ("https://slack.com/api/%2561", "slack.com", "/api/%2561"),
            ("https://slack.com/x?a=<CREDENTIAL:b>", "slack.com", "/x?a=<CREDENTIAL:b>"),
            ("https://slack.com/x?at=a@b,c", "slack.com", "/x?at=a@b,c"),
        ] {
            assert_eq!(read(text), Ok((authority.to_owned(), path.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        use NotAllowed::*;
        for (reason, text) in [
            (TargetScheme, ""),
            (TargetScheme, "slack.com/api"),
            (TargetScheme, "//slack.com/api"),
            (TargetScheme, "/api"),
            (TargetScheme, "http://slack.com/"),
            (TargetScheme, "https:/slack.com/"),
            (TargetScheme, "https:slack.com/"),
            (TargetScheme, "ftp://slack.com/"),
            (TargetScheme, "javascript://slack.com/"),
            (TargetScheme, "wss://slack.com/"),
            (TargetScheme, "blob:https://slack.com/"),
            (TargetUserinfo, "https://slack.com@evil.test/"),
            (TargetUserinfo, "https://evil.test@slack.com/"),
            (TargetUserinfo, "https://:@slack.com/"),
            (TargetUserinfo, "https://slack.com:443@evil.test/"),
            (TargetHost, "https:///api"),
            (TargetHost, "https://?x"),
            (TargetHost, "https://./"),
            (TargetHost, "https://slack.com../"),
            (TargetHost, "https://.slack.com/"),
            (TargetHost, "https://slack..com/"),
            (TargetHost, "https://*.com/"),
            (TargetHost, "https://slack%2ecom/"),
            (TargetHost, "https://slack.com%00.evil.test/"),
            (TargetHost, "https://slack.com:/"),
            (TargetHost, "https://slack.com:0443/"),
            (TargetHost, "https://slack.com:65979/"),
            (TargetHost, "https://slack.com:443:443/"),
            (TargetHost, "https://127.0.0.1/"),
            (TargetHost, "https://127.0.0.1./"),
            (TargetHost, "https://127.1/"),
            (TargetHost, "https://2130706433/"),
            (TargetHost, "https://0x7f000001/"),
            (TargetHost, "https://0x7f.0.0.1/"),
            (TargetHost, "https://0177.0.0.1/"),
            (TargetHost, "https://[::1]/"),
            (TargetHost, "https://[::ffff:127.0.0.1]/"),
            (TargetHost, "https://[fe80::1%25eth0]/"),
            (TargetHost, "https://<CREDENTIAL:slack>/"),
            (TargetBytes, "https://b\u{fc}cher.test/"),
            (TargetBytes, "https://slack\u{3002}com/"),
            (TargetBytes, "https://slack.com/\u{e9}"),
            (TargetBytes, "https://slack.com\\@evil.test/"),
            (TargetBytes, "https:\\\\slack.com/"),
            (TargetBytes, "https://slack.com/api\\x"),
            (TargetBytes, "https://slack.com/x?a=\\"),
            (TargetBytes, "https://slack.com/api#x"),
            (TargetBytes, "https://slack.com#@evil.test/"),
            (TargetBytes, "https://slack.com/a b"),
            (TargetBytes, "https://slack.com/\r\nx-a: b"),
            (TargetBytes, "https://slack.com/\0"),
            (TargetBytes, "https://sl\tack.com/"),
            (TargetBytes, " https://slack.com/"),
            (TargetPath, "https://slack.com//api"),
            (TargetPath, "https://slack.com/./api"),
            (TargetPath, "https://slack.com/api/../admin"),
            (TargetPath, "https://slack.com/api/%2e%2E/admin"),
            (TargetPath, "https://slack.com/api/..;x=1/admin"),
            (TargetPath, "https://slack.com/api%2fadmin"),
            (TargetPath, "https://slack.com/api%5Cadmin"),
            (TargetPath, "https://slack.com/api%00"),
            (TargetPath, "https://slack.com/api/%"),
            (TargetPath, "https://slack.com/a,b//c"),
            (TargetJoined, "https://slack.com/a,https://slack.com/b"),
            (TargetJoined, "https://slack.com/a?b,http://evil.test/"),
        ] {
            assert_eq!(read(text), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn a_target_has_a_greatest_length() {
        let text = |length: usize| format!("https://slack.com/{}", "a".repeat(length - 18));
        assert!(read(&text(LONGEST)).is_ok());
        assert_eq!(read(&text(LONGEST + 1)), Err(NotAllowed::TargetLength));
        assert_eq!(Target::parse(b"https://slack.com/\xff"), Err(NotAllowed::TargetBytes));
    }
}
