//! Replies of the proxy and of filters as responses, for HTTP and for gRPC.
//!
//! The rules are Envoy's: a reply to a request of gRPC is a 200 whose status and text stand
//! in fields, and its content is none. Stricter than Envoy: a status that is none of HTTP
//! does not leave, the caller gets a 502. Invariant: what a module says of `:status` and
//! `content-length` in its fields does not count.

use std::fmt::Write as _;

use super::fields::set;
use crate::view::{LocalReply, Pairs};

/// Greatest status of gRPC.
const LAST_STATUS: i32 = 16;

/// Whether a request with this `content-type` is one of gRPC.
pub fn is_grpc(content_type: impl AsRef<[u8]>) -> bool {
    let rest = content_type.as_ref().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// The status of gRPC for one of HTTP.
pub fn grpc_status(status: u32) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Fields and content of a reply.
pub fn response(reply: LocalReply, grpc: bool) -> (Pairs, Vec<u8>) {
    if grpc { of_grpc(reply) } else { of_http(reply) }
}

/// Envoy keeps sixteen bits of a status, whatever they say.
fn of_http(reply: LocalReply) -> (Pairs, Vec<u8>) {
    let mut pairs = vec![line(":status", (reply.status & 0xffff).to_string())];
    pairs.extend(reply.headers.into_iter().filter(|(name, _)| !name.starts_with(b":")));
    if reply.body.is_empty() {
        let dropped = [b"content-length".as_slice(), b"content-type"];
        pairs.retain(|(name, _)| !dropped.contains(&name.as_slice()));
        return (pairs, Vec::new());
    }
    set(&mut pairs, "content-length", reply.body.len().to_string());
    if !has(&pairs, "content-type") {
        pairs.push(line("content-type", "text/plain".to_owned()));
    }
    (pairs, reply.body)
}

fn of_grpc(reply: LocalReply) -> (Pairs, Vec<u8>) {
    let mut pairs = vec![line(":status", "200".to_owned())];
    let said = reply.headers.into_iter();
    pairs.extend(said.filter(|(name, _)| !name.starts_with(b":") && name != b"content-length"));
    set(&mut pairs, "content-type", "application/grpc".to_owned());
    if !has(&pairs, "grpc-status") {
        let given = (0..=LAST_STATUS).contains(&reply.grpc_status);
        let status = u32::try_from(reply.grpc_status).ok().filter(|_| given);
        let status = status.unwrap_or_else(|| grpc_status(reply.status & 0xffff));
        pairs.push(line("grpc-status", status.to_string()));
    }
    if !reply.body.is_empty() {
        set(&mut pairs, "grpc-message", percent(&reply.body));
    }
    (pairs, Vec::new())
}

/// `grpc-message`: everything but printable ASCII, and `%` itself, as `%` and two digits.
fn percent(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            // Writing to a `String` cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn line(name: &str, value: String) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.into_bytes())
}

fn has(pairs: &Pairs, name: &str) -> bool {
    pairs.iter().any(|(have, value)| have == name.as_bytes() && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Pairs {
        let lines = text.split('|').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (name, value) = line.split_once('=').unwrap();
                (name.as_bytes().to_vec(), value.as_bytes().to_vec())
            })
            .collect()
    }

    fn reply(status: u32, grpc_status: i32, headers: &str, body: &str) -> LocalReply {
        let (details, body) = (Vec::new(), body.as_bytes().to_vec());
        LocalReply { status, details, body, headers: pairs(headers), grpc_status }
    }

    /// Whether to gRPC, status, status of gRPC, fields, content; what Envoy 1.40 answered.
    #[rustfmt::skip]
    const ROWS: &[(bool, u32, i32, &str, &str, &str)] = &[
        (false, 401, -1, "", "body", ":status=401|content-length=4|content-type=text/plain"),
        (false, 401, 7, "", "body", ":status=401|content-length=4|content-type=text/plain"),
        (false, 401, -1, "", "", ":status=401"),
        (false, 403, -1, "content-length=9|content-type=a/b|x-a=1", "", ":status=403|x-a=1"),
        (false, 401, -1, "x-up=1|x-a=1|x-a=2|content-type=a/b|content-length=99|:status=999|server=me", "body",
            ":status=401|x-up=1|x-a=1|x-a=2|content-type=a/b|content-length=4|server=me"),
        (false, 70_000, -1, "", "", ":status=4464"),
        (false, u32::MAX, -1, "", "", ":status=65535"),
        (true, 401, -1, "", "the body %", ":status=200|content-type=application/grpc|grpc-status=16|grpc-message=the body %25"),
        (true, 401, 0, "", "b", ":status=200|content-type=application/grpc|grpc-status=0|grpc-message=b"),
        (true, 401, 16, "", "", ":status=200|content-type=application/grpc|grpc-status=16"),
        (true, 401, 99, "", "", ":status=200|content-type=application/grpc|grpc-status=16"),
        (true, 401, -5, "", "", ":status=200|content-type=application/grpc|grpc-status=16"),
        (true, 401, 7, "x-a=1|content-type=text/html|grpc-status=5|grpc-message=mine", "caf\u{e9}\n",
            ":status=200|x-a=1|content-type=application/grpc|grpc-status=5|grpc-message=caf%C3%A9%0A"),
    ];

    #[test]
    fn replies_look_as_in_envoy() {
        for (grpc, status, grpc_status, headers, body, want) in ROWS {
            let (have, left) = response(reply(*status, *grpc_status, headers, body), *grpc);
            assert_eq!(have, pairs(want));
            assert_eq!(left, if *grpc { "" } else { body }.as_bytes());
        }
    }

    #[test]
    fn statuses_of_http_mean_to_grpc_what_they_mean_in_envoy() {
        for (http, grpc) in [
            (200, 2),
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
            (302, 2),
            (418, 2),
        ] {
            assert_eq!(grpc_status(http), grpc, "{http}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        assert!(is_grpc("application/grpc") && is_grpc("application/grpc+proto"));
        assert!(!is_grpc("application/grpc-web") && !is_grpc("text/plain") && !is_grpc(""));
    }
}
