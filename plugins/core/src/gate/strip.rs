//! Which fields of the caller never go on.
//!
//! Invariant: no token of a caller leaves the gateway, on any path; no field that gives orders to
//! the proxy, or that the proxy's modules or another gateway behind believe, comes from a
//! caller.

use crate::config::gate::{CAPABILITY_FIELD, Config, METHOD, TARGET};
use crate::gate::bind::Bound;
use crate::gate::head::Head;
use crate::order;

/// Written by the proxy itself and read by its telemetry; none of them is an order.
const PROXYS_OWN: [&str; 5] = [
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-decorator-operation",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
];

/// Ask a server to take another method or path than the request has: what was decided
/// would not be what is done.
const OVERRIDES: [&str; 10] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-override-url",
    "x-forwarded-uri",
    "x-forwarded-method",
];

/// Whether a server may take it for another method or target.
pub(super) fn is_override(name: &str) -> bool {
    OVERRIDES.contains(&name)
}

/// For one connection only (RFC 9110 7.6.1); `Connection` could name the field that a
/// credential is put into, to be dropped or shown on the way.
const HOP_BY_HOP: [&str; 3] = ["connection", "keep-alive", "proxy-connection"];

/// Names of the fields to remove, sorted.
pub(super) fn fields(config: &Config, head: &Head, bound: &Bound) -> Vec<String> {
    let credentialed = !bound.uses.is_empty();
    let proven = config.capability().is_some() && head.fields.has(CAPABILITY_FIELD);
    let removed = |name: &str| {
        let cleared = bound.cleared.iter().any(|site| site == name);
        let placeholder = bound.uses.iter().any(|used| used.site == name);
        let token = config.credential_fields().any(|field| field == name);
        cleared
            || (token && !placeholder)
            || name == config.credential_header
            // The proof is the gateway's to read, and covers a field that does not go on.
            || (proven && (name == "signature" || name == "signature-input"))
            || (name.starts_with("x-envoy-") && !PROXYS_OWN.contains(&name))
            || (name == "dpop" && config.takes_proofs())
            // A proxy's word about a certificate; whoever believes it asks for the proxy.
            || name == "x-forwarded-client-cert"
            || name.starts_with("postern-")
            || name.starts_with("x-postern-")
            || is_override(name)
            || ((name == TARGET || name == METHOD) && !placeholder)
            // The one that a WebSocket needs is written anew.
            || (HOP_BY_HOP.contains(&name) && !(head.websocket && name == "connection"))
            || (credentialed && name == "forwarded")
    };
    let names =
        head.fields.0.iter().map(|field| String::from_utf8_lossy(&field.name).to_ascii_lowercase());
    order::distinct(names.filter(|name| removed(name)))
}
