//! Bindings: where one credential may go, and where in the request it stands.
//!
//! The gate, the credential module and the key service read the same [`Wire`] form and
//! compare [`Binding::hash`], so a difference between their configurations refuses.
//!
//! Invariant: a binding names one authority, at least one method and one path, and one
//! site; nothing in it is a wildcard but the end of a path.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::authority::Authority;
use crate::config::{ConfigError, Problems};
use crate::order;
use crate::path::{PathPattern, RequestPath};
use crate::placeholder::Name;
use mints::CanonicalMint;

mod canary;
mod mints;
mod signing;
mod site;

pub use canary::{Canary, CanaryWire, Reflective};
pub use mints::{Mint, MintWire, minted_name};
pub(crate) use mints::{family_of, with_minted};
pub use signing::{OAuth1, Payload, SigV4, SignatureMethod, Signing};
pub use site::{Place, Site, SiteWire, Style};
pub(crate) use site::{is_field_name, is_reserved};

/// A binding as written in every configuration and as sent to the key service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Credential's name. Required.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<String>,
    /// Instead of a name: how the names of minted credentials begin. Only between gateway
    /// and key service; in a configuration `mints` says it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub minted: Option<String>,
    /// Tenant it belongs to. Required.
    pub tenant: Option<String>,
    /// The one upstream it may go to: host or host:port, port 443 if absent. Required.
    pub authority: Option<String>,
    /// Methods that may carry it. Required, at least one.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths: exact, or everything below a prefix that ends in `/**`. Required, at least one.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where it stands in the request. Required.
    pub site: Option<SiteWire>,
    /// How often it may occur in one request. Default 1, limit 8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_occurrences: Option<u8>,
    /// Which messages a WebSocket may carry that was opened with it: `text`. Default: none,
    /// so that a request with it never leaves HTTP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub websocket: Option<WebSocket>,
    /// A request that shows whether the upstream gives values back, sent before the first one
    /// and again when what it has shown is old. Default: none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canary: Option<CanaryWire>,
    /// For a token endpoint: the values of its answer that become credentials, and where
    /// those may be used. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mints: Vec<MintWire>,
}

/// What a WebSocket may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebSocket {
    /// Text messages, read both ways; anything else cuts it.
    Text,
}

/// Where one credential may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    credential: Name,
    tenant: String,
    authority: Authority,
    methods: Vec<String>,
    paths: Vec<PathPattern>,
    site: Site,
    max_occurrences: u8,
    websocket: Option<WebSocket>,
    canary: Option<Canary>,
    family: bool,
    mints: Vec<Mint>,
    hash: [u8; 32],
}

impl Binding {
    /// Credential's name; of a family how the names of its credentials begin.
    pub fn credential(&self) -> &Name {
        &self.credential
    }

    /// Whether it is a binding of this credential.
    pub fn is_of(&self, credential: &Name) -> bool {
        if self.family {
            return mints::is_minted(&self.credential, credential);
        }
        self.credential == *credential
    }

    /// Tenant of the credential.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The one upstream.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where it stands in the request.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// How often it may occur in one request.
    pub fn max_occurrences(&self) -> u8 {
        self.max_occurrences
    }

    /// Whether a WebSocket may be opened with it.
    pub fn allows_websocket(&self) -> bool {
        self.websocket == Some(WebSocket::Text)
    }

    /// What shows whether values come back.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref()
    }

    /// Whether a request with this method may carry it. Methods are case-sensitive
    /// (RFC 9110 9.1).
    pub fn allows_method(&self, method: &str) -> bool {
        self.methods.iter().any(|allowed| allowed == method)
    }

    /// Whether a request with this path may carry it.
    pub fn allows_path(&self, path: &RequestPath) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether it signs the parameters of form content.
    pub fn signs_forms(&self) -> bool {
        matches!(self.site.signing(), Some(Signing::OAuth1(_)))
    }

    /// SHA-256 of the canonical form.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The binding in RFC 8785 form: lower-case header, authority without port 443,
    /// methods and paths sorted and once each, `template`, `websocket`, `canary`, `minted` and
    /// `mints` only where there is one.
    pub fn canonical(&self) -> Vec<u8> {
        // Members stand in the order of RFC 8785 3.2.3 and values are strings and small
        // integers, which serde_json writes as section 3.2.2 wants them.
        let form = Canonical {
            authority: self.authority.to_string(),
            canary: self.canary.as_ref().map(CanaryWire::from),
            credential: (!self.family).then_some(self.credential.as_str()),
            max_occurrences: self.max_occurrences,
            methods: &self.methods,
            minted: self.family.then_some(self.credential.as_str()),
            mints: self.mints.iter().map(CanonicalMint::of).collect(),
            paths: self.paths.iter().map(PathPattern::as_str).collect(),
            site: CanonicalSite::of(&self.site),
            tenant: &self.tenant,
            websocket: self.websocket,
        };
        serde_json::to_vec(&form).unwrap_or_default()
    }

    fn hashed(mut self) -> Self {
        self.hash = Sha256::digest(self.canonical()).into();
        self
    }
}

#[derive(Serialize)]
struct Canonical<'a> {
    authority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    max_occurrences: u8,
    methods: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    minted: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mints: Vec<CanonicalMint<'a>>,
    paths: Vec<&'a str>,
    site: CanonicalSite<'a>,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket: Option<WebSocket>,
}

#[derive(Default, Serialize)]
struct CanonicalSite<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<SignatureMethod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    realm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    style: Option<Style>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
}

impl<'a> CanonicalSite<'a> {
    fn of(site: &'a Site) -> Self {
        let style = matches!(site.place(), Place::Header(_)).then(|| site.style());
        let bare = Self { style, template: site.template(), ..Self::default() }.signed(site);
        match site.place() {
            Place::Header(name) => Self { header: Some(name), ..bare },
            Place::Query(name) => Self { query: Some(name), ..bare },
            Place::Cookie(name) => Self { cookie: Some(name), ..bare },
            Place::Json(pointer) => Self { json: Some(pointer), ..bare },
            Place::Form(name) => Self { form: Some(name), ..bare },
        }
    }

    fn signed(self, site: &'a Site) -> Self {
        match site.signing() {
            None => self,
            Some(Signing::SigV4(SigV4 { region, service, payload })) => Self {
                region: Some(region),
                service: Some(service),
                payload: Some(*payload),
                ..self
            },
            Some(Signing::OAuth1(OAuth1 { method, realm })) => {
                Self { method: Some(*method), realm: realm.as_deref(), ..self }
            }
        }
    }
}

/// A binding has at most this many occurrences.
const MOST_OCCURRENCES: u8 = 8;

impl TryFrom<Wire> for Binding {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let family = wire.minted.is_some() && wire.credential.is_none();
        if wire.minted.is_some() && wire.credential.is_some() {
            problems.note("minted", "expected none beside credential");
        }
        let named = wire.credential.or(wire.minted);
        let credential = problems.required("credential", named).and_then(|text| {
            let expected = "expected [a-z0-9][a-z0-9_-]{0,62}";
            problems.scalar("credential", Name::new(&text).ok_or(expected))
        });
        let tenant = problems.required("tenant", wire.tenant.filter(|text| !text.is_empty()));
        let authority = problems.required("authority", wire.authority).and_then(|text| {
            let parsed = Authority::parse(&text).ok_or("expected a host or host:port");
            problems.scalar("authority", parsed)
        });
        let methods = methods(wire.methods, &mut problems);
        let paths = paths(wire.paths, &mut problems);
        let site = problems.required("site", wire.site);
        let site = site.and_then(|wire| problems.part("site", Site::try_from(wire)));
        let max_occurrences = occurrences(wire.max_occurrences, &mut problems);
        let canary = wire.canary.map(|wire| problems.part("canary", Canary::try_from(wire)));
        let mints = mints::read(wire.mints, &mut problems);
        if wire.websocket.is_some() && !mints.is_empty() {
            problems.note("mints", "expected none beside websocket");
        }
        let read = (|| {
            let (credential, tenant, authority, site) = (credential?, tenant?, authority?, site?);
            let (hash, websocket) = ([0; 32], wire.websocket);
            Some(Self {
                credential,
                tenant,
                authority,
                methods,
                paths,
                site,
                max_occurrences,
                websocket,
                canary: canary.flatten(),
                family,
                mints,
                hash,
            })
        })();
        read.iter().for_each(|binding| canary::check(binding, &mut problems));
        problems.finish(read.map(Self::hashed))
    }
}

impl From<&Binding> for Wire {
    fn from(binding: &Binding) -> Self {
        Self {
            credential: (!binding.family).then(|| binding.credential.as_str().to_owned()),
            minted: binding.family.then(|| binding.credential.as_str().to_owned()),
            tenant: Some(binding.tenant.clone()),
            authority: Some(binding.authority.to_string()),
            methods: binding.methods.clone(),
            paths: binding.paths.iter().map(|path| path.as_str().to_owned()).collect(),
            site: Some(SiteWire::from(&binding.site)),
            max_occurrences: Some(binding.max_occurrences),
            websocket: binding.websocket,
            canary: binding.canary.as_ref().map(CanaryWire::from),
            mints: binding.mints.iter().map(MintWire::from).collect(),
        }
    }
}

fn occurrences(written: Option<u8>, problems: &mut Problems) -> u8 {
    let most = written.unwrap_or(1);
    if !(1..=MOST_OCCURRENCES).contains(&most) {
        problems.note("max_occurrences", "expected 1 to 8");
    }
    most
}

fn methods(written: Vec<String>, problems: &mut Problems) -> Vec<String> {
    if written.is_empty() {
        problems.note("methods", "expected at least one");
    }
    let methods = problems.list("methods", written, |method| {
        if is_method(&method) {
            return Ok(method);
        }
        Err(ConfigError::one("", "expected an upper-case method, not TRACE, TRACK or CONNECT"))
    });
    order::distinct(methods)
}

/// Methods that configuration may name: never those that echo the request or leave HTTP.
pub(crate) fn is_method(method: &str) -> bool {
    let letters = method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    letters && !method.is_empty() && !is_refused_method(method)
}

/// Methods that are never forwarded: they echo the request or make a tunnel.
pub fn is_refused_method(method: &str) -> bool {
    ["TRACE", "TRACK", "CONNECT"].iter().any(|refused| refused.eq_ignore_ascii_case(method))
}

/// Methods that change nothing (RFC 9110 9.2.1) and are known; whatever else it is, it may be a
/// write.
pub fn is_safe_method(method: &[u8]) -> bool {
    [&b"GET"[..], b"HEAD", b"OPTIONS"].contains(&method)
}

fn paths(written: Vec<String>, problems: &mut Problems) -> Vec<PathPattern> {
    if written.is_empty() {
        problems.note("paths", "expected at least one");
    }
    let mut paths = problems.list("paths", written, |path| {
        PathPattern::exact_or_prefix(&path).map_err(|expected| ConfigError::one("", expected))
    });
    paths.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn wire() -> Wire {
        serde_json::from_value(serde_json::json!({
            "credential": "slack", "tenant": "acme", "authority": "Slack.com:443",
            "methods": ["POST", "GET", "POST"], "paths": ["/api/**", "/api/\u{7f}".trim_end_matches('\u{7f}')],
            "site": {"header": "Authorization", "style": "bearer"},
        }))
        .unwrap()
    }

    #[test]
    fn the_hash_is_over_the_canonical_form() {
        let binding = Binding::try_from(wire()).unwrap();
        let expected = r#"{"authority":"slack.com","credential":"slack","max_occurrences":1,"methods":["GET","POST"],"paths":["/api/","/api/**"],"site":{"header":"authorization","style":"bearer"},"tenant":"acme"}"#;
        assert_eq!(String::from_utf8(binding.canonical()).unwrap(), expected);
        assert_eq!(binding.hash(), <[u8; 32]>::from(Sha256::digest(expected)));
    }

    #[test]
    fn the_wire_form_survives_a_round_trip_with_the_same_hash() {
        let binding = Binding::try_from(wire()).unwrap();
        let json = serde_json::to_vec(&Wire::from(&binding)).unwrap();
        let again = Binding::try_from(serde_json::from_slice::<Wire>(&json).unwrap());
        assert_eq!(again, Ok(binding));
    }

    #[test]
    fn leave_for_a_websocket_is_part_of_the_hash() {
        let with = Wire { websocket: Some(WebSocket::Text), ..wire() };
        let binding = Binding::try_from(with).unwrap();
        let text = String::from_utf8(binding.canonical()).unwrap();
        assert!(text.ends_with(r#""tenant":"acme","websocket":"text"}"#), "{text}");
        assert_ne!(binding.hash(), Binding::try_from(wire()).unwrap().hash());
        assert!(binding.allows_websocket());
        assert_eq!(Binding::try_from(Wire::from(&binding)), Ok(binding));
    }

    #[test]
    fn a_request_is_bound_by_method_and_path() {
        let binding = Binding::try_from(wire()).unwrap();
        assert!(binding.allows_method("GET"));
        for method in ["get", "DELETE", "OPTIONS", ""] {
            assert!(!binding.allows_method(method), "{method}");
        }
        let path = |text: &str| RequestPath::parse(text.as_bytes()).unwrap();
        assert!(binding.allows_path(&path("/api/chat.postMessage?channel=C1")));
        assert!(!binding.allows_path(&path("/apis")));
    }

    #[test]
    fn every_problem_of_a_binding_is_reported() {
        let wire = Wire {
            credential: Some("Slack".into()),
            authority: Some("*.slack.com".into()),
            methods: vec!["GET".into(), "TRACE".into()],
            paths: vec!["/a/../b".into()],
            site: Some(SiteWire { header: Some("Host".into()), ..SiteWire::default() }),
            max_occurrences: Some(0),
            ..Wire::default()
        };
        let problems = Binding::try_from(wire).unwrap_err().problems;
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "credential",
                "tenant",
                "authority",
                "methods[1]",
                "paths[0]",
                "site.header",
                "site.style",
                "max_occurrences"
            ]
        );
    }
}
