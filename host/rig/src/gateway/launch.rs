//! Which program is a gateway, and the command lines of its ways to run.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Config;
use super::process::{Gateway, TRACE, log_of, tail};
use super::{spin, turns};
use crate::RigError;

/// A program that runs the modules of an envoy.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A real Envoy.
    Envoy {
        /// Its binary.
        binary: PathBuf,
    },
    /// `postern gateway`.
    Wasmtime {
        /// The `postern` binary.
        postern: PathBuf,
        /// Folder of compiled modules that starts share; `None` compiles at each start.
        cache: Option<PathBuf>,
    },
    /// `postern gateway --spin` with the component that has all three modules; what it is
    /// configured with is made from the envoy.yaml.
    Spin {
        /// The `postern` binary.
        postern: PathBuf,
        /// The component.
        component: PathBuf,
        /// Folder of compiled components.
        cache: Option<PathBuf>,
    },
}

impl Kind {
    /// The Envoy that `cargo xtask setup` puts below `root`; `POSTERN_ENVOY` names another.
    pub fn envoy(root: &Path) -> Self {
        let installed = || root.join("target/tools/envoy/bin/envoy");
        Self::Envoy { binary: std::env::var_os("POSTERN_ENVOY").map_or_else(installed, Into::into) }
    }

    /// The `postern` beside the program that runs now, which cargo built in the same profile;
    /// `POSTERN_BIN` names another. Compiled modules are kept below `root`.
    pub fn wasmtime(root: &Path) -> Result<Self, RigError> {
        let postern = match std::env::var_os("POSTERN_BIN") {
            Some(path) => path.into(),
            None => std::env::current_exe()
                .map_err(RigError::io("find this program"))?
                .with_file_name("postern"),
        };
        Ok(Self::Wasmtime { postern, cache: Some(root.join("target/tools/wasm-cache")) })
    }

    /// The `postern` of [`Kind::wasmtime`] with the component that `cargo xtask build` makes.
    pub fn spin(root: &Path) -> Result<Self, RigError> {
        let component = root.join("target/plugins/spin-gateway.wasm");
        match Self::wasmtime(root)? {
            Self::Wasmtime { postern, cache } => Ok(Self::Spin { postern, component, cache }),
            other => Ok(other),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Envoy { .. } => "envoy",
            Self::Wasmtime { .. } => "postern gateway",
            Self::Spin { .. } => "postern gateway --spin",
        }
    }

    fn binary(&self) -> Result<&Path, RigError> {
        let (path, command) = match self {
            Self::Envoy { binary } => (binary, "cargo xtask setup".to_owned()),
            Self::Wasmtime { postern, .. } | Self::Spin { postern, .. } => {
                (postern, built_by(postern))
            }
        };
        if path.is_file() {
            return Ok(path);
        }
        Err(RigError::Missing { path: path.clone(), command })
    }
}

/// The command that makes `target/PROFILE/postern`.
fn built_by(postern: &Path) -> String {
    let folder = postern.parent().and_then(Path::file_name).unwrap_or_default();
    let profile = match folder.to_str() {
        None | Some("debug") => String::new(),
        Some(profile) => format!(" --profile {profile}"),
    };
    format!("cargo build -p postern-cli{profile}")
}

/// How a gateway is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub kind: Kind,
    /// Worker threads.
    pub workers: usize,
    /// Listeners and clusters can be changed while it runs, by [`Gateway::change`]. Only Envoy
    /// heeds it.
    pub changes: bool,
    /// It writes what each callback of a module computes, for [`Gateway::trace`]. Only our own
    /// heeds it.
    pub counts: bool,
}

impl Launch {
    /// With one worker, so that nothing depends on which of them takes a connection.
    pub fn new(kind: Kind) -> Self {
        Self { kind, workers: 1, changes: false, counts: false }
    }

    /// Whether listeners and clusters stand in files that are watched.
    pub(super) fn reads_files(&self) -> bool {
        self.changes && matches!(self.kind, Kind::Envoy { .. })
    }

    /// Starts it with `environment` and waits until `/ready` says so.
    pub fn start(
        &self,
        config: &Config,
        environment: &[(String, String)],
    ) -> Result<Gateway, RigError> {
        Gateway::start(self, config, environment)
    }

    /// Has the file read and the modules configured, without serving: the log, as `Ok` when the
    /// gateway takes the file.
    pub fn check(
        &self,
        config: &Config,
        environment: &[(String, String)],
    ) -> Result<Result<String, String>, RigError> {
        let folder = tempfile::tempdir().map_err(RigError::io("temporary folder"))?;
        let mut command = self.command(folder.path(), config, environment)?;
        match self.kind {
            Kind::Envoy { .. } => command.args(["--mode", "validate"]),
            Kind::Wasmtime { .. } | Kind::Spin { .. } => command.arg("--check"),
        };
        let name = self.kind.name();
        let status = command.status().map_err(RigError::io(format!("run {name}")))?;
        let log = log_of(folder.path());
        match status.code() {
            Some(0) => Ok(Ok(log)),
            Some(1) => Ok(Err(log)),
            // Anything else is no verdict about the file.
            _ => Err(RigError::NotReady { what: format!("{name}: {status}"), log: tail(&log) }),
        }
    }

    /// The command that serves; its admin interface's address goes to `admin`.
    pub(super) fn serving(
        &self,
        folder: &Path,
        config: &Config,
        environment: &[(String, String)],
        (node, admin): (&str, &Path),
    ) -> Result<Command, RigError> {
        let workers = self.workers.to_string();
        let mut command = self.command(folder, config, environment)?;
        match self.kind {
            Kind::Envoy { .. } => {
                command.args(["--service-node", node, "--service-cluster", "postern"]);
                command.args(["--drain-time-s", "1", "--concurrency", &workers]);
            }
            Kind::Wasmtime { .. } => {
                command.args(["--node", node, "--drain", "1s", "--workers", &workers]);
                if self.counts {
                    command.args(["--trace=json", "--trace-fuel", "--trace-file"]);
                    command.arg(folder.join(TRACE));
                }
            }
            // It has no admin interface: the address is that of its front.
            Kind::Spin { .. } => {
                command.args(["--drain", "1s", "--workers", &workers, "--address-path"]).arg(admin);
                return Ok(command);
            }
        }
        command.arg("--admin-address-path").arg(admin);
        Ok(command)
    }

    /// What both ways to run have in common. Only the environment given reaches the gateway,
    /// and so its modules.
    fn command(
        &self,
        folder: &Path,
        config: &Config,
        environment: &[(String, String)],
    ) -> Result<Command, RigError> {
        let mut command = Command::new(self.kind.binary()?);
        let create = |name: &str| {
            File::create(folder.join(name)).map_err(RigError::io(format!("create {name}")))
        };
        let config = match self.reads_files() {
            true => &turns::bootstrap(config, folder)?,
            false => config,
        };
        create("envoy.json")?
            .write_all(config.render().as_bytes())
            .map_err(RigError::io("write envoy.json"))?;
        match &self.kind {
            Kind::Envoy { .. } => {
                command.arg("-c").arg(folder.join("envoy.json"));
                command.args(["--use-dynamic-base-id", "--disable-hot-restart"]);
                command.args(["--log-level", "info"]);
            }
            Kind::Wasmtime { cache, .. } => {
                command.args(["gateway", "--config"]).arg(folder.join("envoy.json"));
                match cache {
                    Some(cache) => command.arg("--cache").arg(cache),
                    None => command.arg("--no-cache"),
                };
            }
            Kind::Spin { .. } => {}
        }
        let mut environment = environment.to_vec();
        if let Kind::Spin { component, cache, .. } = &self.kind {
            let made = spin::Application::of(config, component)?;
            create("spin.toml")?
                .write_all(made.manifest.as_bytes())
                .map_err(RigError::io("write spin.toml"))?;
            command.args(["gateway", "--listen", "127.0.0.1:0", "--spin"]);
            command.arg(folder.join("spin.toml")).args(made.args);
            // One instance for all, so that nothing depends on how fast requests follow each other.
            command.args(["--idle-instance-timeout", "10m"]);
            command.args(["--max-instance-reuse-count", "1000000"]);
            match cache {
                Some(cache) => command.arg("--cache").arg(cache),
                None => command.arg("--no-cache"),
            };
            environment = spin::variables(&environment);
        }
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(create("stdout")?).stderr(create("stderr")?);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_command_that_makes_it() {
        let postern = |path: &str| Kind::Wasmtime { postern: path.into(), cache: None };
        for (kind, expected) in [
            (Kind::Envoy { binary: "/no/envoy".into() }, "run `cargo xtask setup`"),
            (postern("/no/debug/postern"), "run `cargo build -p postern-cli`"),
            (postern("/no/release/postern"), "run `cargo build -p postern-cli --profile release`"),
        ] {
            let error = kind.binary().unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
