//! What the router says: to the upstream about the route, to the filters about the answer.

use std::time::Duration;

use super::{joined, line, remove, set};
use crate::view::Pairs;

/// What the route has replaced; `None` where it replaces nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// `:authority` as it was.
    pub authority: Option<&'a [u8]>,
    /// `:path` as it was.
    pub path: Option<&'a [u8]>,
}

/// Adds what the filters of a cluster see and those of a listener do not.
pub fn routed(pairs: &mut Pairs, timeout: Option<Duration>, rewritten: Rewritten<'_>) {
    if let Some(timeout) = timeout {
        set(pairs, "x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string());
    }
    if let Some(authority) = rewritten.authority {
        set(pairs, "x-envoy-original-host", authority);
    }
    if let Some(path) = rewritten.path {
        set(pairs, "x-envoy-original-path", path);
    }
}

/// The upstream's answer as the filters of a cluster see it.
pub fn answered(status: u16, fields: Pairs) -> Pairs {
    let mut pairs = vec![line(":status", status.to_string())];
    pairs.append(&mut joined::response(fields));
    remove(&mut pairs, &["keep-alive"]);
    if status == 204 {
        remove(&mut pairs, &["content-length"]);
    }
    pairs
}

/// Adds what those of the listener see as well: the time since the end of the request.
pub fn took(pairs: &mut Pairs, took: Duration) {
    set(pairs, "x-envoy-upstream-service-time", took.as_millis().to_string());
}
