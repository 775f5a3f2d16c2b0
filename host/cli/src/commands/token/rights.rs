//! The arguments that grant and limit, the same for a first block and a further one.

use postern_capability::claims::Claims;
use postern_capability::form::Set;

use crate::failure::{Failure, Outcome};

const TRUST: [&str; 4] = ["observer", "suggester", "collaborator", "autonomous"];

/// What a block says about rights.
#[derive(clap::Args)]
pub struct RightArgs {
    /// Organisation in which the roles hold.
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// Scope, repeated for several.
    #[arg(long, value_name = "NAME")]
    scope: Vec<String>,
    /// Role, repeated for several.
    #[arg(long, value_name = "NAME")]
    role: Vec<String>,
    /// Level of trust.
    #[arg(long, value_parser = TRUST)]
    trust: Option<String>,
    /// Level of clearance, by its number in the tenant's framework.
    #[arg(long, value_name = "LEVEL")]
    clearance: Option<u8>,
    /// Credential that may be used, repeated for several.
    #[arg(long, value_name = "NAME")]
    credential: Vec<String>,
    /// Host with an optional port, repeated for several.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Method, repeated for several.
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// Path with all below it, repeated for several.
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Tool, repeated for several.
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// Model, repeated for several.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Budget, in the unit of the route's meter.
    #[arg(long, value_name = "N")]
    budget: Option<u64>,
    /// The one document.
    #[arg(long, value_name = "ID")]
    document: Option<String>,
    /// Class of approval that requests need at least.
    #[arg(long, value_name = "CLASS", value_parser = clap::value_parser!(u8).range(0..=3))]
    approval: Option<u8>,
    /// How many times it may be passed on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=7))]
    depth: Option<u8>,
}

impl RightArgs {
    /// As claims; whether they are of their form is found when they are signed.
    pub fn claims(&self) -> Outcome<Claims> {
        let trust = |name: &String| TRUST.iter().position(|level| level == name);
        let trust = self.trust.as_ref().and_then(trust).map(u8::try_from).transpose();
        Ok(Claims {
            organisation: self.organisation.clone(),
            scopes: set(&self.scope),
            roles: set(&self.role),
            trust: trust.map_err(Failure::bug)?,
            clearance: self.clearance,
            credentials: set(&self.credential),
            hosts: set(&self.host),
            methods: set(&self.method),
            paths: set(&self.path),
            tools: set(&self.tool),
            models: set(&self.model),
            budget: self.budget,
            document: self.document.clone(),
            approval: self.approval,
            depth: self.depth,
            ..Claims::default()
        })
    }
}

fn set(items: &[String]) -> Option<Set> {
    (!items.is_empty()).then(|| items.iter().cloned().collect())
}
