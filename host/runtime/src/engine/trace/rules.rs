//! Which values a trace shows.
//!
//! Names are shown: of fields, properties, keys, clusters, metrics, functions. Values of
//! fields are shown unless their name or they themselves look like a credential; of a path,
//! what stands before the query. Values of properties are shown if they are on a list. All
//! else (content, shared data, filter state, environment, configuration, lines of the log, what
//! call-outs carry beside fields) is a number of bytes.
//!
//! Invariant: a value is shown only where this module says so.

use super::Shown;
use crate::view::Pairs;

/// Fields that hold a credential by their meaning; `*` at the end stands for anything.
const FIELDS: [&str; 8] = [
    "authorization",
    "cookie",
    "set-cookie",
    "proxy-authorization",
    "x-tap-*",
    "x-api-key",
    "x-forwarded-client-cert",
    "x-amz-*",
];
/// Parts of names that people give to fields with credentials.
const PARTS: [&str; 12] = [
    "assertion",
    "auth",
    "cookie",
    "credential",
    "jwt",
    "key",
    "password",
    "secret",
    "session",
    "signature",
    "ticket",
    "token",
];
/// Beginnings of values, in lower case.
const SCHEMES: [&str; 5] = ["bearer ", "basic ", "digest ", "dpop ", "negotiate "];
/// What a placeholder begins with.
const PLACEHOLDER: &[u8] = b"<CREDENTIAL:";
/// Properties whose values are no secret: where, by whom and how, never what.
const PROPERTIES: &[&str] = &[
    "connection.id",
    "connection.mtls",
    "connection.tls_version",
    "destination.address",
    "destination.port",
    "plugin_name",
    "plugin_root_id",
    "plugin_vm_id",
    "request.duration",
    "request.host",
    "request.id",
    "request.method",
    "request.protocol",
    "request.scheme",
    "request.size",
    "request.time",
    "response.code",
    "response.flags",
    "response.size",
    "source.address",
    "source.port",
    "xds.cluster_name",
    "xds.filter_chain_name",
    "xds.node.id",
    "xds.route_name",
    "xds.virtual_host_name",
];
/// Maps whose entries are fields.
const MAPS: [&str; 4] =
    ["request.headers.", "request.trailers.", "response.headers.", "response.trailers."];
/// Longer values are not shown.
const LONGEST: usize = 200;

/// What is hidden beside what always is.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    hidden: Vec<String>,
}

impl Rules {
    /// Hides the values of these fields and properties too; `*` at the end of a name stands
    /// for anything.
    pub fn hiding<I: IntoIterator<Item = S>, S: AsRef<str>>(names: I) -> Self {
        Self { hidden: names.into_iter().map(|it| it.as_ref().to_ascii_lowercase()).collect() }
    }

    /// Whether a field may hold a credential, by its name or its value.
    pub fn is_credential(&self, name: &[u8], value: &[u8]) -> bool {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let start: Vec<u8> = value.iter().take(12).map(u8::to_ascii_lowercase).collect();
        FIELDS.iter().any(|rule| fits(rule, &name))
            || (!name.starts_with(':') && PARTS.iter().any(|part| name.contains(part)))
            || self.names(&name)
            || SCHEMES.iter().any(|scheme| start.starts_with(scheme.as_bytes()))
            || value.windows(PLACEHOLDER.len()).any(|it| it.eq_ignore_ascii_case(PLACEHOLDER))
    }

    fn names(&self, name: &str) -> bool {
        self.hidden.iter().any(|rule| fits(rule, name))
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &[u8], value: &[u8]) -> Shown {
        if self.is_credential(name, value) {
            return Shown::Bytes(value.len());
        }
        let is_path = [&b":path"[..], b"x-envoy-original-path", b"referer", b"location"]
            .iter()
            .any(|path| path.eq_ignore_ascii_case(name));
        if is_path { without_query(value) } else { text(value) }
    }

    /// All fields of a map.
    pub(super) fn fields(&self, pairs: &Pairs) -> Shown {
        let shown = |(name, value): &(Vec<u8>, Vec<u8>)| (readable(name), self.field(name, value));
        Shown::Fields(pairs.iter().map(shown).collect())
    }

    /// The value of a property; its path has NUL between segments.
    pub(super) fn property(&self, path: &[u8], value: &[u8]) -> Shown {
        let path = path.strip_suffix(b"\0").unwrap_or(path);
        // A segment with a dot may be a key of filter state that only looks like another path.
        if path.contains(&b'.') {
            return Shown::Bytes(value.len());
        }
        let name = readable(path).replace("\\x00", ".");
        if let Some(field) = MAPS.iter().find_map(|map| name.strip_prefix(map)) {
            return self.field(field.as_bytes(), value);
        }
        let is_known = PROPERTIES.contains(&name.as_str());
        match name.as_str() {
            "request.path" | "request.url_path" if !self.names(&name) => without_query(value),
            _ if is_known && !self.names(&name) => text(value),
            _ => Shown::Bytes(value.len()),
        }
    }
}

/// A rule is a name, or the beginning of one and `*`.
fn fits(rule: &str, name: &str) -> bool {
    rule.strip_suffix('*').map_or(rule == name, |start| name.starts_with(start))
}

fn text(value: &[u8]) -> Shown {
    if value.len() > LONGEST { Shown::Bytes(value.len()) } else { Shown::Text(readable(value)) }
}

fn without_query(value: &[u8]) -> Shown {
    let path = value.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or(value);
    let hidden = value.len() - path.len();
    match text(path) {
        Shown::Text(path) if hidden > 0 => Shown::Text(format!("{path}?[{} bytes]", hidden - 1)),
        other => other,
    }
}

/// Bytes on one line.
pub(super) fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}
