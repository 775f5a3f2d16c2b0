//! Fields whose lines Envoy keeps as one, joined with `,`.
//!
//! It does so for the fields that it gives a place of their own; all others keep their
//! lines. A module that reads all fields sees the difference, and so does the upstream.

use crate::view::{Direction, Pairs};

const REQUEST: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "proxy-connection",
    "referer",
    "te",
    "upgrade",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-is-timeout-retry",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

const RESPONSE: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "proxy-connection",
    "proxy-status",
    "server",
    "upgrade",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

/// The fields of a request, as they came.
pub(super) fn request(pairs: Pairs) -> Pairs {
    join(pairs, REQUEST)
}

/// The fields of a response, as they came.
pub(super) fn response(pairs: Pairs) -> Pairs {
    join(pairs, RESPONSE)
}

/// Whether Envoy keeps one line of a field.
pub(super) fn is_single(direction: Direction, name: &str) -> bool {
    match direction {
        Direction::Request => REQUEST.contains(&name),
        Direction::Response => RESPONSE.contains(&name),
    }
}

fn join(pairs: Pairs, names: &[&str]) -> Pairs {
    let mut joined: Pairs = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let single = names.iter().any(|single| single.as_bytes() == name);
        match joined.iter_mut().find(|(have, _)| single && *have == name) {
            None => joined.push((name, value)),
            Some(_) if value.is_empty() => {}
            Some((_, before)) if before.is_empty() => *before = value,
            Some((_, before)) => {
                before.push(b',');
                before.extend_from_slice(&value);
            }
        }
    }
    joined
}
