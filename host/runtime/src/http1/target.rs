//! The four forms of a request target (RFC 9112, 3.2), as scheme, authority and path.
//!
//! Invariant: there is one reading of a target for everybody, and one authority: an absolute
//! target's wins over the `host` field (RFC 9112, 3.2.2).

use std::net::Ipv6Addr;

use super::Malformed;

/// Scheme of a connection or of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// By its name in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| name.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Only the absolute form and that of `CONNECT` name one; it replaces the `host` field.
    pub authority: Option<Vec<u8>>,
    /// Only the absolute form names one.
    pub scheme: Option<Scheme>,
    /// `:path` as sent, for [`crate::proxy`] to read; empty for `CONNECT`, `*` for `OPTIONS`
    /// of the server, without a slash for `http://host?query`.
    pub path: Vec<u8>,
}

/// Reads the target of a request that came on a connection of this scheme.
pub fn request_target(
    method: &[u8],
    target: &[u8],
    connection: Scheme,
) -> Result<Target, Malformed> {
    let path = |path: &[u8]| Target { authority: None, scheme: None, path: path.to_vec() };
    match (method, target) {
        (b"CONNECT", name) if is_host_and_port(name, true) => {
            Ok(Target { authority: Some(name.to_vec()), ..path(b"") })
        }
        (b"CONNECT", _) => Err(Malformed::Target),
        (_, [b'/', ..]) | (b"OPTIONS", [b'*', ..]) => Ok(path(target)),
        (_, [b'*', ..]) => Err(Malformed::Target),
        _ => absolute(target, connection),
    }
}

/// Scheme, authority and path of an absolute target (RFC 9112, 3.2.2).
fn absolute(url: &[u8], connection: Scheme) -> Result<Target, Malformed> {
    let colon = url.windows(3).position(|window| window == b"://").ok_or(Malformed::Syntax)?;
    let (scheme, rest) = (&url[..colon], &url[colon + 3..]);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_scheme(scheme) || !is_authority(authority) {
        return Err(Malformed::Syntax);
    }
    // User information is nobody's business behind this point (RFC 9110, 4.2.4).
    let user = authority.iter().position(|byte| *byte == b'@').map_or(0, |at| at + 1);
    let authority = &authority[user..];
    if authority.is_empty() {
        return Err(Malformed::Target);
    }
    let scheme = Scheme::parse(scheme).ok_or(Malformed::Scheme)?;
    if (scheme, connection) == (Scheme::Https, Scheme::Http) {
        return Err(Malformed::Insecure);
    }
    if !is_host_and_port(authority, false) {
        return Err(Malformed::Target);
    }
    let path = if path.is_empty() { b"/" } else { path };
    let (authority, path) = (Some(authority.to_vec()), path.to_vec());
    Ok(Target { authority, scheme: Some(scheme), path })
}

/// RFC 3986, 3.1.
fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Whether there are only bytes of an authority (RFC 3986, 3.2). What a `host` field says is
/// held to this and to no more, as in Envoy.
pub fn is_authority(bytes: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@[]".contains(byte);
    bytes.iter().all(fits)
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
    use Scheme::{Http, Https};

    /// Authority and path.
    type Row = Result<(&'static str, &'static str), Malformed>;

    /// The authority falls back to `h`, as to the `host` field.
    fn read(method: &str, target: &str, connection: Scheme) -> Result<(String, String), Malformed> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let target = request_target(method.as_bytes(), target.as_bytes(), connection)?;
        Ok((target.authority.map_or("h".to_owned(), text), text(target.path)))
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
            ("http://u:p@x/y", Ok(("x", "/y"))),
            ("http://u@v@x/y", Err(Malformed::Target)),
        ];
        for (target, want) in rows {
            let want = want.map(|(authority, path)| (authority.to_owned(), path.to_owned()));
            assert_eq!(read("GET", target, Http), want, "{target}");
        }
    }

    #[test]
    fn some_forms_are_for_one_method_or_for_tls() {
        let target = |authority: &str, path: &str| Ok((authority.to_owned(), path.to_owned()));
        assert_eq!(read("OPTIONS", "*", Http), target("h", "*"));
        assert_eq!(read("OPTIONS", "http://x", Http), target("x", "/"));
        assert_eq!(read("CONNECT", "x:443", Http), target("x:443", ""));
        assert_eq!(read("CONNECT", "x", Http), Err(Malformed::Target));
        assert_eq!(read("CONNECT", "/", Http), Err(Malformed::Target));
        assert_eq!(read("GET", "https://x/y", Https), target("x", "/y"));
    }

    #[test]
    fn a_host_is_an_authority() {
        for host in ["", "a", "A", "a:1", "a:", "[::1]", "a_b", "a%41", "a,b", "u@h"] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in ["a b", "a/b", "a?b", "a#b", "a<b", "a\\b", "a\"b", "\u{e9}"] {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }
}
