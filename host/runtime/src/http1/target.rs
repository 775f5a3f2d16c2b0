//! The four forms of a request target (RFC 9112, 3.2), as authority and path.
//!
//! Invariant: there is one authority. An absolute target's wins over the `host` field
//! (RFC 9112, 3.2.2), and a host that is no authority is refused in either place.

use std::net::Ipv6Addr;

use super::{Malformed, RequestHead};

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `:authority`; replaces the `host` field. `None`: neither target nor fields name one,
    /// which Envoy answers with 400, `missing_host_header` and no body.
    pub authority: Option<Vec<u8>>,
    /// `:path`, for [`crate::proxy`] to read; empty for CONNECT, `*` for OPTIONS of the
    /// server, without a slash for `http://host?query`.
    pub path: Vec<u8>,
}

/// Reads the target of a request; `tls`: whether it came over TLS.
pub fn request_target(head: &RequestHead, tls: bool) -> Result<Target, Malformed> {
    let host = head.fields.iter().find(|(name, _)| name == b"host");
    let host = host.map(|(_, value)| value.as_slice());
    // Envoy lets user information pass here, and a comma-joined list of hosts.
    if host.is_some_and(|host| !host.iter().all(|byte| is_authority(*byte) && *byte != b'@')) {
        return Err(Malformed::Host);
    }
    let target = |authority: Option<&[u8]>, path: &[u8]| Target {
        authority: authority.map(<[u8]>::to_vec),
        path: path.to_vec(),
    };
    match (head.method.as_slice(), head.target.as_slice()) {
        (b"CONNECT", name) if is_host_and_port(name, true) => Ok(target(Some(name), b"")),
        (b"CONNECT", _) => Err(Malformed::Target),
        (_, path @ [b'/', ..]) | (b"OPTIONS", path @ b"*") => Ok(target(host, path)),
        (_, [b'*', ..]) => Err(Malformed::Target),
        (_, url) => absolute(url, tls).map(|(authority, path)| target(Some(authority), path)),
    }
}

/// Authority and path of an absolute target (RFC 9112, 3.2.2).
fn absolute(url: &[u8], tls: bool) -> Result<(&[u8], &[u8]), Malformed> {
    let colon = url.windows(3).position(|window| window == b"://").ok_or(Malformed::Syntax)?;
    let (scheme, rest) = (&url[..colon], &url[colon + 3..]);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_scheme(scheme) || !authority.iter().all(|byte| is_authority(*byte)) {
        return Err(Malformed::Syntax);
    }
    if authority.is_empty() {
        return Err(Malformed::Target);
    }
    match scheme.to_ascii_lowercase().as_slice() {
        b"http" => {}
        b"https" if tls => {}
        b"https" => return Err(Malformed::Insecure),
        _ => return Err(Malformed::Scheme),
    }
    // User information is refused with the rest (RFC 9110, 4.2.4). Envoy drops it.
    if !is_host_and_port(authority, false) {
        return Err(Malformed::Target);
    }
    Ok((authority, if path.is_empty() { b"/" } else { path }))
}

/// RFC 3986, 3.1.
fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// A byte of an authority (RFC 3986, 3.2).
fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@[]".contains(&byte)
}

fn is_host_and_port(bytes: &[u8], needs_port: bool) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    is_host(host) && port.map_or(!needs_port, is_port)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !host.is_empty() && host.bytes().all(plain)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Version;
    use crate::http1::tests::fields;

    /// Authority and path.
    type Row = Result<(&'static str, &'static str), Malformed>;

    fn read(method: &str, target: &str, host: &str, tls: bool) -> Result<Target, Malformed> {
        let head = RequestHead {
            method: method.into(),
            target: target.into(),
            version: Version::Http11,
            fields: fields(&[("host", host)]),
        };
        request_target(&head, tls)
    }

    #[test]
    fn targets_give_the_authority_and_path_of_envoy() {
        // From Envoy 1.40, without TLS and with `host: h`.
        let rows: &[(&str, Row)] = &[
            ("/", Ok(("h", "/"))),
            ("//x", Ok(("h", "//x"))),
            ("/*", Ok(("h", "/*"))),
            ("/<>#", Ok(("h", "/<>#"))),
            ("HTTP://X/y", Ok(("X", "/y"))),
            ("http://x", Ok(("x", "/"))),
            ("http://x?y", Ok(("x", "?y"))),
            ("http://x:80/y", Ok(("x:80", "/y"))),
            ("http://[::1]/y", Ok(("[::1]", "/y"))),
            ("http://x/y#z", Ok(("x", "/y#z"))),
            ("https://x/y", Err(Malformed::Insecure)),
            ("ws://x/y", Err(Malformed::Scheme)),
            ("ftp://x/y", Err(Malformed::Scheme)),
            ("http+x://y/", Err(Malformed::Scheme)),
            ("http://", Err(Malformed::Target)),
            ("http:///y", Err(Malformed::Target)),
            ("file:///x", Err(Malformed::Target)),
            ("http://x:/y", Err(Malformed::Target)),
            ("http://x:99999/y", Err(Malformed::Target)),
            ("http://x:1a/y", Err(Malformed::Target)),
            ("http://a_b/y", Err(Malformed::Target)),
            ("*", Err(Malformed::Target)),
            ("*x", Err(Malformed::Target)),
            ("http://x#y", Err(Malformed::Syntax)),
            ("http://x\\y", Err(Malformed::Syntax)),
            ("http://a<b/y", Err(Malformed::Syntax)),
            ("http:x", Err(Malformed::Syntax)),
            ("http:/x", Err(Malformed::Syntax)),
            ("h:1", Err(Malformed::Syntax)),
            ("1://x", Err(Malformed::Syntax)),
            ("a", Err(Malformed::Syntax)),
            ("?x", Err(Malformed::Syntax)),
            ("\\", Err(Malformed::Syntax)),
            // Envoy takes it for `x`.
            ("http://u@x/y", Err(Malformed::Target)),
        ];
        for (target, want) in rows {
            let want = want.map(|(authority, path)| Target {
                authority: Some(authority.into()),
                path: path.into(),
            });
            assert_eq!(read("GET", target, "h", false), want, "{target}");
        }
    }

    #[test]
    fn some_forms_are_for_one_method_or_for_tls() {
        let target = |authority: &str, path: &str| {
            Ok(Target { authority: Some(authority.into()), path: path.into() })
        };
        assert_eq!(read("OPTIONS", "*", "h", false), target("h", "*"));
        assert_eq!(read("OPTIONS", "http://x", "h", false), target("x", "/"));
        assert_eq!(read("CONNECT", "x:443", "h", false), target("x:443", ""));
        assert_eq!(read("CONNECT", "x", "h", false), Err(Malformed::Target));
        assert_eq!(read("CONNECT", "/", "h", false), Err(Malformed::Target));
        assert_eq!(read("GET", "https://x/y", "h", true), target("x", "/y"));
    }

    #[test]
    fn a_host_is_an_authority_or_the_request_is_refused() {
        for host in ["", "a", "A", "a:1", "a:", "[::1]", "a_b", "a%41", "a,b"] {
            let authority = read("GET", "/", host, false).map(|target| target.authority);
            assert_eq!(authority, Ok(Some(host.into())), "{host}");
        }
        // The last one passes in Envoy.
        for host in ["a b", "a/b", "a?b", "a#b", "a<b", "a\\b", "a\"b", "\u{e9}", "u@h"] {
            assert_eq!(read("GET", "/", host, false), Err(Malformed::Host), "{host}");
            assert_eq!(read("GET", "http://x/", host, false), Err(Malformed::Host), "{host}");
        }
    }

    #[test]
    fn without_a_host_there_is_no_authority() {
        let mut buffer = bytes::BytesMut::from("GET / HTTP/1.1\r\n\r\n");
        let head = crate::http1::request_head(&mut buffer, &crate::http1::tests::LIMITS);
        let target = request_target(&head.unwrap().unwrap(), false);
        assert_eq!(target, Ok(Target { authority: None, path: b"/".to_vec() }));
    }
}
