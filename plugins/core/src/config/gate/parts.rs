//! The smaller parts of the gate's document: authenticators, scope rules, field names.

use serde::Deserialize;

use crate::binding::Binding;
use crate::binding::{is_field_name, is_method, is_reserved};
use crate::config::{ConfigError, Problems};
use crate::path::{PathPattern, RequestPath};

/// One authenticator as written: exactly one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticatorWire {
    /// API keys of the key service's directory.
    pub api_key: Option<ApiKeyWire>,
}

/// `api_key` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyWire {
    /// Field that holds the key. Default `Authorization`, where the Bearer scheme is
    /// expected; any other field holds the bare key.
    pub header: Option<String>,
    /// Prefixes of keys. Default `pk_`; each 1 to 32 characters of `[A-Za-z0-9_-]`.
    pub prefixes: Option<Vec<String>>,
}

/// A field that may hold an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyField {
    /// Lower-case name.
    pub header: String,
    /// Prefixes, any of which a key may have.
    pub prefixes: Vec<String>,
}

impl ApiKeyField {
    /// Whether the value has the Bearer scheme before the key (RFC 6750 2.1).
    pub fn is_bearer(&self) -> bool {
        self.header == AUTHORIZATION
    }
}

const AUTHORIZATION: &str = "authorization";
const MOST_AUTHENTICATORS: usize = 8;
const MOST_BOUND_HEADERS: usize = 32;

/// One scope rule as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeRuleWire {
    /// Methods it covers. Required, at least one.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Path template: exact, `{name}` for one segment, `/**` at the end for all below.
    /// Required.
    pub path: Option<String>,
    /// Scopes that a caller needs, all of them. Required; `[]` asks for a valid key only.
    pub require: Option<Vec<String>>,
}

/// Which scopes some requests need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    /// Methods it covers.
    pub methods: Vec<String>,
    /// Paths it covers.
    pub path: PathPattern,
    /// Scopes that a caller needs, all of them.
    pub require: Vec<String>,
}

impl ScopeRule {
    /// Whether the rule decides about this request.
    pub fn covers(&self, method: &str, path: &RequestPath) -> bool {
        self.methods.iter().any(|covered| covered == method) && self.path.matches(path)
    }
}

pub(super) fn keys(wire: Vec<AuthenticatorWire>, problems: &mut Problems) -> Vec<ApiKeyField> {
    if wire.is_empty() || wire.len() > MOST_AUTHENTICATORS {
        problems.note("authenticators", "expected 1 to 8");
    }
    problems.list("authenticators", wire, |wire| {
        let mut problems = Problems::default();
        let field = problems.required("api_key", wire.api_key);
        let field = field.and_then(|wire| problems.part("api_key", api_key(wire)));
        problems.finish(field)
    })
}

fn api_key(wire: ApiKeyWire) -> Result<ApiKeyField, ConfigError> {
    let mut problems = Problems::default();
    let header = wire.header.map_or_else(|| AUTHORIZATION.into(), |h| h.to_ascii_lowercase());
    if !is_field_name(&header) || is_reserved(&header) {
        problems.note("header", "expected a header field that does not frame or route");
    }
    let prefixes = wire.prefixes.unwrap_or_else(|| vec!["pk_".to_owned()]);
    if prefixes.is_empty() {
        problems.note("prefixes", "expected at least one");
    }
    let letters = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    let prefixes = problems.list("prefixes", prefixes, |prefix| {
        let fits = (1..=32).contains(&prefix.len()) && prefix.bytes().all(letters);
        let expected = || ConfigError::one("", "expected 1 to 32 of [A-Za-z0-9_-]");
        fits.then_some(prefix).ok_or_else(expected)
    });
    problems.finish(Some(ApiKeyField { header, prefixes }))
}

pub(super) fn scopes(wire: Vec<ScopeRuleWire>, problems: &mut Problems) -> Vec<ScopeRule> {
    if wire.is_empty() {
        problems.note("scopes", "expected at least one: what no rule covers is denied");
    }
    problems.list("scopes", wire, rule)
}

fn rule(wire: ScopeRuleWire) -> Result<ScopeRule, ConfigError> {
    let mut problems = Problems::default();
    if wire.methods.is_empty() {
        problems.note("methods", "expected at least one");
    }
    let methods = problems.list("methods", wire.methods, |method| {
        let expected = "expected an upper-case method, not TRACE, TRACK or CONNECT";
        is_method(&method).then_some(method).ok_or_else(|| ConfigError::one("", expected))
    });
    let path = problems.required("path", wire.path);
    let path = path.and_then(|text| problems.scalar("path", PathPattern::template(&text)));
    let require = problems.required("require", wire.require).map(|require| {
        problems.list("require", require, |scope| {
            let expected = || ConfigError::one("", "expected a scope token (RFC 6749 3.3)");
            is_scope_token(&scope).then_some(scope).ok_or_else(expected)
        })
    });
    let read = path.zip(require);
    problems.finish(read.map(|(path, require)| ScopeRule { methods, path, require }))
}

/// RFC 6749 3.3: printable, without space, quote and backslash; so it needs no escaping in
/// a challenge or in JSON.
fn is_scope_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=128).contains(&text.len()) && text.bytes().all(token)
}

pub(super) fn bind_headers(written: Vec<String>, problems: &mut Problems) -> Vec<String> {
    if written.len() > MOST_BOUND_HEADERS {
        problems.note("bind_headers", "expected at most 32");
    }
    problems.list("bind_headers", written, |name| {
        let name = name.to_ascii_lowercase();
        let expected = || ConfigError::one("", "expected a header field");
        is_field_name(&name).then_some(name).ok_or_else(expected)
    })
}

/// No field may have two meanings. `Authorization` may hold a key and be a site: a value
/// that is exactly a placeholder is not a key.
pub(super) fn check_fields(
    credential_header: &str,
    keys: &[ApiKeyField],
    bindings: &[Binding],
    problems: &mut Problems,
) {
    let taken = is_reserved(credential_header) && credential_header != "x-tap-credential";
    if !is_field_name(credential_header) || taken || credential_header == AUTHORIZATION {
        problems.note("credential_header", "expected a header field of its own");
    }
    for (index, key) in keys.iter().enumerate() {
        let earlier = keys.iter().take(index).any(|other| other.header == key.header);
        if earlier || key.header == credential_header {
            let path = format!("authenticators[{index}].api_key.header");
            problems.note(path, "expected a field that nothing else uses");
        }
    }
    for (index, binding) in bindings.iter().enumerate() {
        if binding.site().key() == credential_header {
            let path = format!("bindings[{index}].site.header");
            problems.note(path, "expected a field other than the credential_header");
        }
    }
}
