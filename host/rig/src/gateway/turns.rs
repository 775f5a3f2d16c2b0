//! Configurations that take turns in one Envoy: listeners and clusters come from files (LDS
//! and CDS), as a control plane sends them.
//!
//! Most of an Envoy's start is compiling the modules; a listener that is added later finds
//! them compiled. Invariant: the listeners of each turn have names of their own, and no two of
//! them a port; whoever reaches one once the change is through is served by the configuration
//! of that turn.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{Config, Gateway};
use crate::RigError;
use crate::wait::until;

/// How long a change may take: plugins are configured, nothing is compiled.
const CHANGE: Duration = Duration::from_secs(30);

/// One kind of resource: its file, its field in the bootstrap, its type, its counters.
struct Kind {
    list: &'static str,
    discovery: &'static str,
    type_url: &'static str,
    counters: &'static str,
    warming: &'static str,
}

/// Clusters first: a listener's plugins name them.
const KINDS: [Kind; 2] = [
    Kind {
        list: "clusters",
        discovery: "cds_config",
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        counters: "cluster_manager.cds",
        warming: "cluster_manager.warming_clusters",
    },
    Kind {
        list: "listeners",
        discovery: "lds_config",
        type_url: "type.googleapis.com/envoy.config.listener.v3.Listener",
        counters: "listener_manager.lds",
        warming: "listener_manager.total_listeners_warming",
    },
];

/// What `listener` is called in a turn; before the first change it has its own name.
pub(super) fn name(listener: &str, turn: u32) -> String {
    match turn {
        0 => listener.to_owned(),
        turn => format!("{listener}-{turn}"),
    }
}

/// The bootstrap that has listeners and clusters of `config` read from files in `folder`, which
/// are written.
pub(super) fn bootstrap(config: &Config, folder: &Path) -> Result<Config, RigError> {
    let mut config = config.clone();
    KINDS.iter().try_for_each(|kind| kind.write(folder, &mut config, 0))?;
    let document = config.document();
    document["static_resources"] = json!({});
    for kind in &KINDS {
        document["dynamic_resources"][kind.discovery] = json!({
            "path_config_source": {"path": kind.file(folder).display().to_string()},
            "resource_api_version": "V3",
        });
    }
    Ok(config)
}

/// Puts `config` in the place of what `gateway` serves, and waits until it serves that.
pub(super) fn change(
    gateway: &Gateway,
    folder: &Path,
    config: &Config,
    turn: u32,
) -> Result<(), RigError> {
    let mut config = config.clone();
    KINDS.iter().try_for_each(|kind| {
        let before = kind.results(gateway);
        kind.write(folder, &mut config, turn)?;
        kind.wait(gateway, before)
    })
}

/// A port that nobody has now.
fn free_port() -> Result<u16, RigError> {
    let any = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(any.map_err(RigError::io("find a free port"))?.port())
}

impl Kind {
    fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.list))
    }

    fn write(&self, folder: &Path, config: &mut Config, turn: u32) -> Result<(), RigError> {
        let list = config.document()["static_resources"][self.list].as_array_mut();
        for (index, resource) in list.into_iter().flatten().enumerate() {
            resource["@type"] = json!(self.type_url);
            if self.list == "listeners" {
                let own = resource["name"].as_str().unwrap_or_default();
                resource["name"] = json!(name(own, turn));
                // A new listener takes over the socket of one that drains at the same address,
                // and "any port" is one address: only the first of them may.
                if index > 0 {
                    resource["address"]["socket_address"]["port_value"] = json!(free_port()?);
                }
            }
        }
        let resources = config.document()["static_resources"][self.list].clone();
        let answer = json!({"version_info": turn.to_string(), "resources": resources});
        // Renamed into place: that is what Envoy watches for.
        let file = self.file(folder);
        postern_files::write_atomic(&file, answer.to_string().as_bytes())
            .map_err(RigError::io(file.display().to_string()))
    }

    /// Changes that were taken, and that were refused.
    fn results(&self, gateway: &Gateway) -> [u64; 2] {
        ["update_success", "update_rejected"]
            .map(|result| gateway.stat(&format!("{}.{result}", self.counters)).unwrap_or_default())
    }

    fn wait(&self, gateway: &Gateway, [taken, refused]: [u64; 2]) -> Result<(), RigError> {
        let outcome = until(CHANGE, || {
            let [taken_now, refused_now] = self.results(gateway);
            let warm = || gateway.stat(self.warming) == Some(0);
            match (refused_now > refused, taken_now > taken && warm()) {
                (true, _) => Some(Err("are refused")),
                (_, true) => Some(Ok(())),
                _ => None,
            }
        });
        outcome.unwrap_or(Err("do not serve")).map_err(|end| RigError::NotReady {
            what: format!("{} {end}", self.list),
            log: super::process::tail(&gateway.log()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn listeners_and_clusters_stand_in_files_and_nothing_else_changes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/envoy.yaml");
        let config = Config::read(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut bootstrap = bootstrap(&config, folder.path()).unwrap();
        let document = bootstrap.document();
        assert_eq!(document["static_resources"], json!({}));
        let admin = config.clone().document()["admin"].clone();
        assert_eq!(document["admin"], admin);
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap()
        };
        assert_eq!(read("clusters.json")["resources"].as_array().map(Vec::len), Some(3));
        assert_eq!(read("listeners.json")["resources"][0]["name"], "ingress");
    }

    #[test]
    fn a_listener_has_another_name_in_each_turn() {
        assert_eq!(
            ["ingress", "ingress-1", "ingress-2"].map(str::to_owned),
            [0, 1, 2].map(|turn| name("ingress", turn))
        );
    }
}
