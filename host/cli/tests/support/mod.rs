//! A key service on 127.0.0.1 and an operator of it, by the commands of a user.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::Value;

pub struct Day {
    pub folder: tempfile::TempDir,
    pub service: Child,
}

impl Drop for Day {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(args).current_dir(folder).env("POSTERN_OPERATOR", "gateway/operator.json");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Day {
    /// Starts the service and enrols a gateway.
    pub fn begin() -> Self {
        Self::begin_as(|folder| command(folder, SERVE))
    }

    /// The same, with the service as another command.
    pub fn begin_as(serve: impl Fn(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = started(folder.path(), serve(folder.path()));
        let day = Self { folder, service };
        let args =
            ["enrol", "--local", "--data-dir", "keys", "--out", "gateway", "--tenant", "acme"];
        let (code, stdout, stderr) = day.run(&args, "");
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert!(stderr.contains("SIMULATED"), "{stderr}");
        day
    }

    /// Kills the service, starts it again, and tells the operator where it is now.
    pub fn killed_and_started_again(&mut self) {
        self.killed_and_started_as(SERVE);
    }

    /// The same, by another command over the same folder.
    pub fn killed_and_started_as(&mut self, serve: &[&str]) {
        self.service.kill().unwrap();
        self.service.wait().unwrap();
        self.service = started(self.folder.path(), command(self.folder.path(), serve));
        let file = self.path("gateway/operator.json");
        let mut operator: Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        operator["url"] = std::fs::read_to_string(self.path("keys/url")).unwrap().into();
        postern_files::write_private(file, operator.to_string().as_bytes()).unwrap();
    }

    /// Creates keys until the service refuses or is gone; those it has acknowledged.
    pub fn create_until_it_fails(&self, progress: &AtomicUsize) -> Vec<String> {
        let mut acknowledged = Vec::new();
        for user in 0..500 {
            let user = format!("user-{user}");
            let args = ["apikey", "create", "--user", &user, "--organisation", "acme"];
            let (code, stdout, _) = self.run(&[&args[..], &["--agent", "bot"]].concat(), "");
            if code != 0 {
                return acknowledged;
            }
            acknowledged.push(format!("\"user\":\"{user}\""));
            assert!(!stdout.is_empty());
            progress.fetch_add(1, Ordering::SeqCst);
        }
        panic!("the service does not fail");
    }

    /// The log is whole, and has an event with each of these texts.
    pub fn has_recorded(&self, texts: &[String]) {
        self.good(&["audit", "export", "--out", "b.jsonl", "--key-out", "b.pub"], "");
        let report = self.json(&["audit", "verify", "b.jsonl", "--key", "b.pub"]);
        assert_eq!(report["good"], true);
        let chain = std::fs::read_to_string(self.path("b.jsonl")).unwrap();
        let events = chain.lines().skip(1).map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            String::from_utf8(B64.decode(line["bytes"].as_str().unwrap()).unwrap()).unwrap()
        });
        let events = events.collect::<Vec<_>>().join("\n");
        for text in texts {
            assert!(events.contains(text), "{text} was acknowledged and is not in the log");
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut child = command(self.folder.path(), args).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    pub fn good(&self, args: &[&str], input: &str) -> String {
        let (code, stdout, stderr) = self.run(args, input);
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
        stdout
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.good(&[args, &["--json"]].concat(), "")).unwrap()
    }
}

pub const SERVE: &[&str] = &["keys", "serve", "--data-dir", "keys", "--while-stdin"];

/// The service, once it says where it is.
pub fn started(folder: &Path, mut serve: Command) -> Child {
    let url = folder.join("keys/url");
    let _ = std::fs::remove_file(&url);
    let service = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let up = postern_rig::wait::until(Duration::from_secs(30), || url.exists().then_some(()));
    assert!(up.is_some(), "the key service does not start");
    service
}
