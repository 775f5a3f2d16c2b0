//! What gateways of the tenant are held to, as a scenario says it: of each part whether it is this
//! gateway's own.

use std::collections::BTreeSet;

use anyhow::Result;
use postern_core::config::{credential, gate};
use serde::Deserialize;
use serde_json::{Value, json};

use super::party::hex;

/// Path of the operator's requests.
pub const PATH: &str = "/api/v1/gateway-sets";

/// One set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorised {
    /// Its name.
    pub name: String,
    /// Its modules.
    #[serde(default)]
    pub modules: Part,
    /// Its policy.
    #[serde(default)]
    pub policy: Part,
    /// Its bindings.
    #[serde(default)]
    pub bindings: Part,
}

/// One part of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Not compared.
    #[default]
    Any,
    /// What the gateway of the scenario says.
    Own,
    /// Something else.
    Other,
}

impl Part {
    fn of(self, own: Option<[u8; 32]>) -> Value {
        match self {
            Self::Any => Value::Null,
            Self::Own => json!(own.map(|hash| hex(&hash))),
            Self::Other => json!(hex(&[0xff; 32])),
        }
    }
}

impl Authorised {
    /// The operator's request, for a gateway with these documents.
    pub fn request(&self, gate: &Value, credential: &Value) -> Result<Vec<u8>> {
        let gate = gate::Config::parse(gate.to_string().as_bytes())?;
        let credential = credential::Config::parse(credential.to_string().as_bytes())?;
        let own: BTreeSet<[u8; 32]> = credential.bindings.iter().map(|one| one.hash()).collect();
        let bindings: Vec<Value> = match self.bindings {
            Part::Own => own.into_iter().map(|hash| self.bindings.of(Some(hash))).collect(),
            Part::Other => vec![self.bindings.of(None)],
            Part::Any => Vec::new(),
        };
        let set = json!({
            "name": self.name, "bindings": bindings,
            "modules": self.modules.of(credential.modules),
            "policy": self.policy.of(Some(gate.policy_hash)),
        });
        Ok(set.to_string().into_bytes())
    }
}
