//! The smaller parts of the gate's document: scope rules, field names.

use serde::Deserialize;

use super::authenticators::AUTHORIZATION;
use crate::binding::Binding;
use crate::binding::{is_field_name, is_method, is_reserved};
use crate::config::{ConfigError, Problems};
use crate::path::{PathPattern, PathTable, RequestPath};

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
    /// Name of the `{name}` of the path that is the document. A caller whose token is for one
    /// document gets on when that segment is its name, byte for byte. Default: none is.
    pub document: Option<String>,
    /// Lets callers with a token for one document do this with any, or leaves it to the policy
    /// to compare. Default `false`: where a rule says nothing of a document, they are refused.
    #[serde(default)]
    pub any_document: bool,
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
    /// Which document they are about.
    pub document: DocumentAt,
}

/// What a rule says of the document that a request is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentAt {
    /// Nothing.
    #[default]
    Unknown,
    /// Its name is the segment of the path with this place.
    Segment(usize),
    /// It may be any.
    Any,
}

impl ScopeRule {
    /// Whether a token for `document` alone may be used for this path, which the rule covers.
    pub fn is_about(&self, document: &str, path: &RequestPath) -> bool {
        match self.document {
            DocumentAt::Unknown => false,
            DocumentAt::Segment(place) => path.segment(place) == Some(document.as_bytes()),
            DocumentAt::Any => true,
        }
    }

    /// Whether the rule decides about this request.
    pub fn covers(&self, method: &str, path: &RequestPath) -> bool {
        self.methods.iter().any(|covered| covered == method) && self.path.matches(path)
    }
}

/// Rules in their order, found by the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeRules {
    all: Vec<ScopeRule>,
    paths: PathTable,
}

impl ScopeRules {
    /// All of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ScopeRule> {
        self.all.iter()
    }

    /// The first that decides about a request.
    pub fn find(&self, method: &str, path: &RequestPath) -> Option<&ScopeRule> {
        let matching = self.paths.matching(path).into_iter();
        matching.filter_map(|number| self.all.get(number)).find(|rule| rule.covers(method, path))
    }
}

pub(super) fn scopes(wire: Vec<ScopeRuleWire>, problems: &mut Problems) -> ScopeRules {
    if wire.is_empty() {
        problems.note("scopes", "expected at least one: what no rule covers is denied");
    }
    let all = problems.list("scopes", wire, rule);
    ScopeRules { paths: all.iter().map(|rule| &rule.path).collect(), all }
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
    let document = match (wire.document, wire.any_document) {
        (None, any) => {
            if any {
                DocumentAt::Any
            } else {
                DocumentAt::Unknown
            }
        }
        (Some(name), false) => {
            let place = path.as_ref().and_then(|path| path.parameter(&name));
            let place = place.ok_or("expected the {name} of one segment of the path");
            problems.scalar("document", place).map(DocumentAt::Segment).unwrap_or_default()
        }
        (Some(_), true) => {
            problems.note("any_document", "expected either this or document");
            DocumentAt::Unknown
        }
    };
    let require = problems.required("require", wire.require).map(|require| {
        problems.list("require", require, |scope| {
            let expected = || ConfigError::one("", "expected a scope token (RFC 6749 3.3)");
            is_scope_token(&scope).then_some(scope).ok_or_else(expected)
        })
    });
    let read = path.zip(require);
    problems.finish(read.map(|(path, require)| ScopeRule { methods, path, require, document }))
}

/// RFC 6749 3.3: printable, without space, quote and backslash; so it needs no escaping in
/// a challenge or in JSON.
pub(super) fn is_scope_token(text: &str) -> bool {
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

/// No field may have two meanings. `Authorization` may hold a token and be a site: a value
/// that is exactly a placeholder is no token.
pub(super) fn check_fields(credential_header: &str, bindings: &[Binding], problems: &mut Problems) {
    let taken = is_reserved(credential_header) && credential_header != "x-tap-credential";
    if !is_field_name(credential_header) || taken || credential_header == AUTHORIZATION {
        problems.note("credential_header", "expected a header field of its own");
    }
    for (index, binding) in bindings.iter().enumerate() {
        if binding.site().key() == credential_header {
            let path = format!("bindings[{index}].site.header");
            problems.note(path, "expected a field other than the credential_header");
        }
    }
}
