//! The key service in a process of its own: this program again, as `serve FILE`.
//!
//! What it runs is what `postern keys serve` runs; so nothing but the service has to be built
//! to measure it. Invariant: it ends with whoever started it, when its input does.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postern_keys::{Config, Service, http};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clock ticks a second of `/proc/PID/stat`; fixed for user space on Linux.
const TICKS: f64 = 100.0;

/// Serves the configuration in `file` until standard input ends.
pub fn serve(file: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = Config::load(file)?;
        let service = Service::open(&config, http::now()).await?;
        let running = http::start(service, &config).await?;
        let address = running.address().to_string();
        postern_files::write_atomic(written(file), address.as_bytes())?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        running.stop().await;
        Ok(())
    })
}

/// Where a server says at which address it listens.
fn written(file: &Path) -> PathBuf {
    file.with_extension("address")
}

/// A running one.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts one with the configuration in `file`.
    pub fn start(file: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(file).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(text) = std::fs::read_to_string(written(file)) {
                return Ok(Self { child, address: text.parse()? });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the key service ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill()?;
        bail!("the key service does not start")
    }

    /// Processor time that it has had, in seconds.
    pub fn processor_time(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold spaces.
        let rest = text.rsplit_once(')').context("stat")?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        Ok((ticks(11).context("utime")? + ticks(12).context("stime")?) / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
