//! From the wire's method, target and fields to what the filters see.

use super::connection::{closes, keep_trailers, remove_nominated, upgrade};
use super::{
    Accepted, Arrival, HOP, HOP_OF_UPGRADE, Refusal, Scheme, is, joined, line, members, remove,
    set, value,
};
use crate::config::Http;
use crate::http1::{Malformed, Target, is_authority, request_target};
use crate::proxy::chain::own;
use crate::proxy::failure::{Failure, Flags};
use crate::proxy::path::Reading;
use crate::view::Pairs;

/// Methods that Envoy's parser knows; every other one is 400.
#[rustfmt::skip]
const METHODS: &[&str] = &[
    "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE",
    "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "MSEARCH", "NOTIFY", "OPTIONS", "PATCH", "POST",
    "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE",
    "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
];

/// Fields that speak between proxies: nobody outside may say them.
const INTERNAL: &[&str] = &[
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
];

/// Fields of an edge, which `use_remote_address` says that this is.
const EDGE: &[&str] = &[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-host",
    "x-envoy-original-path",
];

/// The request as the filters see it, or why none of them does. Names are in lower case.
pub fn arrived(
    method: &[u8],
    target: &[u8],
    fields: Pairs,
    http: &Http,
    from: &Arrival,
) -> Result<Accepted, Refusal> {
    let mut fields = joined::request(fields);
    let closes = closes(&fields);
    check_names(method, target, &fields, http)?;
    let upgrade = upgrade(&mut fields);
    let passes = upgrade.as_ref().is_some_and(|to| http.websocket && is(to, "websocket"));
    let (target, mut pairs) = parse(method, target, &mut fields, from.scheme)?;
    let path = check(&target.path, &pairs, &fields, http, closes)?;
    set(&mut pairs, ":path", path);
    let expects_continue = take_expectation(&mut fields);
    if passes {
        alone(&mut fields);
    }
    mutate(&mut fields, http, from, if passes { HOP_OF_UPGRADE } else { HOP });
    if target.scheme.is_none() {
        pairs.push(line(":scheme", scheme(&fields, from).as_str()));
    }
    pairs.append(&mut fields);
    if upgrade.is_some() && !passes {
        return Err(upgrade_refused(&pairs));
    }
    Ok(Accepted { pairs, expects_continue, closes, upgrade: passes })
}

/// Another protocol than what passes, or content before it: nobody would know where that
/// ends. Envoy passes such content on.
pub fn upgrade_refused(seen: &Pairs) -> Refusal {
    refused(403, "upgrade_failed", true, seen)
}

/// Nothing but the upgrade is said of the connection.
fn alone(fields: &mut Pairs) {
    let said = value(fields, "connection").unwrap_or_default();
    if members(said).count() > 1 {
        set(fields, "connection", "Upgrade");
    }
}

/// What Envoy's codec does: nominated fields go, and the target becomes pseudo fields.
fn parse(
    method: &[u8],
    target: &[u8],
    fields: &mut Pairs,
    connection: Scheme,
) -> Result<(Target, Pairs), Refusal> {
    remove_nominated(fields)
        .map_err(|_| unparsed((400, "http1.connection_header_rejected", "Bad Request")))?;
    let target = request_target(method, target, connection).map_err(malformed)?;
    if method == b"CONNECT" {
        return Err(connect(&target));
    }
    let pairs = pseudo(method, &target, fields)?;
    Ok((target, pairs))
}

/// What Envoy's connection manager checks; gives the path as everybody behind reads it.
pub(super) fn check(
    path: &[u8],
    pairs: &Pairs,
    fields: &Pairs,
    http: &Http,
    closes: bool,
) -> Result<Vec<u8>, Refusal> {
    let bad = |details| refused(400, details, true, pairs);
    if value(pairs, ":authority").is_none() {
        return Err(bad("missing_host_header"));
    }
    if path.first() != Some(&b'/') {
        return Err(refused(404, "absolute_path_rejected", closes, pairs));
    }
    let is_query = value(pairs, ":method") == Some(b"QUERY");
    if is_query && value(fields, "content-type").is_none() {
        return Err(bad("query_missing_content_type"));
    }
    Reading::from(http).read(path).map_err(|_| bad("path_normalization_failed"))
}

fn check_names(method: &[u8], target: &[u8], fields: &Pairs, http: &Http) -> Result<(), Refusal> {
    let known = METHODS.iter().any(|known| known.as_bytes() == method);
    if !known || !target.iter().all(u8::is_ascii_graphic) {
        return Err(malformed(Malformed::Syntax));
    }
    let underscore = fields.iter().any(|(name, _)| name.contains(&b'_'));
    if http.limits.reject_underscores && underscore {
        return Err(malformed(Malformed::Underscore));
    }
    Ok(())
}

/// The pseudo fields in Envoy's order; without an authority if the request has none.
fn pseudo(method: &[u8], target: &Target, fields: &Pairs) -> Result<Pairs, Refusal> {
    let host = value(fields, "host");
    let authority = target.authority.as_deref().or(host);
    if !authority.is_none_or(is_authority) {
        return Err(malformed(Malformed::Host));
    }
    let mut pairs = Vec::new();
    pairs.extend(authority.map(|authority| line(":authority", authority)));
    pairs.extend(target.scheme.map(|scheme| line(":scheme", scheme.as_str())));
    pairs.push(line(":path", target.path.as_slice()));
    pairs.push(line(":method", method));
    Ok(pairs)
}

/// Takes the expectation that a proxy answers itself (RFC 9110, 10.1.1); others go on.
pub(super) fn take_expectation(fields: &mut Pairs) -> bool {
    let expects = value(fields, "expect").is_some_and(|value| is(value, "100-continue"));
    if expects {
        remove(fields, &["expect"]);
    }
    expects
}

/// What Envoy's connection manager does to every request's fields.
pub(super) fn mutate(fields: &mut Pairs, http: &Http, from: &Arrival, hop: &[&str]) {
    keep_trailers(fields);
    remove(fields, hop);
    remove(fields, &["host"]);
    remove(fields, INTERNAL);
    if !(http.forwards_certificates && from.mutual) {
        remove(fields, &["x-forwarded-client-cert"]);
    }
    if http.use_remote_address {
        remove(fields, EDGE);
        let peer = from.peer.to_string();
        let before = value(fields, "x-forwarded-for").filter(|before| !before.is_empty());
        let chain = before.map(|before| [before, b",", peer.as_bytes()].concat());
        set(fields, "x-forwarded-for", chain.unwrap_or_else(|| peer.clone().into_bytes()));
        set(fields, "x-forwarded-proto", from.scheme.as_str());
        set(fields, "x-envoy-external-address", peer);
    } else if value(fields, "x-forwarded-proto").is_none() {
        set(fields, "x-forwarded-proto", from.scheme.as_str());
    }
    let given = value(fields, "x-request-id").is_some_and(|id| !id.is_empty());
    if http.use_remote_address || !given {
        set(fields, "x-request-id", from.request_id.as_str());
    }
}

/// What `x-forwarded-proto` says if it is a scheme, else the connection's.
pub(super) fn scheme(fields: &Pairs, from: &Arrival) -> Scheme {
    let told = value(fields, "x-forwarded-proto").and_then(Scheme::parse);
    told.unwrap_or(from.scheme)
}

/// No route fits `CONNECT` in a file that this gateway reads.
fn connect(target: &Target) -> Refusal {
    let authority = target.authority.as_deref().unwrap_or_default();
    let seen = vec![line(":authority", authority), line(":method", "CONNECT")];
    let (reply, flags) = (Failure::NoRoute.reply(), Failure::NoRoute.flags());
    Refusal { reply, flags, closes: true, resets: false, seen }
}

fn malformed(malformed: Malformed) -> Refusal {
    unparsed(malformed.answer())
}

/// A message that the codec of Envoy refuses: loggers see nothing of it.
fn unparsed((status, details, text): (u16, &str, &str)) -> Refusal {
    let reply = own(u32::from(status), details, text);
    Refusal { reply, flags: Flags::DPE, closes: true, resets: false, seen: Vec::new() }
}

/// A request that the connection manager of Envoy refuses, without content.
fn refused(status: u32, details: &str, closes: bool, seen: &Pairs) -> Refusal {
    let (reply, flags) = (own(status, details, ""), Flags::NONE);
    Refusal { reply, flags, closes, resets: false, seen: seen.clone() }
}
