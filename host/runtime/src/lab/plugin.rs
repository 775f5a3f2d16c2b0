//! A plugin named in code, and what a file says of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// Where a module comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// A plugin: a module and how it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    pub(super) source: Source,
    pub(super) name: String,
    root_id: String,
    vm_id: String,
    configuration: String,
    failure_policy: &'static str,
    backoff: Duration,
    body_while_headers_paused: bool,
    capabilities: Option<Vec<String>>,
    pub(super) variables: Vec<(String, String)>,
}

impl Plugin {
    /// A module in a file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::of(Source::File(path.as_ref().to_owned()))
    }

    /// A module in memory.
    pub fn wasm(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(Source::Bytes(bytes.into()))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            name: "plugin".to_owned(),
            root_id: String::new(),
            vm_id: String::new(),
            configuration: String::new(),
            failure_policy: "FAIL_CLOSED",
            backoff: Duration::from_secs(1),
            body_while_headers_paused: false,
            capabilities: None,
            variables: Vec::new(),
        }
    }

    /// Its name; `plugin` unless it is said.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// `root_id`.
    pub fn root_id(mut self, root_id: &str) -> Self {
        self.root_id = root_id.to_owned();
        self
    }

    /// `vm_id`. Plugins of the same module and `vm_id` share a machine, all of the same
    /// `vm_id` share their shared data.
    pub fn vm_id(mut self, vm_id: &str) -> Self {
        self.vm_id = vm_id.to_owned();
        self
    }

    /// What `proxy_on_configure` gets.
    pub fn configuration(mut self, text: impl Into<String>) -> Self {
        self.configuration = text.into();
        self
    }

    /// `FAIL_RELOAD` with this time between two loads, instead of `FAIL_CLOSED`.
    pub fn reload_after(mut self, backoff: Duration) -> Self {
        (self.failure_policy, self.backoff) = ("FAIL_RELOAD", backoff);
        self
    }

    /// `allow_on_headers_stop_iteration`: body callbacks come while the headers are paused.
    pub fn body_while_headers_paused(mut self) -> Self {
        self.body_while_headers_paused = true;
        self
    }

    /// `allowed_capabilities`: hostcalls and callbacks that it may use; all unless it is said.
    pub fn only(mut self, capabilities: &[&str]) -> Self {
        self.capabilities = Some(capabilities.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// A variable of its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What its module is called in the file.
    pub(super) fn file_name(&self) -> String {
        match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Bytes(bytes) => {
                let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
                let hex = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
                format!("{}.wasm", hex.collect::<String>())
            }
        }
    }

    /// `vm_config`.
    fn machine(&self) -> Value {
        let mut vm = json!({
            "vm_id": self.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": self.file_name()}},
        });
        if !self.variables.is_empty() {
            let names: Vec<&str> = self.variables.iter().map(|(name, _)| name.as_str()).collect();
            vm["environment_variables"] = json!({"host_env_keys": names});
        }
        if let Some(names) = &self.capabilities {
            let allowed: BTreeMap<&str, Value> =
                names.iter().map(|name| (name.as_str(), json!({}))).collect();
            vm["capability_restriction_config"] = json!({"allowed_capabilities": allowed});
        }
        vm
    }

    /// `PluginConfig`.
    pub(super) fn config(&self) -> Value {
        let mut config = json!({
            "name": self.name,
            "root_id": self.root_id,
            "failure_policy": self.failure_policy,
            "vm_config": self.machine(),
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": self.configuration,
            },
        });
        if self.failure_policy == "FAIL_RELOAD" {
            let base = span(self.backoff);
            config["reload_config"] = json!({"backoff": {"base_interval": base}});
        }
        if self.body_while_headers_paused {
            config["allow_on_headers_stop_iteration"] = json!(true);
        }
        config
    }
}

/// A duration as a file says it.
pub(super) fn span(time: Duration) -> String {
    format!("{}.{:09}s", time.as_secs(), time.subsec_nanos())
}
