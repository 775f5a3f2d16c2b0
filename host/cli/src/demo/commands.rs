//! Runs this program's own commands, as a user would.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_rig::wait::until;

use crate::failure::{Failure, Outcome, Sort};

/// How long the key service may take to start.
const START: Duration = Duration::from_secs(30);

/// The commands of one demonstration.
pub struct Commands {
    program: PathBuf,
    /// Where everything is kept.
    pub folder: PathBuf,
}

/// How a command ended.
pub struct Ended {
    /// Exit code.
    pub code: u16,
    /// Its result.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
}

impl Ended {
    /// Both, as a terminal would show them.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// An error unless it ended with 0.
    pub fn good(self, what: &str) -> Outcome<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        Err(Failure::environment(format_args!("{what}: {}", self.stderr.trim())))
    }
}

impl Commands {
    /// Commands of this very program, with `folder` as the place of files.
    pub fn new(folder: &Path) -> Outcome<Self> {
        let program = std::env::current_exe().or_environment("cannot find this program")?;
        Ok(Self { program, folder: folder.to_owned() })
    }

    /// Runs `postern ARGS…` with `input` on stdin.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Outcome<Ended> {
        let mut child = self.command(args).spawn().or_environment("cannot start postern")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input has closed it, which is not our error.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().or_environment("cannot run postern")?;
        let code = output.status.code().and_then(|code| u16::try_from(code).ok());
        Ok(Ended {
            code: code.ok_or_else(|| Failure::bug("a command was ended by a signal"))?,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.folder);
        command.env("POSTERN_OPERATOR", self.folder.join("gateway/operator.json"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts `postern keys serve` and waits until it says where it listens.
    pub fn key_service(&self) -> Outcome<KeyService> {
        let url = self.folder.join("keys/url");
        let _ = std::fs::remove_file(&url);
        let log = self.folder.join("keys.log");
        let create = |path: &Path| std::fs::File::create(path).or_environment(path.display());
        let mut command =
            self.command(&["keys", "serve", "--config", "keys.yaml", "--while-stdin"]);
        command.stdout(create(&self.folder.join("keys.out"))?).stderr(create(&log)?);
        let child = command.spawn().or_environment("cannot start postern keys serve")?;
        let mut service = KeyService { child, url: String::new(), log };
        let said = until(START, || {
            let ended = service.child.try_wait().ok().flatten().is_some();
            let text = std::fs::read_to_string(&url).ok().filter(|text| !text.is_empty());
            (ended || text.is_some()).then_some(text)
        });
        let text = said.flatten().ok_or_else(|| {
            Failure::environment(format_args!("the key service does not start: {}", service.log()))
        })?;
        service.url = text;
        Ok(service)
    }
}

/// A running key service; ended when dropped.
pub struct KeyService {
    child: Child,
    /// Where it listens.
    pub url: String,
    log: PathBuf,
}

impl KeyService {
    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its port.
    pub fn port(&self) -> Outcome<u16> {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        port.ok_or_else(|| Failure::bug("the key service's address has no port"))
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        // No chance to finish anything: the demonstration shows an outage, not a goodbye.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
