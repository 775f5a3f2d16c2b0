//! A real nginx as an upstream, in a folder of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::RigError;
use crate::wait::until;

const START: Duration = Duration::from_secs(10);
/// 2027-01-15 08:00:00 UTC, so that validators are the same wherever a file is served.
const MODIFIED: Duration = Duration::from_secs(1_800_000_000);

/// A running nginx.
pub struct Nginx {
    child: Child,
    port: u16,
    /// Holds its files until it has ended.
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// The binary: `POSTERN_NGINX`, else what `cargo xtask setup` has put below `root`, else the
    /// system's.
    pub fn binary(root: &Path) -> Result<PathBuf, RigError> {
        let installed = root.join("target/tools/nginx/usr/sbin/nginx");
        let named = std::env::var_os("POSTERN_NGINX").map(PathBuf::from);
        let places = named.into_iter().chain([installed.clone(), "/usr/sbin/nginx".into()]);
        let mut found = places.filter(|place| place.is_file());
        found
            .next()
            .ok_or(RigError::Missing { path: installed, command: "cargo xtask setup".into() })
    }

    /// Serves `files` (names and contents), and what `locations` says in nginx's words.
    pub fn start(
        binary: &Path,
        files: &[(&str, &[u8])],
        locations: &str,
    ) -> Result<Self, RigError> {
        let folder = tempfile::tempdir().map_err(RigError::io("temporary folder"))?;
        let port = free_port().map_err(RigError::io("a free port"))?;
        let config = configuration(port, locations);
        write(&folder.path().join("nginx.conf"), config.as_bytes())?;
        std::fs::create_dir(folder.path().join("www")).map_err(RigError::io("a folder"))?;
        for (name, content) in files {
            write(&folder.path().join("www").join(name), content)?;
        }
        let mut command = Command::new(binary);
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.spawn().map_err(RigError::io(binary.display().to_string()))?;
        let mut nginx = Self { child, port, _folder: folder };
        nginx.wait_ready()?;
        Ok(nginx)
    }

    fn wait_ready(&mut self) -> Result<(), RigError> {
        let ready = until(START, || {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Some(false);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok().map(|_| true)
        });
        if ready == Some(true) {
            return Ok(());
        }
        let log = std::fs::read_to_string(self._folder.path().join("error.log"));
        let (what, log) = ("nginx is not ready".to_owned(), log.unwrap_or_default());
        Err(RigError::NotReady { what, log })
    }

    /// Where it listens on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody may take it in between; then nginx does not get ready, and says so.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RigError> {
    let written = postern_files::write_atomic(path, bytes).and_then(|()| {
        let file = std::fs::File::options().write(true).open(path)?;
        file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED)
    });
    written.map_err(RigError::io(path.display().to_string()))
}

fn configuration(port: u16, locations: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log;
        events {{ worker_connections 512; }}
        http {{
            access_log off; default_type text/plain; server_tokens off; absolute_redirect off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            gzip on; gzip_min_length 1; gzip_types text/plain; gzip_proxied any; gzip_vary on;
            server {{ listen 127.0.0.1:{port}; root www; {locations} }}
        }}"
    )
}
