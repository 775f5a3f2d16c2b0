//! envoy.yaml as a value: what a test or the demo replaces before it starts a gateway.
//!
//! Only addresses, files and module configurations are replaced; filters, their order,
//! timers and limits stay those of the file that operators copy.

use std::path::Path;

use serde_json::{Value, json};

use crate::RigError;

/// An Envoy bootstrap document.
#[derive(Clone, Debug, PartialEq)]
pub struct Config(Value);

impl Config {
    /// Reads a YAML file; aliases are expanded.
    pub fn read(path: &Path) -> Result<Self, RigError> {
        let text =
            std::fs::read_to_string(path).map_err(RigError::io(path.display().to_string()))?;
        let document = serde_saphyr::from_str(&text)
            .map_err(|error| RigError::Config(format!("{}: {error}", path.display())))?;
        let mut config = Self(document);
        config.on_system_ports();
        Ok(config)
    }

    /// The document, to change what has no method here.
    pub fn document(&mut self) -> &mut Value {
        &mut self.0
    }

    /// Admin and listeners on ports that the system chooses.
    fn on_system_ports(&mut self) {
        let port = json!({"address": "127.0.0.1", "port_value": 0});
        self.0["admin"]["address"]["socket_address"] = port.clone();
        for listener in self.0["static_resources"]["listeners"].as_array_mut().into_iter().flatten()
        {
            listener["address"]["socket_address"] = port.clone();
        }
    }

    /// Loads the modules from `folder` instead of `target/plugins`.
    pub fn modules_from(&mut self, folder: &Path) {
        walk(&mut self.0, &mut |object| {
            let Some(Value::String(file)) = object.get_mut("filename") else { return };
            if let Some(name) = file.strip_prefix("target/plugins/") {
                *file = folder.join(name).display().to_string();
            }
        });
    }

    /// Applies `change` to every configuration of module `name`.
    pub fn module(&mut self, name: &str, mut change: impl FnMut(&mut Value)) {
        self.plugin(name, |plugin| change(&mut plugin["configuration"]["value"]));
    }

    /// Applies `change` to every plugin configuration (code, limits, policy) of a module.
    pub fn plugin(&mut self, name: &str, mut change: impl FnMut(&mut Value)) {
        walk(&mut self.0, &mut |object| {
            if object.contains_key("vm_config") && object.get("name") == Some(&json!(name)) {
                let mut plugin = Value::Object(std::mem::take(object));
                change(&mut plugin);
                if let Value::Object(changed) = plugin {
                    *object = changed;
                }
            }
        });
    }

    /// The cluster called `name`.
    pub fn cluster(&mut self, name: &str) -> Result<&mut Value, RigError> {
        self.named("clusters", name)
    }

    /// The listener called `name`.
    pub fn listener(&mut self, name: &str) -> Result<&mut Value, RigError> {
        self.named("listeners", name)
    }

    fn named(&mut self, kind: &str, name: &str) -> Result<&mut Value, RigError> {
        let list = self.0["static_resources"][kind].as_array_mut();
        list.into_iter()
            .flatten()
            .find(|item| item["name"] == name)
            .ok_or_else(|| RigError::Config(format!("{kind}: no {name:?}")))
    }

    /// Adds a copy of cluster `like` under another name.
    pub fn copy_cluster(&mut self, like: &str, name: &str) -> Result<(), RigError> {
        let mut copy = self.cluster(like)?.clone();
        copy["name"] = json!(name);
        copy["load_assignment"]["cluster_name"] = json!(name);
        if let Some(clusters) = self.0["static_resources"]["clusters"].as_array_mut() {
            clusters.push(copy);
        }
        Ok(())
    }

    /// Adds a copy of listener `like` under another name.
    pub fn copy_listener(&mut self, like: &str, name: &str) -> Result<(), RigError> {
        let mut copy = self.listener(like)?.clone();
        copy["name"] = json!(name);
        if let Some(listeners) = self.0["static_resources"]["listeners"].as_array_mut() {
            listeners.push(copy);
        }
        Ok(())
    }

    /// Sends cluster `name` to a port on this machine.
    pub fn cluster_at(&mut self, name: &str, port: u16) -> Result<(), RigError> {
        let cluster = self.cluster(name)?;
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
            json!({"address": "127.0.0.1", "port_value": port});
        Ok(())
    }

    /// Trusts `ca` for the TLS of cluster `name`, whose certificate must be for `host`.
    pub fn cluster_trusts(&mut self, name: &str, ca: &Path, host: &str) -> Result<(), RigError> {
        let tls = &mut self.cluster(name)?["transport_socket"]["typed_config"];
        tls["sni"] = json!(host);
        tls["common_tls_context"]["validation_context"] = json!({
            "trusted_ca": {"filename": ca.display().to_string()},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
        });
        Ok(())
    }

    /// Adds a virtual host that sends `domain` to `cluster` under the name `rewrite`.
    pub fn route(
        &mut self,
        listener: &str,
        domain: &str,
        cluster: &str,
        rewrite: &str,
    ) -> Result<(), RigError> {
        let hcm = &mut self.listener(listener)?["filter_chains"][0]["filters"][0]["typed_config"];
        let hosts = hcm["route_config"]["virtual_hosts"].as_array_mut();
        let hosts = hosts.ok_or_else(|| RigError::Config("no virtual hosts".into()))?;
        hosts.retain(|host| host["domains"] != json!([domain]));
        hosts.push(json!({"name": domain, "domains": [domain], "routes": [
            {"match": {"prefix": "/"},
             "route": {"cluster": cluster, "host_rewrite_literal": rewrite, "timeout": "30s"}}
        ]}));
        Ok(())
    }

    /// Puts `over` on the action of each route of `domain`.
    pub fn route_action(
        &mut self,
        listener: &str,
        domain: &str,
        over: &Value,
    ) -> Result<(), RigError> {
        let hcm = &mut self.listener(listener)?["filter_chains"][0]["filters"][0]["typed_config"];
        let hosts = hcm["route_config"]["virtual_hosts"].as_array_mut().into_iter().flatten();
        for host in hosts.filter(|host| host["domains"] == json!([domain])) {
            for route in host["routes"].as_array_mut().into_iter().flatten() {
                if !over.is_null() {
                    merge(&mut route["route"], over);
                }
            }
        }
        Ok(())
    }

    /// The document as a gateway reads it.
    pub fn render(&self) -> String {
        self.0.to_string()
    }
}

/// Puts `over` on `base`: objects merge, null removes, everything else replaces.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Visits every object, parents first.
pub(super) fn walk(value: &mut Value, visit: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|child| walk(child, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|child| walk(child, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Config {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/envoy.yaml");
        Config::read(&path).unwrap()
    }

    #[test]
    fn the_shipped_file_has_each_module_and_both_credentialed_clusters() {
        let mut config = shipped();
        let mut seen = Vec::new();
        for name in ["gate", "credential", "audit"] {
            config.module(name, |document| {
                let id = document["key_service"]["gateway_id"].as_str();
                assert_eq!(id.map(str::len), Some(32), "{name}");
                seen.push(name);
            });
        }
        assert_eq!(seen, ["gate", "credential", "credential", "audit"]);
    }

    #[test]
    fn every_plugin_reloads_quickly_and_shares_one_vm_id() {
        let mut config = shipped();
        for name in ["gate", "credential", "audit"] {
            config.plugin(name, |plugin| {
                assert_eq!(plugin["failure_policy"], "FAIL_RELOAD", "{name}");
                assert_eq!(plugin["vm_config"]["vm_id"], "postern", "{name}");
                assert_eq!(plugin["vm_config"]["environment_variables"]["key_values"], Value::Null);
                let pause = name == "gate";
                assert_eq!(plugin["allow_on_headers_stop_iteration"] == json!(true), pause);
            });
        }
    }

    #[test]
    fn merging_null_removes_and_objects_merge() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut base, &json!({"a": {"b": null, "e": 3}, "d": [3]}));
        assert_eq!(base, json!({"a": {"c": 2, "e": 3}, "d": [3]}));
    }
}
