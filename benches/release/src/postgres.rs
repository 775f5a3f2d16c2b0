//! A PostgreSQL server of the measurement's own, in a temporary folder on a unix socket, with
//! the durability that it has by default: a commit is on the disk.
//!
//! Invariant: it ends with this program, by its pid.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postern_keys::config::{Database, Postgres, Server};
use postern_keys::store::schema::{self, Ask};
use sqlx::{AnyConnection, Connection, Executor};
use tempfile::TempDir;

const SUPERUSER: &str = "postern_super";
const OWNER: &str = "postern_owner";
const SERVICE: &str = "postern_service";
const NAME: &str = "postern";
/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
/// Of each replica, as in `keys.postgres.example.yaml`.
const CONNECTIONS: u32 = 8;

/// Ends the server when its own input ends.
const WARDEN: &str = r#""$@" & pid=$!; cat > /dev/null; kill -INT $pid; wait $pid"#;

/// The server.
pub struct Cluster {
    warden: Child,
    folder: TempDir,
}

impl Cluster {
    /// Starts one with the programs in `programs` and prepares the schema.
    pub fn start(programs: &Path, runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        if is_root()? {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let mut init = program(programs, "initdb")?;
        init.args(["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        init.arg("--no-instructions").arg("--pgdata").arg(folder.path().join("data"));
        let done = init.current_dir(folder.path()).output()?;
        ensure!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
        let server = program(programs, "postgres")?;
        let mut warden = Command::new("sh");
        warden.args(["-c", WARDEN, "warden"]).arg(server.get_program());
        warden.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        warden.arg("-D").arg(folder.path().join("data")).arg("-k").arg(folder.path());
        warden.args(["-c", "listen_addresses=", "-c", "log_min_messages=fatal"]);
        if is_root()? {
            warden.uid(NOBODY).gid(NOBODY);
        }
        warden.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let warden = warden.current_dir(folder.path()).spawn()?;
        let cluster = Self { warden, folder };
        runtime.block_on(cluster.prepare())?;
        Ok(cluster)
    }

    async fn prepare(&self) -> Result<()> {
        sqlx::any::install_default_drivers();
        let begun = Instant::now();
        let folder = self.folder.path().display();
        let url = format!("postgres://{SUPERUSER}@localhost:5432/postgres?host={folder}");
        let mut db = loop {
            match AnyConnection::connect(&format!("{url}&sslmode=disable")).await {
                Ok(db) => break db,
                Err(error) if begun.elapsed() > Duration::from_secs(30) => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        for statement in [
            "CREATE ROLE postern_owner LOGIN",
            "CREATE ROLE postern_service LOGIN",
            "CREATE DATABASE postern OWNER postern_owner",
        ] {
            db.execute(statement).await?;
        }
        db.close().await?;
        let ask = Ask { owner: Some((OWNER.to_owned(), None)), ..Ask::default() };
        schema::migrate(&self.database(), &ask).await?;
        Ok(())
    }

    /// As the service comes to it.
    pub fn database(&self) -> Database {
        Database::Postgres(Postgres {
            user: SERVICE.to_owned(),
            server: Server::Socket { folder: self.folder.path().to_owned(), port: 5432 },
            name: NAME.to_owned(),
            password_file: None,
            ca: None,
            connections: CONNECTIONS,
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

/// A program of PostgreSQL's, as somebody that it runs for.
fn program(programs: &Path, name: &str) -> Result<Command> {
    let path: PathBuf = programs.join(name);
    if !path.exists() {
        bail!("no {}", path.display());
    }
    let mut command = Command::new(path);
    // Laid out below target/tools, they bring their libraries.
    if !programs.starts_with("/usr/lib") {
        let root = programs.ancestors().nth(5).context("folder of PostgreSQL's programs")?;
        command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    }
    if is_root()? {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}
