//! The gate's configuration.
//!
//! Safe by default: a request needs a key, a scope rule that covers its method and path,
//! and for a credential a binding; content is held and read before anything leaves.
//!
//! Invariant: every binding names an authority that the `upstreams` table leads to, and no
//! field has two meanings.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::key_service::{self, KeyService};
use super::{ConfigError, Problems, units};
use crate::binding::{self, Binding, Signing};
use crate::bindings::Bindings;
use crate::budget::{Budget, Taints};
use crate::identity::Kind;
use crate::path::RequestPath;
use crate::policy::Policy;
use crate::residency::{self, Residency};
use crate::upstreams::{self, Upstreams};

mod approvals;
mod authenticators;
mod barriers;
mod budgets;
mod capability;
mod demand;
mod endpoint;
mod forward;
mod introspection;
mod jwt;
mod parts;
mod policy;
mod resource;
mod svid;
mod tokens;
mod workloads;

pub use approvals::{Approvals, ApprovalsWire};
use authenticators::AuthenticatorWire;
pub use authenticators::{ApiKeyField, Authentication};
pub use barriers::{Barriers, Rule as BarrierRule, SectionWire, Wire as BarriersWire};
pub use budgets::{BudgetWire, ByWire, TaintsWire};
pub use capability::{Capability, FIELD as CAPABILITY_FIELD, Issuer};
pub use demand::NonceDemand;
pub use endpoint::Endpoint;
pub use forward::{Forward, ForwardWire, METHOD, TARGET};
pub use introspection::Introspected;
pub use jwt::{Dpop, Jwt};
use parts::ScopeRuleWire;
pub use parts::{DocumentAt, ScopeRule, ScopeRules};
pub use policy::{
    BundleSource, BundleWire, DEFAULT_INSTRUCTIONS, DEFAULT_QUERY, ModuleWire, PATH, PolicySource,
    PolicyWire, Poll, PollWire, RegoWire,
};
pub use resource::{Resource, ResourceWire};
pub use svid::{JwtSvid, JwtSvidWire, TrustDomain, TrustDomainWire};
pub use tokens::{Claims, KeySource};
pub use workloads::{MtlsWire, Workload, WorkloadWire, Workloads};

/// The whole document as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Tenant that this gate serves; keys of another one authenticate nobody. Required.
    pub tenant: Option<String>,
    /// Where the key service is. Required.
    pub key_service: Option<key_service::Wire>,
    /// Accept simulated evidence under this key. Default: none, which is refused as long
    /// as no other kind of evidence is supported.
    pub danger_allow_simulated: Option<key_service::AllowSimulated>,
    /// How callers authenticate. Required, at least one; at most 8. The first one that
    /// recognises a credential by its field and form decides about it, and credentials in
    /// two places are refused unless `combine` has both kinds.
    #[serde(default)]
    pub authenticators: Vec<AuthenticatorWire>,
    /// Kinds of `authenticators` that may come together in one request, such as
    /// `[mtls, jwt]`. Every one that is there has to be good, none may name another agent or
    /// tenant than the others, and the last of the list gives the identity document.
    /// Default: none.
    pub combine: Option<Vec<String>>,
    /// What this gate protects, for clients that have to find its authorization server
    /// (RFC 9728): a document that anybody may read, named in every challenge. Default: none.
    pub resource: Option<ResourceWire>,
    /// Which scopes a request needs: the first rule that matches decides, and a request
    /// that no rule matches is denied. Required, at least one.
    ///
    /// Paths are compared byte by byte. With `/admin` before a catch-all that requires less
    /// (`/**`), `/admin/` and `/ADMIN` fall to the catch-all, and some upstreams serve them
    /// like `/admin`. Write `/admin/**`, and where an upstream does not tell letters of
    /// either case apart, let no later rule require less. `postern check` notes such rules.
    #[serde(default)]
    pub scopes: Vec<ScopeRuleWire>,
    /// Where each credential may go. Default: none, so that no credential goes anywhere.
    #[serde(default)]
    pub bindings: Vec<binding::Wire>,
    /// Cluster name to what is behind it. Default: none; every binding needs one.
    #[serde(default)]
    pub upstreams: BTreeMap<String, upstreams::Wire>,
    /// `hold`: content is read before anything leaves (default). `stream`: it is read as it
    /// passes, and a placeholder in it cuts the request. `off`: it is not read.
    pub body: Option<BodyMode>,
    /// Most content of one request with `hold`. Default `256KiB`, limit `8MiB`; keep it
    /// below the proxy's buffer limit.
    pub body_limit: Option<String>,
    /// More header fields that the request digest covers. Default: none; at most 32.
    #[serde(default)]
    pub bind_headers: Vec<String>,
    /// Field that names a credential. Default `x-tap-credential`.
    pub credential_header: Option<String>,
    /// An endpoint for clients that name the target in a field: `POST` to its path, with
    /// `X-TAP-Target` and `X-TAP-Method`. Default: none.
    pub forward: Option<ForwardWire>,
    /// A policy that decides after scopes and bindings. Default: none.
    pub policy: Option<PolicyWire>,
    /// Regions that requests may leave for. Default: none, and every region is allowed.
    pub residency: Option<residency::Wire>,
    /// Sections of answers that only some callers may see. Default: none.
    pub barriers: Option<barriers::Wire>,
    /// How many requests there may be. A request takes a token of every budget that it counts
    /// in; without one left it is refused (429). Default: none; at most 32.
    #[serde(default)]
    pub budgets: Vec<BudgetWire>,
    /// Labels that a policy can give to sessions. Default: none.
    pub taints: Option<TaintsWire>,
    /// How requests wait for people, where the policy or a credential asks for an approval.
    /// Needs `body: hold`. Default: none, and what needs an approval is refused.
    pub approvals: Option<ApprovalsWire>,
}

/// What happens to content before a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyMode {
    /// Held back and read whole.
    #[default]
    Hold,
    /// Read as it passes.
    Stream,
    /// Not read.
    Off,
}

/// The gate's configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Tenant that this gate serves.
    pub tenant: String,
    /// Where the key service is and what it must prove.
    pub key_service: KeyService,
    /// How callers authenticate, in order.
    pub authenticators: Vec<Authentication>,
    /// Kinds that may come together; the last one is who the caller is.
    pub combine: Vec<Kind>,
    /// The metadata document.
    pub resource: Option<Resource>,
    /// Scope rules; the first match decides.
    pub scopes: ScopeRules,
    /// Where each credential may go.
    pub bindings: Bindings,
    /// What is behind each cluster.
    pub upstreams: Upstreams,
    /// What happens to content.
    pub body: BodyMode,
    /// Most content with [`BodyMode::Hold`], in bytes.
    pub body_limit: usize,
    /// More fields that the request digest covers, lower case.
    pub bind_headers: Vec<String>,
    /// Field that names a credential, lower case.
    pub credential_header: String,
    /// The forward endpoint.
    pub forward: Option<Forward>,
    /// The policy that decides after scopes and bindings.
    pub policy: Option<PolicySource>,
    /// Regions that requests may leave for.
    pub residency: Option<Residency>,
    /// Sections of answers that only some callers may see.
    pub barriers: Option<Barriers>,
    /// How many requests there may be.
    pub budgets: Vec<Budget>,
    /// Labels of sessions.
    pub taints: Option<Taints>,
    /// How requests wait for people.
    pub approvals: Option<Approvals>,
    /// SHA-256 of the document: which configuration decided.
    pub revision: [u8; 32],
    /// Names the policy, without what stands round it.
    pub policy_hash: [u8; 32],
}

impl Config {
    /// Reads a module's document; every problem at once.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = super::read::<Wire, Self>(json)?;
        Ok(Self { revision: Sha256::digest(json).into(), ..config })
    }
}

const DEFAULT_LIMIT: usize = 256 * 1024;
const LARGEST_LIMIT: usize = 8 * 1024 * 1024;
const DEFAULT_CREDENTIAL_HEADER: &str = "x-tap-credential";

impl TryFrom<Wire> for Config {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let tenant = problems.required("tenant", wire.tenant.filter(|text| !text.is_empty()));
        let key_service =
            key_service::read(wire.key_service, wire.danger_allow_simulated, &mut problems);
        let header = wire.credential_header.unwrap_or_else(|| DEFAULT_CREDENTIAL_HEADER.into());
        let credential_header = header.to_ascii_lowercase();
        let authenticators =
            authenticators::authenticators(wire.authenticators, &credential_header, &mut problems);
        let combine = authenticators::combine(wire.combine, &authenticators, &mut problems);
        let resource =
            wire.resource.and_then(|wire| problems.part("resource", resource::resource(wire)));
        let scopes = parts::scopes(wire.scopes, &mut problems);
        let upstreams = problems.part("upstreams", Upstreams::try_from(wire.upstreams));
        let bindings = bindings(wire.bindings, upstreams.as_ref(), &mut problems);
        let body_limit = body_limit(wire.body_limit, &mut problems);
        let bind_headers = parts::bind_headers(wire.bind_headers, &mut problems);
        parts::check_fields(&credential_header, &bindings, &mut problems);
        let forward = wire.forward.and_then(|wire| {
            let names = (credential_header.as_str(), bind_headers.as_slice());
            forward::check(names, &authenticators, &bindings, upstreams.as_ref(), &mut problems);
            problems.part("forward", forward::forward(wire))
        });
        let policy = wire.policy.and_then(|wire| problems.part("policy", policy::policy(wire)));
        let residency =
            wire.residency.and_then(|wire| problems.part("residency", Residency::try_from(wire)));
        let barriers =
            wire.barriers.and_then(|wire| problems.part("barriers", Barriers::try_from(wire)));
        let budgets = budgets::budgets(wire.budgets, &mut problems);
        let taints = wire.taints.and_then(|wire| problems.part("taints", budgets::taints(wire)));
        let body = wire.body.unwrap_or_default();
        let approvals = approvals::read(wire.approvals, body, &mut problems);
        if body != BodyMode::Hold && bindings.iter().any(|one| one.site().place().in_content()) {
            problems.note("body", "expected hold, since a binding has its site in the content");
        }
        if taints.is_some()
            && (body != BodyMode::Hold || bindings.iter().any(Binding::allows_websocket))
        {
            let expected = "expected body: hold and no binding with websocket: what passes after a \
                            decision would pass whatever labels its session got since";
            problems.note("taints", expected);
        }
        let signed = |one: &Authentication| matches!(one, Authentication::Capability(_));
        if body != BodyMode::Hold && authenticators.iter().any(signed) {
            problems
                .note("body", "expected hold, since holders of capability tokens sign the content");
        }
        let covers = |one: &Binding| one.site().signing().is_some_and(Signing::needs_content);
        if body != BodyMode::Hold && bindings.iter().any(covers) {
            let expected =
                "expected hold, since a binding signs the content (or payload: unsigned)";
            problems.note("body", expected);
        }
        let read = (|| {
            Some(Self {
                tenant: tenant?,
                key_service: key_service?,
                authenticators,
                combine,
                resource,
                scopes,
                bindings: Bindings::new(bindings),
                upstreams: upstreams?,
                body,
                body_limit,
                bind_headers,
                credential_header,
                forward,
                policy_hash: policy::hash(policy.as_ref()),
                policy,
                residency,
                barriers,
                budgets,
                taints,
                approvals,
                revision: [0; 32],
            })
        })();
        problems.finish(read)
    }
}

/// Reads every binding, and that its authority is one that a cluster leads to.
pub(super) fn bindings(
    wire: Vec<binding::Wire>,
    upstreams: Option<&Upstreams>,
    problems: &mut Problems,
) -> Vec<Binding> {
    let bindings = problems.list("bindings", wire, |wire| {
        let binding = Binding::try_from(wire)?;
        if binding.is_family() {
            return Err(ConfigError::one("minted", "expected credential; mints makes these"));
        }
        let reached = upstreams.is_none_or(|table| table.has_authority(binding.authority()));
        let unreached = || ConfigError::one("authority", "no cluster in upstreams leads to it");
        reached.then_some(binding).ok_or_else(unreached)
    });
    let bindings = binding::with_minted(bindings, problems);
    for family in bindings.iter().filter(|one| one.is_family()) {
        if upstreams.is_some_and(|table| !table.has_authority(family.authority())) {
            let path = format!("bindings.mints ({}).authority", family.credential().as_str());
            problems.note(path, "no cluster in upstreams leads to it");
        }
    }
    bindings
}

fn body_limit(written: Option<String>, problems: &mut Problems) -> usize {
    let Some(text) = written else { return DEFAULT_LIMIT };
    let limit = units::size(&text).and_then(|limit| {
        let fits = (1..=LARGEST_LIMIT).contains(&limit);
        fits.then_some(limit).ok_or("expected 1B to 8MiB")
    });
    problems.scalar("body_limit", limit).unwrap_or(DEFAULT_LIMIT)
}

impl Config {
    /// The rule that decides about a request.
    pub fn rule(&self, method: &str, path: &RequestPath) -> Option<&ScopeRule> {
        self.scopes.find(method, path)
    }

    /// Fields that hold callers' credentials, lower case.
    pub fn credential_fields(&self) -> impl Iterator<Item = &str> {
        self.authenticators.iter().enumerate().filter_map(|(index, one)| {
            let earlier = self.authenticators.iter().take(index);
            let field = one.field()?;
            earlier.filter_map(Authentication::field).all(|other| other != field).then_some(field)
        })
    }

    /// The authenticator of capability tokens.
    pub fn capability(&self) -> Option<&Capability> {
        self.authenticators.iter().find_map(|one| match one {
            Authentication::Capability(capability) => Some(capability),
            _ => None,
        })
    }

    /// Environment variables with the secrets that this gate has at introspection endpoints.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        self.authenticators.iter().filter_map(|one| match one {
            Authentication::Introspected(tokens) => Some(tokens.secret_variable.as_str()),
            _ => None,
        })
    }

    /// Path of the endpoint where invites are exchanged.
    pub fn invites(&self) -> Option<&str> {
        self.capability()?.invites.as_deref()
    }

    /// Whether somebody looks at the certificate of the caller's connection.
    pub fn reads_certificates(&self) -> bool {
        let looks = |one: &Authentication| {
            use Authentication::{Introspected, Jwt, JwtSvid, Mtls};
            matches!(one, Mtls(_) | Jwt(_) | JwtSvid(_) | Introspected(_))
        };
        self.authenticators.iter().any(looks)
    }

    /// Whether tokens that are bound to a key are taken, with a proof (RFC 9449).
    pub fn takes_proofs(&self) -> bool {
        let takes = |one: &Authentication| match one {
            Authentication::Jwt(jwt) => jwt.dpop.is_some(),
            Authentication::Introspected(tokens) => tokens.dpop.is_some(),
            _ => false,
        };
        self.authenticators.iter().any(takes)
    }

    /// Whether a binding declares this field as a site in which a placeholder may stand.
    pub fn is_site(&self, name: &str) -> bool {
        self.bindings.sites(name).iter().any(|site| site.signing().is_none())
    }

    /// Whether content is held for a policy that reads it.
    pub fn check_policy(&self, policy: &dyn Policy) -> Result<(), ConfigError> {
        if self.body == BodyMode::Hold || !policy.reads_content() {
            return Ok(());
        }
        Err(ConfigError::one("body", "expected hold, since the policy reads the content"))
    }
}

#[cfg(test)]
mod tests;
