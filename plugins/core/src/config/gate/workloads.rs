//! `authenticators[].mtls`: workloads that show an X.509-SVID; `agents`: who they are here.
//!
//! Owns what all kinds of SVID have in common: trust domains, and SPIFFE IDs to agents.
//! Invariant: an ID that no entry is for is nobody.

use serde::Deserialize;

use super::parts::is_scope_token;
use crate::config::{ConfigError, Problems};
use crate::identity::{ROLES, TRUST_LEVELS};
use crate::spiffe::{self, Pattern, SpiffeId};

const MOST_DOMAINS: usize = 64;
const MOST_HOPS: usize = 64;
const MOST_AGENTS: usize = 1024;
const MOST_SCOPES: usize = 64;
/// What the name of a trust domain has to be.
pub(super) const DOMAIN: &str = "expected 1 to 255 of [a-z0-9._-], without spiffe://";
/// Names are as long as what an operator can revoke.
const NAME: usize = 128;

/// `mtls` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtlsWire {
    /// Trust domains whose SVIDs are accepted. Required, 1 to 64. The listener's
    /// `validation_context` says which authorities may sign, for all of them alike.
    #[serde(default)]
    pub trust_domains: Vec<String>,
    /// Who is behind a SPIFFE ID: the first entry that matches decides, and an ID that none
    /// matches authenticates nobody. Required, 1 to 1024.
    #[serde(default)]
    pub agents: Vec<WorkloadWire>,
    /// SPIFFE IDs of proxies in front, which verify callers' certificates themselves: on their
    /// connections the caller is whom `x-forwarded-client-cert` names, and nobody without it. From
    /// everybody else the field is refused. Default: none, and the field is not read; at most 64.
    #[serde(default)]
    pub hops: Vec<String>,
}

/// One entry of `agents` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadWire {
    /// A SPIFFE ID of one of the trust domains. `*` stands for one segment, `/**` at the end
    /// for one or more. Required.
    pub id: Option<String>,
    /// Name of the agent. Default: the SPIFFE ID itself, which then has at most 128 bytes.
    pub agent: Option<String>,
    /// User on whose behalf it acts. Default: none.
    pub user: Option<String>,
    /// Organisation in which the roles hold. Default: none.
    pub organisation: Option<String>,
    /// Roles, of AGENT, DEVELOPER, ADMIN, AUDITOR and PLATFORM. Default: none.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Scopes granted. Default: none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Trust level. Default `observer`.
    pub trust: Option<String>,
    /// Clearance level of the information barrier. Default: none.
    pub clearance: Option<String>,
}

/// Who is behind the SPIFFE IDs of some trust domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads {
    /// Accepted trust domains.
    pub trust_domains: Vec<String>,
    /// Entries in order.
    pub agents: Vec<Workload>,
    /// Proxies whose word about their callers' certificates is taken.
    pub hops: Vec<SpiffeId>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The IDs that it is for.
    pub id: Pattern,
    /// Name of the agent, where it is not the ID.
    pub agent: Option<String>,
    /// User.
    pub user: String,
    /// Organisation.
    pub organisation: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Trust level.
    pub trust: String,
    /// Clearance.
    pub clearance: Option<String>,
}

impl Workloads {
    /// Whether SVIDs of this trust domain are accepted.
    pub fn trusts(&self, domain: &str) -> bool {
        self.trust_domains.iter().any(|own| own == domain)
    }

    /// The entry that decides about an ID.
    pub fn find(&self, id: &SpiffeId) -> Option<&Workload> {
        self.agents.iter().find(|one| one.id.matches(id))
    }
}

pub(super) fn mtls(wire: MtlsWire) -> Result<Workloads, ConfigError> {
    let mut problems = Problems::default();
    for (index, domain) in wire.trust_domains.iter().enumerate() {
        if !spiffe::is_trust_domain(domain) {
            problems.note(format!("trust_domains[{index}]"), DOMAIN);
        }
    }
    let workloads = workloads(wire.trust_domains, wire.agents, &mut problems);
    if wire.hops.len() > MOST_HOPS {
        problems.note("hops", "expected at most 64");
    }
    let hops = problems.list("hops", wire.hops, |hop| {
        let expected = || ConfigError::one("", "expected a SPIFFE ID without wildcards");
        SpiffeId::parse(&hop).ok_or_else(expected)
    });
    problems.finish(Some(Workloads { hops, ..workloads }))
}

/// Reads who the workloads of these trust domains are.
pub(super) fn workloads(
    trust_domains: Vec<String>,
    agents: Vec<WorkloadWire>,
    problems: &mut Problems,
) -> Workloads {
    if trust_domains.is_empty() || trust_domains.len() > MOST_DOMAINS {
        problems.note("trust_domains", "expected 1 to 64");
    }
    if agents.is_empty() || agents.len() > MOST_AGENTS {
        problems.note("agents", "expected 1 to 1024");
    }
    let count = agents.len();
    let agents = problems.list("agents", agents, |wire| workload(wire, &trust_domains));
    // Places are those of the document as long as every entry could be read.
    for (index, one) in agents.iter().enumerate().filter(|_| agents.len() == count) {
        if agents.iter().take(index).any(|earlier| earlier.id == one.id) {
            problems.note(format!("agents[{index}].id"), "expected another than before");
        }
    }
    Workloads { trust_domains, agents, hops: Vec::new() }
}

fn workload(wire: WorkloadWire, domains: &[String]) -> Result<Workload, ConfigError> {
    let mut problems = Problems::default();
    let id = problems.required("id", wire.id);
    let id = id.and_then(|text| problems.scalar("id", Pattern::parse(&text)));
    if id.as_ref().is_some_and(|id| !domains.iter().any(|own| own == id.trust_domain())) {
        problems.note("id", "expected an ID of one of the trust_domains");
    }
    let mut text =
        |path, written: Option<String>| written.and_then(|text| problems.scalar(path, name(text)));
    let agent = text("agent", wire.agent);
    let user = text("user", wire.user).unwrap_or_default();
    let organisation = text("organisation", wire.organisation).unwrap_or_default();
    let clearance = text("clearance", wire.clearance);
    let roles = problems.list("roles", wire.roles, |role| {
        let expected =
            || ConfigError::one("", "expected AGENT, DEVELOPER, ADMIN, AUDITOR or PLATFORM");
        ROLES.contains(&role.as_str()).then_some(role).ok_or_else(expected)
    });
    if wire.scopes.len() > MOST_SCOPES {
        problems.note("scopes", "expected at most 64");
    }
    let scopes = problems.list("scopes", wire.scopes, |scope| {
        let expected = || ConfigError::one("", "expected a scope token (RFC 6749 3.3)");
        is_scope_token(&scope).then_some(scope).ok_or_else(expected)
    });
    let trust = wire.trust.unwrap_or_else(|| TRUST_LEVELS[0].to_owned());
    if !TRUST_LEVELS.contains(&trust.as_str()) {
        problems.note("trust", "expected observer, suggester, collaborator or autonomous");
    }
    let read =
        id.map(|id| Workload { id, agent, user, organisation, roles, scopes, trust, clearance });
    problems.finish(read)
}

fn name(text: String) -> Result<String, &'static str> {
    let fits = (1..=NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then_some(text).ok_or("expected 1 to 128 bytes without control characters")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: Value) -> Result<Workloads, Vec<String>> {
        let wire: MtlsWire = serde_json::from_value(document).unwrap();
        mtls(wire).map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_first_entry_decides_and_gives_nothing_that_it_does_not_say() {
        let read = read(json!({"trust_domains": ["prod.test"], "agents": [
            {"id": "spiffe://prod.test/sa/one", "agent": "one", "scopes": ["a:b"], "roles": ["AGENT"],
             "trust": "suggester", "organisation": "o", "user": "u", "clearance": "secret"},
            {"id": "spiffe://prod.test/sa/*"}]}))
        .unwrap();
        let find = |id: &str| read.find(&SpiffeId::parse(id).unwrap());
        let one = find("spiffe://prod.test/sa/one").unwrap();
        assert_eq!((one.agent.as_deref(), one.trust.as_str()), (Some("one"), "suggester"));
        let other = find("spiffe://prod.test/sa/two").unwrap();
        assert_eq!(
            (&other.agent, other.trust.as_str(), other.scopes.len()),
            (&None, "observer", 0)
        );
        assert_eq!(find("spiffe://prod.test/sa"), None);
        assert!(read.trusts("prod.test") && !read.trusts("test"));
    }

    #[test]
    fn every_problem_is_named() {
        let bad = json!({"trust_domains": ["spiffe://a", "prod.test"], "agents": [
            {}, {"id": "spiffe://other.test/a"}, {"id": "prod.test/a*", "agent": "", "user": "a\nb",
             "roles": ["BOSS"], "scopes": ["a b"], "trust": "all"}],
            "hops": ["spiffe://mesh.test/*"]});
        let text = "expected 1 to 128 bytes without control characters";
        assert_eq!(
            read(bad).unwrap_err(),
            [
                "trust_domains[0]: expected 1 to 255 of [a-z0-9._-], without spiffe://".to_owned(),
                "agents[0].id: missing".to_owned(),
                "agents[1].id: expected an ID of one of the trust_domains".to_owned(),
                "agents[2].id: expected a SPIFFE ID, in which * may be a segment and ** the last one"
                    .to_owned(),
                format!("agents[2].agent: {text}"),
                format!("agents[2].user: {text}"),
                "agents[2].roles[0]: expected AGENT, DEVELOPER, ADMIN, AUDITOR or PLATFORM".to_owned(),
                "agents[2].scopes[0]: expected a scope token (RFC 6749 3.3)".to_owned(),
                "agents[2].trust: expected observer, suggester, collaborator or autonomous".to_owned(),
                "hops[0]: expected a SPIFFE ID without wildcards".to_owned(),
            ]
        );
        let one = json!({"id": "spiffe://prod.test/a"});
        assert_eq!(
            read(json!({"trust_domains": ["prod.test"], "agents": [one, one]})).unwrap_err(),
            ["agents[1].id: expected another than before"]
        );
        assert_eq!(
            read(json!({})).unwrap_err(),
            ["trust_domains: expected 1 to 64", "agents: expected 1 to 1024"]
        );
    }
}
