//! The request target (RFC 9112, 3.2): origin form, absolute form, `*`.

use std::net::Ipv6Addr;

use super::Scheme;

/// A target as its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Only the absolute form names one; it replaces `host` (RFC 9112, 3.2.2).
    pub(super) authority: Option<Vec<u8>>,
    /// Only the absolute form names one.
    pub(super) scheme: Option<Scheme>,
    /// Path and query, not yet normalized.
    pub(super) path: Vec<u8>,
}

/// Why a target is refused, as status, details and text.
pub(super) type Bad = (u32, &'static str, &'static str);

const NO_URL: Bad = (400, "http1.codec_error", "Bad Request");
const INVALID_URL: Bad = (400, "http1.invalid_url", "Bad Request");
const INVALID_SCHEME: Bad = (400, "http1.invalid_scheme", "Bad Request");
const PLAINTEXT: Bad = (403, "http1.https_url_on_plaintext_connection", "Forbidden");

impl Target {
    /// Reads the target of a request that came on a connection of this scheme.
    pub(super) fn read(method: &[u8], target: &[u8], connection: Scheme) -> Result<Self, Bad> {
        match (target, method) {
            ([b'/', ..], _) | ([b'*', ..], b"OPTIONS") => {
                Ok(Self { authority: None, scheme: None, path: target.to_vec() })
            }
            ([b'*', ..], _) => Err(INVALID_URL),
            _ => Self::absolute(target, connection),
        }
    }

    fn absolute(target: &[u8], connection: Scheme) -> Result<Self, Bad> {
        let colon = target.windows(3).position(|window| window == b"://").ok_or(NO_URL)?;
        let (scheme, rest) = (&target[..colon], &target[colon + 3..]);
        let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // Userinfo is nobody's business behind this point (RFC 9110, 4.2.4).
        let user = authority.iter().position(|byte| *byte == b'@').map_or(0, |at| at + 1);
        let authority = &authority[user..];
        if !is_host_and_port(authority) {
            return Err(INVALID_URL);
        }
        let scheme = Scheme::parse(scheme).ok_or(INVALID_SCHEME)?;
        if (scheme, connection) == (Scheme::Https, Scheme::Http) {
            return Err(PLAINTEXT);
        }
        let path = if path.is_empty() { b"/" } else { path };
        let authority = Some(authority.to_vec());
        Ok(Self { authority, scheme: Some(scheme), path: path.to_vec() })
    }
}

/// Whether this is the authority form, which `CONNECT` needs.
pub(super) fn is_authority_form(target: &[u8]) -> bool {
    target.last().is_some_and(u8::is_ascii_digit)
        && target.rsplit(|byte| *byte == b':').next() != Some(target)
        && is_host_and_port(target)
}

fn is_host_and_port(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let (host, rest) = match text.strip_prefix('[') {
        Some(text) => {
            let Some((address, rest)) = text.split_once(']') else { return false };
            (address.parse::<Ipv6Addr>().is_ok(), rest)
        }
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            (!name.is_empty() && name.bytes().all(letter), rest)
        }
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = |port: &str| digits(port) && port.parse::<u16>().is_ok();
    host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port))
}

/// Whether `host` holds only what RFC 3986, 3.2 allows in an authority.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    authority
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@[]%".contains(byte))
}
