//! `authenticators` and `combine`: how callers say who they are, in order.
//!
//! Owns the list; each kind that has more than a few keys has a file of its own.
//! Invariant: no two entries could both claim a credential without the order saying which.

use serde::Deserialize;

use super::introspection::{Introspected, IntrospectedWire, introspected};
use super::jwt::{self, Jwt, JwtWire};
use crate::binding::{is_field_name, is_reserved};
use crate::config::{ConfigError, Problems};
use crate::identity::Kind;

use super::capability::{Capability, CapabilityWire, FIELD, capability};
use super::svid::{JwtSvid, JwtSvidWire, jwt_svid};
use super::workloads::{MtlsWire, Workloads, mtls};

/// One authenticator as written: exactly one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticatorWire {
    /// API keys of the key service's directory.
    pub api_key: Option<ApiKeyWire>,
    /// Access tokens that are JWTs of one issuer.
    pub jwt: Option<JwtWire>,
    /// Capability tokens with proof of possession; needs `body: hold`.
    pub capability: Option<CapabilityWire>,
    /// Client certificates that are SPIFFE X.509-SVIDs; once.
    pub mtls: Option<MtlsWire>,
    /// SPIFFE JWT-SVIDs; once for each field.
    pub jwt_svid: Option<JwtSvidWire>,
    /// Access tokens that their issuer is asked about. Behind all others that read its field:
    /// what they recognise is nobody else's to see.
    pub introspected: Option<IntrospectedWire>,
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

/// One authenticator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// API keys.
    ApiKey(ApiKeyField),
    /// Access tokens that are JWTs.
    Jwt(Box<Jwt>),
    /// Capability tokens.
    Capability(Capability),
    /// Client certificates.
    Mtls(Box<Workloads>),
    /// JWT-SVIDs.
    JwtSvid(Box<JwtSvid>),
    /// Access tokens that their issuer is asked about.
    Introspected(Box<Introspected>),
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

pub(super) const AUTHORIZATION: &str = "authorization";
const MOST_AUTHENTICATORS: usize = 8;

impl Authentication {
    /// The word for it in the document and in the identity document.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ApiKey(_) => Kind::ApiKey,
            Self::Jwt(_) => Kind::Jwt,
            Self::Capability(_) => Kind::Capability,
            Self::Mtls(_) => Kind::Mtls,
            Self::JwtSvid(_) => Kind::JwtSvid,
            Self::Introspected(_) => Kind::Introspected,
        }
    }

    /// The field that holds its credential, lower case. It never goes on.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::ApiKey(field) => Some(&field.header),
            Self::Jwt(jwt) => Some(&jwt.header),
            Self::JwtSvid(svid) => Some(&svid.header),
            Self::Introspected(tokens) => Some(&tokens.header),
            Self::Capability(_) => Some(FIELD),
            // The connection has it.
            Self::Mtls(_) => None,
        }
    }
}

/// Reads the list.
pub(super) fn authenticators(
    wire: Vec<AuthenticatorWire>,
    credential_header: &str,
    problems: &mut Problems,
) -> Vec<Authentication> {
    if wire.is_empty() || wire.len() > MOST_AUTHENTICATORS {
        problems.note("authenticators", "expected 1 to 8");
    }
    let list = problems.list("authenticators", wire, authenticator);
    for (index, one) in list.iter().enumerate() {
        let path = |key: &str| format!("authenticators[{index}].{}.{key}", one.kind().as_str());
        for other in list.iter().take(index) {
            match (one, other) {
                (Authentication::ApiKey(one), Authentication::ApiKey(other))
                    if one.header == other.header =>
                {
                    problems.note(path("header"), "expected a field that nothing else uses");
                }
                // The issuer says whose a token is.
                (Authentication::Jwt(one), Authentication::Jwt(other))
                    if (&one.header, &one.issuer) == (&other.header, &other.issuer) =>
                {
                    problems.note(path("issuer"), "expected an issuer once for each field");
                }
                (Authentication::JwtSvid(one), Authentication::JwtSvid(other))
                    if one.header == other.header =>
                {
                    problems.note(path("header"), "expected once for each field");
                }
                (Authentication::Mtls(_), Authentication::Mtls(_)) => {
                    let path = format!("authenticators[{index}].mtls");
                    problems.note(path, "expected once: a connection has one certificate");
                }
                // The second would never be asked, since both read the same field.
                (Authentication::Capability(_), Authentication::Capability(_)) => {
                    let path = format!("authenticators[{index}].capability");
                    problems
                        .note(path, "expected capability once: several issuers go into its list");
                }
                (_, Authentication::Introspected(other)) => {
                    shares(one, other, |expected| {
                        problems.note(path("client.secret_variable"), expected)
                    });
                    leaks(one, other, |key, expected| problems.note(path(key), expected));
                }
                (Authentication::Introspected(one), Authentication::Jwt(other))
                    if one.jwt_issuers.contains(&other.issuer) =>
                {
                    problems.note(path("jwt_issuers"), "expected none that a jwt here is for");
                }
                _ => {}
            }
        }
        if one.field() == Some(credential_header) {
            problems.note(path("header"), "expected a field that nothing else uses");
        }
    }
    list
}

/// A secret is shown to one endpoint only: whoever has it is the gate at the other.
fn shares(one: &Authentication, other: &Introspected, note: impl FnOnce(&str)) {
    let Authentication::Introspected(one) = one else { return };
    let elsewhere = one.endpoint.authority != other.endpoint.authority;
    if elsewhere && one.secret_variable == other.secret_variable {
        note("expected a secret of its own for each authority");
    }
}

/// Nobody is told of a credential that another one could recognise.
fn leaks(one: &Authentication, earlier: &Introspected, mut note: impl FnMut(&str, &str)) {
    if let Authentication::Jwt(jwt) = one
        && earlier.jwt_issuers.contains(&jwt.issuer)
    {
        note("issuer", "expected none of the jwt_issuers that are asked about");
    }
    let next = matches!(one, Authentication::Introspected(_)) && !earlier.prefixes.is_empty();
    if one.field() == Some(earlier.header.as_str()) && !next {
        let expected = "expected before introspected without prefixes, which takes what is left";
        note("header", expected);
    }
}

fn authenticator(wire: AuthenticatorWire) -> Result<Authentication, ConfigError> {
    let mut problems = Problems::default();
    let written = [
        wire.api_key.is_some(),
        wire.jwt.is_some(),
        wire.capability.is_some(),
        wire.mtls.is_some(),
        wire.jwt_svid.is_some(),
        wire.introspected.is_some(),
    ];
    if written.into_iter().filter(|written| *written).count() != 1 {
        let expected =
            "expected exactly one of api_key, jwt, capability, mtls, jwt_svid and introspected";
        problems.note("", expected);
        return problems.finish(None);
    }
    use Authentication as Read;
    let mut read = None;
    if let Some(wire) = wire.api_key {
        read = problems.part("api_key", api_key(wire)).map(Read::ApiKey);
    }
    if let Some(wire) = wire.jwt {
        read = problems.part("jwt", jwt::jwt(wire)).map(|jwt| Read::Jwt(Box::new(jwt)));
    }
    if let Some(wire) = wire.capability {
        read = problems.part("capability", capability(wire)).map(Read::Capability);
    }
    if let Some(wire) = wire.mtls {
        read = problems.part("mtls", mtls(wire)).map(|known| Read::Mtls(Box::new(known)));
    }
    if let Some(wire) = wire.jwt_svid {
        let svid = problems.part("jwt_svid", jwt_svid(wire));
        read = svid.map(|svid| Read::JwtSvid(Box::new(svid)));
    }
    if let Some(wire) = wire.introspected {
        let tokens = problems.part("introspected", introspected(wire));
        read = tokens.map(|tokens| Read::Introspected(Box::new(tokens)));
    }
    problems.finish(read)
}

fn api_key(wire: ApiKeyWire) -> Result<ApiKeyField, ConfigError> {
    let mut problems = Problems::default();
    let header = header(wire.header, &mut problems);
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

/// The field of a credential, lower case.
pub(super) fn header(written: Option<String>, problems: &mut Problems) -> String {
    let header = written.map_or_else(|| AUTHORIZATION.into(), |name| name.to_ascii_lowercase());
    if !is_field_name(&header) || is_reserved(&header) {
        problems.note("header", "expected a header field that does not frame or route");
    }
    header
}

/// Kinds that may come together in one request, each at most once.
pub(super) fn combine(
    written: Option<Vec<String>>,
    list: &[Authentication],
    problems: &mut Problems,
) -> Vec<Kind> {
    let Some(written) = written else { return Vec::new() };
    if written.len() < 2 {
        problems.note("combine", "expected at least two kinds");
    }
    let mut kinds: Vec<Kind> = Vec::new();
    for (index, name) in written.iter().enumerate() {
        let kind = list.iter().map(Authentication::kind).find(|kind| kind.as_str() == name);
        match kind.filter(|kind| !kinds.contains(kind)) {
            Some(kind) => kinds.push(kind),
            None => {
                let expected = "expected the kind of an authenticator, each once";
                problems.note(format!("combine[{index}]"), expected);
            }
        }
    }
    kinds
}
