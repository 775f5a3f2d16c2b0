//! `authenticators[].introspected`: access tokens that their issuer is asked about (RFC 7662).

use std::time::Duration;

use serde::Deserialize;

use super::authenticators::{AUTHORIZATION, header};
use super::endpoint::{Endpoint, EndpointWire, endpoint};
use super::jwt::{self, Dpop, DpopWire};
use super::tokens::{self, Claims, ClaimsWire, span};
use crate::config::{ConfigError, Problems};

/// `introspected` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectedWire {
    /// Field that holds the token. Default `Authorization`, where the Bearer scheme is
    /// expected; any other field holds the bare token.
    pub header: Option<String>,
    /// What tokens begin with, such as `gho_`; each 1 to 32 characters that a token can have.
    /// Default: anything. Whatever begins like an API key of this gate or like a capability
    /// token is never asked about.
    pub prefixes: Option<Vec<String>>,
    /// Issuers whose JWTs are asked about as well, compared with the `iss` that they claim;
    /// none that a `jwt` of this gate is for. Default: none, and no JWT is asked about.
    #[serde(default)]
    pub jwt_issuers: Vec<String>,
    /// Issuer, for the subject of the identity document; an answer with another `iss` is of no
    /// good token. Required.
    pub issuer: Option<String>,
    /// Audiences, one of which the token has to be for (RFC 8707): an answer without `aud` is of
    /// no good token. Required, at least one.
    #[serde(default)]
    pub audience: Vec<String>,
    /// The introspection endpoint, asked with `POST`. Required.
    pub endpoint: Option<EndpointWire>,
    /// What this gate is to the endpoint, which must not answer everybody (RFC 7662, 2.1).
    /// Required.
    pub client: Option<ClientWire>,
    /// How far clocks may be apart. Default `30s`, limit `60s`.
    pub leeway: Option<String>,
    /// How long an answer is believed, good or not; never past the token's `exp`. Default and
    /// limit `30s`; `0s` asks for every request.
    pub ttl: Option<String>,
    /// Most good answers that are remembered by each worker, and as many others. Default 1024,
    /// limit 16384.
    pub cache: Option<u32>,
    /// Which members of the answer become which part of the identity document.
    #[serde(default)]
    pub claims: ClaimsWire,
    /// Takes tokens that are bound to a key, as in `jwt`. Default: such tokens are refused.
    pub dpop: Option<DpopWire>,
    /// Takes answers that do not say `token_type`. Default false: with some servers a refresh
    /// token is told from an access token by nothing else.
    #[serde(default)]
    pub danger_any_token_type: bool,
}

/// `introspected.client` as written: authenticates by `client_secret_basic` (RFC 6749, 2.3.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientWire {
    /// Its identifier. Required.
    pub id: Option<String>,
    /// Name of the environment variable with its secret, one of `host_env_keys`. Default
    /// `POSTERN_INTROSPECTION_SECRET`, which any other name begins with.
    pub secret_variable: Option<String>,
}

/// Access tokens that one endpoint is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspected {
    /// Lower-case name of the field.
    pub header: String,
    /// What tokens begin with; anything when empty.
    pub prefixes: Vec<String>,
    /// Issuers whose JWTs are asked about.
    pub jwt_issuers: Vec<String>,
    /// Who answers.
    pub issuer: String,
    /// `aud` has to name one.
    pub audiences: Vec<String>,
    /// Where.
    pub endpoint: Endpoint,
    /// What this gate is there.
    pub client_id: String,
    /// Environment variable with its secret.
    pub secret_variable: String,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// How long an answer is believed.
    pub ttl: Duration,
    /// Most remembered answers of each sort.
    pub cache: usize,
    /// Names of members.
    pub claims: Claims,
    /// When proofs are good, where tokens may be bound to a key.
    pub dpop: Option<Dpop>,
    /// An answer has to say that the token is an access token.
    pub typed: bool,
}

/// The usual variable; other names begin so, and no other secret of a module can be named.
const VARIABLE: &str = "POSTERN_INTROSPECTION_SECRET";
/// A revoked token is good no longer than this.
const TTL: Duration = Duration::from_secs(30);
const MOST_ISSUERS: usize = 16;
const MOST_PREFIXES: usize = 16;

impl Introspected {
    /// Whether a value has the Bearer scheme before the token (RFC 6750, 2.1).
    pub fn is_bearer(&self) -> bool {
        self.header == AUTHORIZATION
    }
}

pub(super) fn introspected(wire: IntrospectedWire) -> Result<Introspected, ConfigError> {
    let mut problems = Problems::default();
    let header = header(wire.header, &mut problems);
    let prefixes = prefixes(wire.prefixes, &mut problems);
    if wire.jwt_issuers.len() > MOST_ISSUERS || wire.jwt_issuers.iter().any(String::is_empty) {
        problems.note("jwt_issuers", "expected at most 16, none empty");
    }
    let issuer = problems.required("issuer", wire.issuer.filter(|text| !text.is_empty()));
    let audiences = tokens::audiences(wire.audience, &mut problems);
    let asked = problems.required("endpoint", wire.endpoint);
    let asked = asked.and_then(|wire| problems.part("endpoint", endpoint(wire)));
    let own = problems.required("client", wire.client);
    let own = own.and_then(|wire| problems.part("client", client(wire)));
    let leeway = jwt::leeway(wire.leeway, &mut problems);
    let ttl = span(&mut problems, "ttl", wire.ttl, TTL);
    if ttl > TTL {
        problems.note("ttl", "expected at most 30s");
    }
    let cache = jwt::cache(wire.cache, &mut problems);
    let claims = problems.part("claims", tokens::claims(wire.claims));
    let dpop = jwt::proofs(wire.dpop, &header, &mut problems);
    let read = (|| {
        let (client_id, secret_variable) = own?;
        Some(Introspected {
            header,
            prefixes,
            jwt_issuers: wire.jwt_issuers,
            issuer: issuer?,
            audiences,
            endpoint: asked?,
            client_id,
            secret_variable,
            leeway,
            ttl,
            cache,
            claims: claims?,
            dpop,
            typed: !wire.danger_any_token_type,
        })
    })();
    problems.finish(read)
}

fn prefixes(written: Option<Vec<String>>, problems: &mut Problems) -> Vec<String> {
    let Some(written) = written else { return Vec::new() };
    if written.is_empty() || written.len() > MOST_PREFIXES {
        problems.note("prefixes", "expected 1 to 16");
    }
    problems.list("prefixes", written, |prefix| {
        let fits = (1..=32).contains(&prefix.len()) && is_token(&prefix);
        let expected = || ConfigError::one("", "expected 1 to 32 of [A-Za-z0-9._~+/-]");
        fits.then_some(prefix).ok_or_else(expected)
    })
}

/// `b64token` without padding (RFC 6750, 2.1).
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// Identifier, and the variable with the secret. No message repeats the name: somebody may have
/// written the secret itself.
fn client(wire: ClientWire) -> Result<(String, String), ConfigError> {
    let mut problems = Problems::default();
    let id = problems.required("id", wire.id);
    let visible = |id: &String| id.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    if id.as_ref().is_some_and(|id| !(1..=256).contains(&id.len()) || !visible(id)) {
        problems.note("id", "expected 1 to 256 printable ASCII characters");
    }
    let variable = wire.secret_variable.unwrap_or_else(|| VARIABLE.to_owned());
    let letters = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let rest = variable.strip_prefix(VARIABLE);
    let fits = rest.is_some_and(|rest| {
        (rest.is_empty() || rest.starts_with('_')) && rest.len() <= 64 && rest.bytes().all(letters)
    });
    if !fits {
        let expected = "expected the name of an environment variable: \
                        POSTERN_INTROSPECTION_SECRET, or that and _NAME";
        problems.note("secret_variable", expected);
    }
    problems.finish(id.map(|id| (id, variable)))
}
