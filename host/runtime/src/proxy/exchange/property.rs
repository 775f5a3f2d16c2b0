//! Properties of a stream, by path.
//!
//! What is read from fields is there only where the fields are; a whole map is then empty.
//! Numbers are 64 bits, little endian. A path that names a group and nothing in it has no
//! bytes to give: `SerializationFailure`, as in Envoy.

use super::{Exchange, value};
use crate::proxy::{fields, local};
use crate::view::{MapKind, Pairs, Status};

/// Groups that are there for every stream.
const GROUPS: &[&[u8]] = &[
    b"connection",
    b"destination",
    b"filter_state",
    b"request",
    b"response",
    b"source",
    b"upstream",
    b"xds",
];
/// Metadata that no configuration of this gateway can have.
const METADATA: &[&[u8]] =
    &[b"cluster_metadata", b"listener_metadata", b"route_metadata", b"virtual_host_metadata"];

impl Exchange {
    /// A property as a filter sees it. Unknown, or not there: `NotFound`.
    pub(super) fn property(
        &self,
        path: &[&[u8]],
        filter: Option<usize>,
    ) -> Result<Vec<u8>, Status> {
        let found = match path {
            [group] if GROUPS.contains(group) => return Err(Status::SerializationFailure),
            [b"metadata"] => Some(Vec::new()),
            [b"filter_state", key] => self.filter_state(key).map(<[u8]>::to_vec),
            [b"request", rest @ ..] => self.of_request(rest, filter).or_else(|| self.fact(path)),
            [b"response", rest @ ..] => self.of_response(rest, filter).or_else(|| self.fact(path)),
            [b"xds", b"listener_direction"] => Some(number(0)),
            [b"xds", name] if METADATA.contains(name) => Some(Vec::new()),
            [b"connection_id"] => self.fact(path),
            [key] if !self.facts.contains_key(*key) => {
                self.filter_state(&[b"wasm.", *key].concat()).map(<[u8]>::to_vec)
            }
            _ => self.fact(path),
        };
        found.ok_or(Status::NotFound)
    }

    fn fact(&self, path: &[&[u8]]) -> Option<Vec<u8>> {
        let path = path.join(&0);
        self.facts.get(&path).or_else(|| self.connection.get(&path)).cloned()
    }

    fn of_request(&self, path: &[&[u8]], filter: Option<usize>) -> Option<Vec<u8>> {
        let headers = self.map(MapKind::RequestHeaders, filter).ok();
        let field = |name: &[u8]| value(headers?, name);
        match path {
            [b"path"] => field(b":path"),
            [b"url_path"] => field(b":path").map(|path| without_query(&path)),
            [b"query"] => field(b":path").map(|path| query(&path)),
            [b"method"] => field(b":method"),
            [b"host"] => field(b":authority"),
            [b"scheme"] => field(b":scheme"),
            [b"id"] => field(b"x-request-id"),
            [b"useragent"] => field(b"user-agent"),
            [b"referer"] => field(b"referer"),
            [b"headers"] => Some(map(headers)),
            [b"headers", b"host"] => field(b":authority"),
            [b"headers", name] => field(name),
            [b"size"] => Some(number(
                field(b"content-length")
                    .map_or(self.received, |length| whole(&length).unwrap_or(self.received)),
            )),
            [b"total_size"] => Some(number(self.received + size(headers))),
            _ => None,
        }
    }

    fn of_response(&self, path: &[&[u8]], filter: Option<usize>) -> Option<Vec<u8>> {
        let headers = self.map(MapKind::ResponseHeaders, filter).ok();
        let trailers = self.map(MapKind::ResponseTrailers, filter).ok();
        match path {
            [b"code"] => self.status().map(|status| number(status.into())),
            [b"code_details"] => {
                Some(self.details.clone()).filter(|details| self.explained || !details.is_empty())
            }
            [b"grpc_status"] => {
                let told = [trailers, headers].into_iter().flatten();
                let told = told.filter_map(|pairs| whole(&value(pairs, b"grpc-status")?)).next();
                let known = told.or_else(|| Some(local::grpc_status(self.status()?.into()).into()));
                known.map(number)
            }
            [b"headers"] => Some(map(headers)),
            [b"headers", name] => value(headers?, name),
            [b"trailers"] => Some(map(trailers)),
            [b"trailers", name] => value(trailers?, name),
            [b"size"] => Some(number(self.sent)),
            [b"total_size"] => Some(number(self.sent + size(headers) + size(trailers))),
            _ => None,
        }
    }
}

fn number(value: u64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn whole(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn size(pairs: Option<&Pairs>) -> u64 {
    pairs.map_or(0, |pairs| fields::size(pairs) as u64)
}

fn without_query(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'?').next().unwrap_or(path).to_vec()
}

fn query(path: &[u8]) -> Vec<u8> {
    let start = path.iter().position(|byte| *byte == b'?');
    start.and_then(|at| path.get(at + 1..)).unwrap_or_default().to_vec()
}

/// A whole map, each name once: its count, two lengths for each, then names and values that
/// end in NUL. Envoy has no order of names.
fn map(pairs: Option<&Pairs>) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for (name, _) in pairs.into_iter().flatten() {
        if !names.contains(&name.as_slice()) {
            names.push(name);
        }
    }
    let values = names.iter().filter_map(|name| Some((*name, value(pairs?, name)?)));
    let values: Vec<(&[u8], Vec<u8>)> = values.collect();
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = length(values.len()).to_vec();
    for (name, value) in &values {
        out.extend(length(name.len()));
        out.extend(length(value.len()));
    }
    for (name, value) in &values {
        out.extend([name, b"\0".as_slice(), value, b"\0"].concat());
    }
    out
}
