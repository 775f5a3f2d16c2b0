//! `forward`: the endpoint that sends a request where its fields say.

use serde::Deserialize;

use super::Authentication;
use crate::binding::Binding;
use crate::config::{ConfigError, Problems};
use crate::path::RequestPath;
use crate::upstreams::Upstreams;

/// `forward` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardWire {
    /// Path of the endpoint, exact. Default `/forward`. No target may have the same path.
    pub path: Option<String>,
}

/// The forward endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Its path.
    pub path: RequestPath,
    /// The path as written, for the audit record.
    pub text: String,
}

/// Field with the absolute URL that a request is for.
pub const TARGET: &str = "x-tap-target";
/// Field with the method that a request is for.
pub const METHOD: &str = "x-tap-method";

const DEFAULT_PATH: &str = "/forward";

pub(super) fn forward(wire: ForwardWire) -> Result<Forward, ConfigError> {
    let text = wire.path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
    let path = endpoint(&text).map_err(|expected| ConfigError::one("path", expected))?;
    Ok(Forward { path, text })
}

/// The path of an endpoint of the gate's own.
pub(super) fn endpoint(text: &str) -> Result<RequestPath, &'static str> {
    let plain = text.len() > 1 && !text.contains(['?', '*', '{', '}']) && !text.ends_with('/');
    let path = RequestPath::parse(text.as_bytes()).filter(|_| plain);
    let path = path.filter(|path| path.without_parameters().is_none());
    path.ok_or("expected a clean absolute path, exact, not /")
}

/// The two fields mean nothing else, and there is somewhere to go. What the holder of a key
/// has signed is the request for the endpoint: whoever stands between could send it to another
/// place.
pub(super) fn check(
    (credential_header, bound): (&str, &[String]),
    authenticators: &[Authentication],
    bindings: &[Binding],
    upstreams: Option<&Upstreams>,
    problems: &mut Problems,
) {
    if upstreams.is_some_and(|table| table.iter().next().is_none()) {
        problems.note("forward", "expected upstreams: a target must be one of them");
    }
    let proves = |one: &Authentication| match one {
        Authentication::Capability(_) => true,
        Authentication::Jwt(jwt) => jwt.dpop.is_some(),
        Authentication::Introspected(tokens) => tokens.dpop.is_some(),
        _ => false,
    };
    if authenticators.iter().any(proves) {
        let expected = "expected no capability and no dpop among the authenticators: \
                        a proof covers neither x-tap-target nor x-tap-method";
        problems.note("forward", expected);
    }
    let tokens = authenticators.iter().filter_map(Authentication::field);
    let sites = bindings.iter().map(|binding| binding.site().key());
    let bound = bound.iter().map(String::as_str);
    let mut taken = tokens.chain(sites).chain(bound).chain([credential_header]);
    if taken.any(|name| name == TARGET || name == METHOD) {
        problems.note("forward", "expected x-tap-target and x-tap-method to mean nothing else");
    }
}
