//! The Envoy process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::Config;
use crate::RigError;
use crate::client::{Request, exchange};
use crate::message::Message;
use crate::wait::until;

/// How long a start may take: compiling three modules takes about a second of CPU.
const START: Duration = Duration::from_secs(60);
const ADMIN: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(5);

/// Where `cargo xtask setup` puts Envoy; `POSTERN_ENVOY` names another.
pub fn binary(root: &Path) -> PathBuf {
    std::env::var_os("POSTERN_ENVOY")
        .map_or_else(|| root.join("target/tools/envoy/bin/envoy"), PathBuf::from)
}

/// A running Envoy.
pub struct Envoy {
    admin: u16,
    folder: tempfile::TempDir,
    keeper: Option<JoinHandle<()>>,
    stop: Option<Sender<()>>,
}

impl Envoy {
    /// Starts Envoy and waits until `/ready` says so.
    pub fn start(
        binary: &Path,
        config: &Config,
        environment: &[(String, String)],
    ) -> Result<Self, RigError> {
        Self::start_workers(binary, config, environment, 1)
    }

    /// The same with more than one worker thread.
    pub fn start_workers(
        binary: &Path,
        config: &Config,
        environment: &[(String, String)],
        workers: usize,
    ) -> Result<Self, RigError> {
        if !binary.exists() {
            return Err(RigError::Missing(binary.to_owned()));
        }
        let folder = tempfile::tempdir().map_err(RigError::io("temporary folder"))?;
        let node = node_id();
        let mut command = command(binary, folder.path(), config, environment)?;
        command.args([
            "--service-node",
            &node,
            "--service-cluster",
            "postern",
            "--concurrency",
            &workers.to_string(),
        ]);
        command.arg("--admin-address-path").arg(folder.path().join("admin"));
        let (stop, stopped) = channel();
        let (started, child) = channel();
        // Envoy gets SIGTERM when the thread that spawned it ends, so one thread keeps it.
        let keeper = std::thread::spawn(move || keep(command, &started, &stopped));
        child.recv().map_err(|_| RigError::Config("keeper thread ended".into()))??;
        let mut envoy = Self { admin: 0, folder, keeper: Some(keeper), stop: Some(stop) };
        envoy.admin = envoy.wait_ready(&node)?;
        Ok(envoy)
    }

    /// Runs `--mode validate`: `Ok` with the log when Envoy takes the file.
    pub fn validate(
        binary: &Path,
        config: &Config,
        environment: &[(String, String)],
    ) -> Result<Result<String, String>, RigError> {
        if !binary.exists() {
            return Err(RigError::Missing(binary.to_owned()));
        }
        let folder = tempfile::tempdir().map_err(RigError::io("temporary folder"))?;
        let mut command = command(binary, folder.path(), config, environment)?;
        let status = command.args(["--mode", "validate"]).status();
        let status = status.map_err(RigError::io("run envoy"))?;
        let log = log_of(folder.path());
        Ok(if status.success() { Ok(log) } else { Err(log) })
    }

    fn wait_ready(&self, node: &str) -> Result<u16, RigError> {
        let mut gone = false;
        let ready = until(START, || {
            gone = self.keeper.as_ref().is_none_or(JoinHandle::is_finished);
            if gone {
                return Some(None);
            }
            let text = std::fs::read_to_string(self.folder.path().join("admin")).ok()?;
            let port = text.rsplit(':').next()?.trim().parse().ok()?;
            let ready = admin_get(port, "/ready").ok()?;
            let info: Value =
                serde_json::from_slice(&admin_get(port, "/server_info").ok()?.content).ok()?;
            (ready.status() == 200 && info["node"]["id"] == node).then_some(Some(port))
        });
        let what = if gone { "envoy ended" } else { "envoy is not ready" };
        ready
            .flatten()
            .ok_or_else(|| RigError::NotReady { what: what.into(), log: tail(&self.log()) })
    }

    /// The port of a listener by its name.
    pub fn port(&self, listener: &str) -> Result<u16, RigError> {
        let answer = self.admin("/listeners?format=json")?;
        let document: Value = serde_json::from_slice(&answer.content)
            .map_err(|error| RigError::Config(error.to_string()))?;
        let statuses = document["listener_statuses"].as_array();
        let port =
            statuses.into_iter().flatten().find(|status| status["name"] == listener).and_then(
                |status| status["local_address"]["socket_address"]["port_value"].as_u64(),
            );
        port.and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| RigError::Config(format!("no listener {listener:?}")))
    }

    /// Asks the admin interface.
    pub fn admin(&self, path: &str) -> Result<Message, RigError> {
        admin_get(self.admin, path).map_err(RigError::io(format!("admin {path}")))
    }

    /// The value of one counter or gauge; `None` when Envoy does not have it.
    pub fn stat(&self, name: &str) -> Option<u64> {
        let answer = self.admin("/stats").ok()?;
        let text = String::from_utf8_lossy(&answer.content).into_owned();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
    }

    /// Everything it wrote: its log, then the access log.
    pub fn log(&self) -> String {
        log_of(self.folder.path())
    }

    /// Asks it to exit and waits for that; what it wrote meanwhile is in the result.
    pub fn stop(mut self) -> String {
        let post = Request::new("POST", "admin", "/quitquitquit").sized("");
        let _ = exchange(self.admin, &post, ADMIN);
        let keeper = self.keeper.as_ref();
        let _ = until(STOP, || keeper.is_none_or(JoinHandle::is_finished).then_some(()));
        self.end();
        self.log()
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.end();
    }
}

fn node_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rig-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Only the environment given reaches Envoy, and so its modules.
fn command(
    binary: &Path,
    folder: &Path,
    config: &Config,
    environment: &[(String, String)],
) -> Result<Command, RigError> {
    let file = folder.join("envoy.json");
    let create = |name: &str| {
        File::create(folder.join(name)).map_err(RigError::io(format!("create {name}")))
    };
    io::Write::write_all(&mut create("envoy.json")?, config.render().as_bytes())
        .map_err(RigError::io("write envoy.json"))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new(binary);
    command.arg("-c").arg(file).args(["--use-dynamic-base-id", "--log-level", "info"]);
    command.args(["--drain-time-s", "1", "--disable-hot-restart"]);
    command.env_clear().env("PATH", path);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(create("stdout")?).stderr(create("stderr")?);
    Ok(command)
}

fn keep(mut command: Command, started: &Sender<Result<(), RigError>>, stop: &Receiver<()>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(RigError::io("start envoy")(error)));
            return;
        }
    };
    let _ = started.send(Ok(()));
    while ended(&mut child).is_none() {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        if stop.recv_timeout(Duration::from_millis(50)) != Err(Timeout) {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
    }
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().ok().flatten()
}

fn admin_get(port: u16, path: &str) -> io::Result<Message> {
    let answer = exchange(port, &Request::new("GET", "admin", path), ADMIN)?;
    answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn log_of(folder: &Path) -> String {
    let read = |name| std::fs::read(folder.join(name)).unwrap_or_default();
    let (log, access) = (read("stderr"), read("stdout"));
    format!("{}{}", String::from_utf8_lossy(&log), String::from_utf8_lossy(&access))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}
