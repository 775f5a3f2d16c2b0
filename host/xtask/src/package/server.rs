//! Debian's `docker-registry` on a port of this machine, while a test needs it.
//!
//! Invariant: it ends with the value that started it, and keeps what it has in a folder that the
//! caller names.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run::Failure;
use crate::setup;

/// Longest wait for its first words.
const PATIENCE: Duration = Duration::from_secs(20);
const LISTENING: &str = "listening on ";

/// A registry that runs.
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts one with an empty store in `home`.
    pub fn start(home: &Path) -> Result<Self> {
        let program = setup::registry()?;
        let file = home.join("registry.yml");
        let store = home.join("store");
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            store.display().to_string()
        );
        postern_files::write_atomic(&file, config.as_bytes())?;
        let mut command = Command::new(&program);
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("OTEL_TRACES_EXPORTER", "none").stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| program.display().to_string())?;
        let stderr = child.stderr.take().context("a pipe")?;
        let (said, hear) = mpsc::channel();
        // It is read to its end: a registry that cannot write what it logs stops.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let mut server = Self { child, address: String::new() };
        let mut last = String::new();
        while let Ok(line) = hear.recv_timeout(PATIENCE) {
            if let Some(address) = address(&line) {
                server.address = address.to_owned();
                return Ok(server);
            }
            last = line;
        }
        Err(Failure::environment(format!("{} does not serve: {last}", program.display())))
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of `… msg="listening on 127.0.0.1:40833" …`.
fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(LISTENING)?;
    Some(rest.split(['"', ' ', ',']).next()?).filter(|address| address.starts_with("127."))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_address_is_read_from_the_log() {
        let line = "time=\"x\" level=info msg=\"listening on 127.0.0.1:40833\" go.version=go1.19";
        assert_eq!(address(line), Some("127.0.0.1:40833"));
        assert_eq!(address("msg=\"redis not configured\""), None);
    }
}
