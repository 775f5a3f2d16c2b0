//! What a file makes its gateway say of itself: modules, policy, bindings.
//!
//! Knows no other file: what the modules are hashed from is read elsewhere. Invariant: what is
//! said here is what the modules' own parsers make of their documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use postern_core::config::{ConfigError, credential, gate};
use postern_core::hex;
use postern_files::yaml::{At, Node};
use postern_spin_host::Application;
use serde_json::Value;

use super::bootstrap::Bootstrap;
use super::{Module, Report, spin};

/// What a gateway with this file says to the key service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Its id, in hexadecimal.
    pub gateway: String,
    /// Name of the modules, where the file says which they are.
    pub modules: Option<[u8; 32]>,
    /// The digest of each module, as the file says it.
    pub declared: BTreeMap<String, String>,
    /// The file of each module, as the file names it.
    pub files: BTreeMap<String, String>,
    /// Name of the policy.
    pub policy: [u8; 32],
    /// Hashes of the bindings.
    pub bindings: BTreeSet<[u8; 32]>,
}

impl Running {
    /// Reads an envoy.yaml, or a spin.toml.
    ///
    /// # Errors
    /// What is missing or does not parse, for people.
    pub fn read(path: &Path, text: &str) -> Result<Self, String> {
        if path.extension().is_some_and(|end| end == "toml") {
            return Self::of_manifest(text, path.parent().unwrap_or(Path::new("")));
        }
        let nodes = Node::parse_all(text)?;
        let [node] = nodes.as_slice() else { return Err("expected one document".to_owned()) };
        let root = At::root(node);
        let bootstrap = Bootstrap::read(&root, &mut Report::default());
        let mut running = Self::default();
        let mut documents = Vec::new();
        for plugin in &bootstrap.plugins {
            let Some(module) = plugin.module else { continue };
            if let Some(file) = plugin.file() {
                running.files.insert(module.name().to_owned(), file.to_owned());
            }
            documents.push((module, plugin.settings()));
        }
        running.with(&documents)
    }

    fn of_manifest(text: &str, base: &Path) -> Result<Self, String> {
        let application = Application::parse(text, Path::new(""))?;
        let (gate, credential, source) =
            spin::documents(&application).ok_or("expected a component with our documents")?;
        let mut running = Self::default();
        if let Some(source) = source {
            running.files.insert("gateway".to_owned(), base.join(source).display().to_string());
        }
        running.with(&[(Module::Gate, &gate), (Module::Credential, &credential)])
    }

    fn with(mut self, documents: &[(Module, &Value)]) -> Result<Self, String> {
        let mut said = BTreeSet::new();
        let mut policies = BTreeSet::new();
        for (module, document) in documents {
            let json = document.to_string();
            match module {
                Module::Gate => {
                    let config = gate::Config::parse(json.as_bytes()).map_err(first)?;
                    policies.insert(config.policy_hash);
                }
                Module::Credential => {
                    let config = credential::Config::parse(json.as_bytes()).map_err(first)?;
                    self.gateway = hex::lower(&config.key_service.gateway_id);
                    self.bindings.extend(config.bindings.iter().map(|one| one.hash()));
                    self.declared = declared(document);
                    said.insert(config.modules);
                }
                Module::Audit => {}
            }
        }
        let [policy] = <[_; 1]>::try_from(Vec::from_iter(policies))
            .map_err(|_| "expected a gate, and one policy where there are several")?;
        let [modules] = <[_; 1]>::try_from(Vec::from_iter(said))
            .map_err(|_| "expected a credential module, and the same modules: in each")?;
        Ok(Self { modules, policy, ..self })
    }
}

fn declared(document: &Value) -> BTreeMap<String, String> {
    let all = document.get("modules").and_then(Value::as_object).into_iter().flatten();
    let text =
        |(name, digest): (&String, &Value)| Some((name.clone(), digest.as_str()?.to_owned()));
    all.filter_map(text).collect()
}

fn first(error: ConfigError) -> String {
    let problem = error.problems.into_iter().next();
    problem.map(|one| format!("{}: {}", one.path, one.message)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVOY: &str = include_str!("../../../../envoy/envoy.yaml");
    const SPIN: &str = include_str!("../../../../spin/spin.toml");

    #[test]
    fn the_shipped_files_say_what_their_gateways_run() {
        let envoy = Running::read(Path::new("envoy.yaml"), ENVOY).unwrap();
        let spin = Running::read(Path::new("spin.toml"), SPIN).unwrap();
        assert_eq!(envoy.gateway, "00112233445566778899aabbccddeeff");
        assert_eq!((envoy.gateway, envoy.policy), (spin.gateway, spin.policy));
        assert_eq!((envoy.bindings.len(), envoy.modules), (1, None));
        assert_eq!(envoy.bindings, spin.bindings);
        assert_eq!(envoy.files["gate"], "target/plugins/gate.wasm");
        assert_eq!(spin.files["gateway"], "../target/plugins/spin-gateway.wasm");
    }

    #[test]
    fn another_policy_and_other_modules_have_other_names() {
        let with = |from: &str, to: &str| {
            Running::read(Path::new("envoy.yaml"), &ENVOY.replacen(from, to, 1)).unwrap()
        };
        let hold = "                    body: hold\n";
        let policy =
            format!("{hold}                    policy: {{rego: {{inline: 'package a'}}}}\n");
        let other = policy.replace("package a", "package b");
        let plain = with("no such text", "");
        let (one, two) = (with(hold, &policy), with(hold, &other));
        assert!(plain.policy != one.policy && one.policy != two.policy);
        let modules =
            format!("role: inject\n                  modules: {{gate: \"{}\"}}", "ab".repeat(32));
        assert_eq!(with("role: inject", &modules).declared.len(), 1);
        assert!(with("role: inject", &modules).modules.is_some());
    }

    #[test]
    fn a_file_without_a_gate_is_refused() {
        assert!(Running::read(Path::new("a.yaml"), "static_resources: {}").is_err());
        assert!(Running::read(Path::new("a.toml"), "a = 1").is_err());
    }
}
