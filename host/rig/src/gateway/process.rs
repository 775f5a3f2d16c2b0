//! The process of a gateway, and its admin interface.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::{Config, Kind, Launch, turns};
use crate::RigError;
use crate::client::{Request, exchange};
use crate::message::Message;
use crate::wait::until;

/// How long a start may take: compiling three modules takes about a second of CPU.
const START: Duration = Duration::from_secs(60);
const ADMIN: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(5);

/// The file of its trace, in its folder.
pub(super) const TRACE: &str = "trace.jsonl";

/// What the admin interface of Envoy shows; our own has some of it.
const PAGES: [&str; 7] = [
    "/certs",
    "/clusters",
    "/config_dump?include_eds",
    "/listeners",
    "/server_info",
    "/stats",
    "/stats/prometheus",
];

/// A running gateway.
pub struct Gateway {
    kind: Kind,
    pid: u32,
    admin: u16,
    /// How often its configuration was changed; `None` when it cannot be.
    turn: Option<u32>,
    folder: tempfile::TempDir,
    keeper: Option<JoinHandle<Option<ExitStatus>>>,
    stop: Option<Sender<()>>,
}

impl Gateway {
    pub(super) fn start(
        launch: &Launch,
        config: &Config,
        environment: &[(String, String)],
    ) -> Result<Self, RigError> {
        let folder = tempfile::tempdir().map_err(RigError::io("temporary folder"))?;
        let node = node_id();
        let admin = folder.path().join("admin");
        let command = launch.serving(folder.path(), config, environment, (&node, &admin))?;
        let (stop, stopped) = channel();
        let (started, child) = channel();
        // Envoy gets SIGTERM when the thread that spawned it ends, so one thread keeps it.
        let keeper = std::thread::spawn(move || keep(command, &started, &stopped));
        let pid = child.recv().map_err(|_| RigError::Config("keeper thread ended".into()))??;
        let (keeper, stop, kind) = (Some(keeper), Some(stop), launch.kind.clone());
        let turn = launch.reads_files().then_some(0);
        let mut gateway = Self { kind, pid, admin: 0, turn, folder, keeper, stop };
        gateway.admin = gateway.wait_ready(&node)?;
        Ok(gateway)
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
            if let Kind::Spin { .. } = self.kind {
                return Some(Some(port));
            }
            let ready = admin_get(port, "/ready").ok()?;
            let info: Value =
                serde_json::from_slice(&admin_get(port, "/server_info").ok()?.content).ok()?;
            (ready.status() == 200 && info["node"]["id"] == node).then_some(Some(port))
        });
        let end = if gone { "ended" } else { "is not ready" };
        ready.flatten().ok_or_else(|| RigError::NotReady {
            what: format!("{} {end}", self.kind.name()),
            log: tail(&self.log()),
        })
    }

    /// Whether its configuration can be changed.
    pub fn changes(&self) -> bool {
        self.turn.is_some()
    }

    /// Puts the listeners and clusters of `config` in the place of those that it serves.
    ///
    /// # Errors
    /// When it refuses them, or was not launched with [`Launch::changes`].
    pub fn change(&mut self, config: &Config) -> Result<(), RigError> {
        let fixed = || RigError::Config(format!("{}: cannot be changed", self.kind.name()));
        let turn = self.turn.ok_or_else(fixed)?.saturating_add(1);
        turns::change(self, self.folder.path(), config, turn)?;
        self.turn = Some(turn);
        Ok(())
    }

    /// Its process id, to look at what it uses.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The port of a listener by its name.
    pub fn port(&self, listener: &str) -> Result<u16, RigError> {
        if let Kind::Spin { .. } = self.kind {
            return Ok(self.admin);
        }
        let answer = self.admin("/listeners?format=json")?;
        let document: Value = serde_json::from_slice(&answer.content)
            .map_err(|error| RigError::Config(error.to_string()))?;
        let statuses = document["listener_statuses"].as_array();
        let name = turns::name(listener, self.turn.unwrap_or_default());
        let port =
            statuses.into_iter().flatten().find(|status| status["name"] == name).and_then(
                |status| status["local_address"]["socket_address"]["port_value"].as_u64(),
            );
        port.and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| RigError::Config(format!("no listener {listener:?}")))
    }

    /// Asks the admin interface.
    pub fn admin(&self, path: &str) -> Result<Message, RigError> {
        if let Kind::Spin { .. } = self.kind {
            return Err(RigError::Config(format!("{}: no admin interface", self.kind.name())));
        }
        admin_get(self.admin, path).map_err(RigError::io(format!("admin {path}")))
    }

    /// Everything that can be read at the admin interface, by path.
    pub fn pages(&self) -> Result<Vec<(String, Vec<u8>)>, RigError> {
        let mut pages = Vec::new();
        if let Kind::Spin { .. } = self.kind {
            return Ok(pages);
        }
        for path in PAGES {
            let answer = self.admin(path)?;
            match answer.status() {
                200 => pages.push((path.to_owned(), answer.content)),
                404 if matches!(self.kind, Kind::Wasmtime { .. }) => {}
                status => return Err(RigError::Config(format!("admin {path}: {status}"))),
            }
        }
        Ok(pages)
    }

    /// The value of one counter or gauge; `None` when the gateway does not have it.
    pub fn stat(&self, name: &str) -> Option<u64> {
        let answer = self.admin("/stats").ok()?;
        let text = String::from_utf8_lossy(&answer.content).into_owned();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
    }

    /// Everything it wrote: its log, then the access log.
    pub fn log(&self) -> String {
        log_of(self.folder.path())
    }

    /// The callbacks of its modules, one object each ([`Launch::counts`]).
    ///
    /// # Errors
    /// When there is no trace, or a line of it is no object.
    pub fn trace(&self) -> Result<Vec<Value>, RigError> {
        let text = std::fs::read_to_string(self.folder.path().join(TRACE));
        let text = text.map_err(RigError::io("read the trace"))?;
        let line = |line| serde_json::from_str(line).map_err(|e| RigError::Config(e.to_string()));
        text.lines().map(line).collect()
    }

    /// What its log has from byte `at` on, access log excluded.
    pub fn log_from(&self, at: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.folder.path().join("stderr")) {
            let _ = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_to_end(&mut bytes));
        }
        bytes
    }

    /// Asks it at its admin interface to exit.
    pub fn quit(&self) {
        if let Kind::Spin { .. } = self.kind {
            let _ = self.terminate();
            return;
        }
        let post = Request::new("POST", "admin", "/quitquitquit").sized("");
        let _ = exchange(self.admin, &post, ADMIN);
    }

    /// Asks it to exit by SIGTERM, as a supervisor does.
    pub fn terminate(&self) -> Result<(), RigError> {
        let pid = self.pid.to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        sent.map(drop).map_err(RigError::io("send SIGTERM"))
    }

    /// Asks it to exit and waits for that; what it wrote meanwhile is in the result.
    pub fn stop(self) -> String {
        self.quit();
        self.ended().1
    }

    /// Waits until it has exited: its exit code, `None` when it had to be killed, and
    /// everything it wrote.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let keeper = self.keeper.as_ref();
        let _ = until(STOP, || keeper.is_none_or(JoinHandle::is_finished).then_some(()));
        let status = self.end();
        (status.and_then(|status| status.code()), self.log())
    }

    fn end(&mut self) -> Option<ExitStatus> {
        drop(self.stop.take());
        self.keeper.take().and_then(|keeper| keeper.join().ok()?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end();
    }
}

fn node_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rig-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// How it ended; `None` when it was killed.
fn keep(
    mut command: Command,
    started: &Sender<Result<u32, RigError>>,
    stop: &Receiver<()>,
) -> Option<ExitStatus> {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(RigError::io("start the gateway")(error)));
            return None;
        }
    };
    let _ = started.send(Ok(child.id()));
    loop {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        if let Some(status) = ended(&mut child) {
            return Some(status);
        }
        if stop.recv_timeout(Duration::from_millis(50)) != Err(Timeout) {
            let _ = child.kill();
            let _ = child.wait();
            return None;
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

pub(super) fn log_of(folder: &Path) -> String {
    let read = |name| std::fs::read(folder.join(name)).unwrap_or_default();
    let (log, access) = (read("stderr"), read("stdout"));
    format!("{}{}", String::from_utf8_lossy(&log), String::from_utf8_lossy(&access))
}

pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}
