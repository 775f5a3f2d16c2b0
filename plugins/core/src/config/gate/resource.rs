//! `resource`: the protected resource metadata of this gate (RFC 9728).
//!
//! Invariant: neither the URL nor the path holds a quote or a space, so that both can stand
//! in a challenge.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::parts::is_scope_token;
use crate::config::{ConfigError, Problems};

/// `resource` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceWire {
    /// The resource's identifier: an `https` URL without query and fragment, as clients
    /// write it. Tokens should have it as their audience (RFC 8707). Required.
    pub identifier: Option<String>,
    /// Issuers of tokens for it. Required, at least one.
    #[serde(default)]
    pub authorization_servers: Vec<String>,
    /// Scopes that clients may ask for. Default: none are named.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// The metadata document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Where it is.
    pub url: String,
    /// The path of that.
    pub path: String,
    /// The document.
    pub document: String,
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

pub(super) fn resource(wire: ResourceWire) -> Result<Resource, ConfigError> {
    let mut problems = Problems::default();
    let identifier = problems.required("identifier", wire.identifier);
    let place = identifier.as_deref().map(|text| place(text).ok_or("expected an https URL"));
    let place = place.and_then(|place| problems.scalar("identifier", place));
    if wire.authorization_servers.is_empty() {
        problems.note("authorization_servers", "expected at least one");
    }
    let servers = problems.list("authorization_servers", wire.authorization_servers, |server| {
        let expected = || ConfigError::one("", "expected a URL");
        is_url(&server).then_some(server).ok_or_else(expected)
    });
    let scopes = problems.list("scopes", wire.scopes, |scope| {
        let expected = || ConfigError::one("", "expected a scope token (RFC 6749 3.3)");
        is_scope_token(&scope).then_some(scope).ok_or_else(expected)
    });
    let read = place.zip(identifier).map(|((url, path), identifier)| {
        let mut document = Map::from_iter([
            ("resource".to_owned(), json!(identifier)),
            ("authorization_servers".to_owned(), json!(servers)),
            ("bearer_methods_supported".to_owned(), json!(["header"])),
        ]);
        if !scopes.is_empty() {
            document.insert("scopes_supported".to_owned(), json!(scopes));
        }
        Resource { url, path, document: Value::Object(document).to_string() }
    });
    problems.finish(read)
}

fn is_url(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>?#".contains(&byte));
    plain && text.len() <= 1024 && text.starts_with("https://") && text.len() > "https://".len()
}

/// The metadata's URL and path: the well-known path comes before the resource's own
/// (RFC 9728, 3.1).
fn place(identifier: &str) -> Option<(String, String)> {
    let rest = identifier.strip_prefix("https://").filter(|_| is_url(identifier))?;
    let (host, own) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
    let path = format!("{WELL_KNOWN}{}", own.strip_suffix('/').unwrap_or(own));
    (!host.is_empty()).then(|| (format!("https://{host}{path}"), path))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_well_known_path_stands_before_the_resources_own() {
        let rows = [
            ("https://gw.example", "/.well-known/oauth-protected-resource"),
            ("https://gw.example/", "/.well-known/oauth-protected-resource"),
            ("https://gw.example/a/mcp", "/.well-known/oauth-protected-resource/a/mcp"),
        ];
        for (identifier, path) in rows {
            let url = format!("https://gw.example{path}");
            assert_eq!(place(identifier), Some((url, path.to_owned())), "{identifier}");
        }
        for bad in ["http://gw.example", "https://", "https:///x", "https://a/?q", "https://a\"b"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
