//! From the fields of an HTTP/2 request to what the filters see (RFC 9113, 8.3).
//!
//! The codec has refused what no HTTP/2 message may hold: fields of a connection, names in
//! upper case, pseudo fields that are missing or come late. Invariant: what the codec of
//! Envoy refuses resets the stream; what its connection manager refuses is answered.

use super::arrive::{check, mutate, scheme, take_expectation};
use super::{Accepted, Arrival, Refusal, Scheme, is, joined, line, remove, value};
use crate::config::Http;
use crate::http1::is_authority;
use crate::proxy::chain::own;
use crate::proxy::failure::{Failure, Flags};
use crate::view::Pairs;

/// A request as the codec has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// `:method`.
    pub method: Vec<u8>,
    /// `:scheme`; `CONNECT` has none.
    pub scheme: Option<Vec<u8>>,
    /// `:authority`.
    pub authority: Option<Vec<u8>>,
    /// `:path`; `CONNECT` has none.
    pub path: Vec<u8>,
    /// All others.
    pub fields: Pairs,
}

/// The request as the filters see it, or why none of them does.
pub fn arrived_http2(came: Came, http: &Http, from: &Arrival) -> Result<Accepted, Refusal> {
    let Came { method, scheme: told, authority, path, fields } = came;
    let mut fields = joined::request(crumbs(fields));
    let given = authority.is_some();
    let authority = authority.or_else(|| value(&fields, "host").map(<[u8]>::to_vec));
    let Some(authority) = authority else { return Err(violation()) };
    let mut pairs = vec![line(":method", method.as_slice()), line(":authority", authority)];
    check_fields(&pairs, &path, &fields, http)?;
    let is_connect = method == b"CONNECT" && given;
    if is_connect {
        return Err(connect(pairs));
    }
    if path.first() != Some(&b'/') && !(path == b"*" && method == b"OPTIONS") {
        return Err(violation());
    }
    pairs.insert(1, line(":path", path.as_slice()));
    pairs[1].1 = check(&path, &pairs, &fields, http, false)?;
    let expects_continue = take_expectation(&mut fields);
    mutate(&mut fields, http, from);
    remove(&mut fields, &["host"]);
    let told = told.as_deref().and_then(Scheme::parse);
    let scheme = told.unwrap_or_else(|| scheme(&fields, from));
    pairs.push(line(":scheme", scheme.as_str()));
    pairs.append(&mut fields);
    Ok(Accepted { pairs, expects_continue, closes: false })
}

/// Joins what RFC 9113, 8.2.3 lets a caller send in crumbs.
fn crumbs(pairs: Pairs) -> Pairs {
    let mut joined: Pairs = Vec::with_capacity(pairs.len());
    let mut cookie: Option<Vec<u8>> = None;
    for (name, value) in pairs {
        match &mut cookie {
            _ if !is(&name, "cookie") => joined.push((name, value)),
            None => cookie = Some(value),
            Some(crumbs) => {
                crumbs.extend_from_slice(b"; ");
                crumbs.extend_from_slice(&value);
            }
        }
    }
    joined.extend(cookie.map(|cookie| line("cookie", cookie)));
    joined
}

/// What Envoy's codec refuses. An authority with an `@` is none of HTTP/2
/// (RFC 9113, 8.3.1).
fn check_fields(pairs: &Pairs, path: &[u8], fields: &Pairs, http: &Http) -> Result<(), Refusal> {
    let authority = value(pairs, ":authority").unwrap_or_default();
    if !is_authority(authority) || authority.contains(&b'@') {
        return Err(Refusal { closes: true, ..reset("http2.invalid.header.field", Flags::DPE) });
    }
    let underscore = fields.iter().any(|(name, _)| name.contains(&b'_'));
    if http.limits.reject_underscores && underscore {
        return Err(reset("http2.unexpected_underscore", Flags::DR));
    }
    // `:path` and `:scheme` count too.
    if fields.len() + pairs.len() + 2 > http.limits.max_fields {
        return Err(reset("http2.too_many_headers", Flags::DR));
    }
    let lines = fields.iter().chain(pairs);
    let size: usize = lines.map(|(name, value)| name.len() + value.len()).sum();
    if size + path.len() > http.limits.max_field_bytes {
        return Err(reset("http2.header_list_size_too_large", Flags::DR));
    }
    Ok(())
}

/// No route fits `CONNECT` in a file that this gateway reads.
fn connect(seen: Pairs) -> Refusal {
    let (reply, flags) = (Failure::NoRoute.reply(), Failure::NoRoute.flags());
    Refusal { reply, flags, closes: false, resets: false, seen }
}

/// Not a request at all: its connection ends as well.
fn violation() -> Refusal {
    Refusal { closes: true, ..reset("http2.violation.of.messaging.rule", Flags::DPE) }
}

/// A request that is cut and not answered: loggers see nothing of it.
fn reset(details: &str, flags: Flags) -> Refusal {
    let reply = own(0, details, "");
    Refusal { reply, flags, closes: false, resets: true, seen: Vec::new() }
}
