//! From the fields of an HTTP/2 request to what the filters see (RFC 9113, 8.3).
//!
//! The codec has refused what no HTTP/2 message may hold: fields of a connection, names in
//! upper case, pseudo fields that are missing or come late. Invariant: what the codec of
//! Envoy refuses resets the stream; what its connection manager refuses is answered.

use super::arrive::{check, mutate, scheme, take_expectation};
use super::{Accepted, Arrival, HOP, Refusal, Scheme, is, joined, line, remove, value};
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
    mutate(&mut fields, http, from, HOP);
    remove(&mut fields, &["host"]);
    let told = told.as_deref().and_then(Scheme::parse);
    let scheme = told.unwrap_or_else(|| scheme(&fields, from));
    pairs.push(line(":scheme", scheme.as_str()));
    pairs.append(&mut fields);
    Ok(Accepted { pairs, expects_continue, closes: false, upgrade: false })
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

#[cfg(test)]
mod tests {
    use super::super::tests::{from, http, pairs, text};
    use super::*;

    const REFUSED: &str = "http2.invalid.header.field";
    const RULE: &str = "http2.violation.of.messaging.rule";

    /// `:authority` is left out if it is empty.
    fn come(start: [&str; 4], fields: &str) -> Result<Accepted, Refusal> {
        let [method, scheme, authority, path] = start.map(|part| part.as_bytes().to_vec());
        let came = Came {
            method,
            scheme: Some(scheme),
            authority: Some(authority).filter(|authority| !authority.is_empty()),
            path,
            fields: pairs(fields),
        };
        arrived_http2(came, &http(), &from(Scheme::Http))
    }

    #[test]
    fn filters_see_the_request_as_in_envoy() {
        let sent = "x-forwarded-for: 192.0.2.2|x-forwarded-proto: http\
                    |x-envoy-external-address: 192.0.2.2|x-request-id: id";
        let get = ["GET", "http", "a.test", "/a"];
        let start = ":method: GET|:path: /a|:authority: a.test|:scheme: http";
        for (given, fields, want, scheme) in [
            (get, "", "", "http"),
            (get, "cookie: a=1|x: y|cookie: b=2", "x: y|cookie: a=1; b=2|", "http"),
            (get, "host: b.test", "", "http"),
            (["GET", "http", "", "/a"], "host: a.test", "", "http"),
            (["GET", "https", "a.test", "/a"], "", "", "https"),
            (["GET", "ftp", "a.test", "/a"], "", "", "http"),
            (get, "te: trailers", "te: trailers|", "http"),
            (get, "accept: a|x: 1|accept: b|x: 2", "accept: a,b|x: 1|x: 2|", "http"),
            (get, "expect: 100-continue", "", "http"),
        ] {
            let accepted = come(given, fields).expect(fields);
            let start = start.replace("scheme: http", &format!("scheme: {scheme}"));
            assert_eq!(text(&accepted.pairs), format!("{start}|{want}{sent}"));
            assert_eq!(accepted.expects_continue, fields.contains("expect"));
            assert!(!accepted.closes && !accepted.upgrade);
        }
        assert!(come(["FOO", "http", "a", "/"], "").is_ok());
    }

    #[test]
    fn what_the_codec_of_envoy_refuses_is_reset_and_not_answered() {
        let many = |count| vec!["x: y"; count].join("|");
        let large = format!("x: {}", "y".repeat(32 << 10));
        for (start, fields, details, flags, closes) in [
            (["GET", "http", "", "/"], "", RULE, Flags::DPE, true),
            (["GET", "http", "a b", "/"], "", REFUSED, Flags::DPE, true),
            (["GET", "http", "u@a", "/"], "", REFUSED, Flags::DPE, true),
            (["GET", "http", "a/b", "/"], "", REFUSED, Flags::DPE, true),
            (["GET", "http", "a", "*"], "", RULE, Flags::DPE, true),
            (["GET", "http", "a", "b"], "", RULE, Flags::DPE, true),
            (["GET", "http", "a", "/"], "x_y: 1", "http2.unexpected_underscore", Flags::DR, false),
            (["GET", "http", "a", "/"], &many(97), "http2.too_many_headers", Flags::DR, false),
            (
                ["GET", "http", "a", "/"],
                &large,
                "http2.header_list_size_too_large",
                Flags::DR,
                false,
            ),
        ] {
            let refusal = come(start, fields).expect_err(details);
            assert_eq!(String::from_utf8_lossy(&refusal.reply.details), details);
            assert_eq!((refusal.flags, refusal.closes, refusal.resets), (flags, closes, true));
            assert_eq!(refusal.seen, Vec::new());
        }
        assert!(come(["GET", "http", "a", "/"], &many(96)).is_ok());
    }

    #[test]
    fn what_the_manager_of_envoy_refuses_is_answered() {
        for (start, status, details, seen) in [
            (["OPTIONS", "http", "a", "*"], 404, "absolute_path_rejected", ":path: *|"),
            (["GET", "http", "a", "/a%2fb"], 400, "path_normalization_failed", ":path: /a%2fb|"),
            (["CONNECT", "http", "a:443", ""], 404, "route_not_found", ""),
        ] {
            let refusal = come(start, "").expect_err(details);
            assert_eq!((refusal.reply.status, refusal.resets), (status, false));
            assert_eq!(String::from_utf8_lossy(&refusal.reply.details), details);
            let want = format!(":method: {}|{seen}:authority: {}", start[0], start[2]);
            assert_eq!(text(&refusal.seen), want);
        }
    }
}
