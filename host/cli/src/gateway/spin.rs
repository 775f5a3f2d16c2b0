//! `postern gateway --spin`: an application of Spin on our host for its interfaces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_spin_host::{Application, Error, Options, Prepared, Reuse, Running};
use serde_json::json;

use super::Variables;
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::span;

/// Largest file of certificates.
const MAX_FILE: usize = 1 << 20;

/// Arguments that are about an application of Spin.
#[derive(clap::Args)]
pub struct SpinArgs {
    /// Run the application of this spin.toml instead of an Envoy's file.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    spin: Option<PathBuf>,
    /// With --spin: where to listen, on loopback.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000", requires = "spin")]
    listen: SocketAddr,
    /// With --spin: believe these authorities of certificates too (PEM).
    #[arg(long, value_name = "FILE", requires = "spin")]
    trust: Vec<PathBuf>,
    /// With --spin: connect to another address for a host and port, as curl does.
    #[arg(
        long,
        value_name = "HOST:PORT=ADDRESS",
        requires = "spin",
        value_parser = elsewhere
    )]
    connect_to: Vec<((String, u16), SocketAddr)>,
    /// With --spin: an instance without a request ends after this.
    #[arg(
        long,
        value_name = "SPAN",
        default_value = "1s",
        requires = "spin",
        value_parser = span::parse
    )]
    idle_instance_timeout: Duration,
    /// With --spin: requests of one instance.
    #[arg(long, value_name = "N", default_value = "128", requires = "spin")]
    max_instance_reuse_count: usize,
    /// With --spin: write the address it listens on to this file once it serves.
    #[arg(long, value_name = "FILE", requires = "spin")]
    address_path: Option<PathBuf>,
}

impl SpinArgs {
    /// The manifest.
    pub fn file(&self) -> &Path {
        self.spin.as_deref().unwrap_or(Path::new("spin.toml"))
    }

    /// Reads the manifest and compiles its components.
    pub fn prepare(&self, variables: &Variables, cache: Option<PathBuf>) -> Outcome<Prepared> {
        let application = Application::read(self.file()).map_err(failed)?;
        let mut trust = Vec::new();
        for file in &self.trust {
            trust
                .extend(postern_files::read_bounded(file, MAX_FILE).or_environment("cannot read")?);
            trust.push(b'\n');
        }
        let elsewhere: BTreeMap<_, _> = self.connect_to.iter().cloned().collect();
        let reuse =
            Reuse { idle: self.idle_instance_timeout, requests: self.max_instance_reuse_count };
        let options = Options { listen: self.listen, trust, elsewhere, reuse, cache };
        let given = |name: &str| variables.value(name);
        postern_spin_host::prepare(&application, &options, given).map_err(failed)
    }

    /// Says that it would run.
    pub fn good(&self, out: Output) -> Outcome {
        let file = self.file().display().to_string();
        out.result(&json!({"good": true, "file": file}), &format!("{file}: good"))
    }

    /// Serves, and says so.
    pub async fn start(&self, prepared: Prepared, out: Output) -> Outcome<Running> {
        let running = postern_spin_host::start(prepared).await.map_err(failed)?;
        let address = running.address().to_string();
        if let Some(file) = &self.address_path {
            postern_files::write_atomic(file, address.as_bytes()).or_environment("cannot write")?;
        }
        let file = self.file().display();
        match out.json {
            true => eprintln!("{}", json!({"message": "serving", "address": address})),
            false => out.note(&format!("{file}: serving on http://{address}")),
        }
        Ok(running)
    }
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Manifest(_) | Error::Component { .. } => Failure::found(error),
        Error::Environment(_) => Failure::environment(error),
    }
}

fn elsewhere(text: &str) -> Result<((String, u16), SocketAddr), String> {
    let read = || {
        let (from, to) = text.split_once('=')?;
        let (host, port) = from.rsplit_once(':')?;
        Some(((host.to_ascii_lowercase(), port.parse().ok()?), to.parse().ok()?))
    };
    read().ok_or_else(|| "expected HOST:PORT=ADDRESS:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_go_elsewhere() {
        let address: SocketAddr = "127.0.0.1:9000".parse().unwrap();
        let wanted = (("slack.com".to_owned(), 443), address);
        assert_eq!(elsewhere("Slack.com:443=127.0.0.1:9000"), Ok(wanted));
        for bad in ["", "slack.com=127.0.0.1:1", "slack.com:443=localhost:1", "a:443"] {
            assert!(elsewhere(bad).is_err(), "{bad}");
        }
    }
}
