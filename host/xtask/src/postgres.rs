//! PostgreSQL for tests: the system's programs, or Debian's packages laid out below
//! target/tools without installing them.
//!
//! Invariant: no cluster of the system is made, started or touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::run::{Failure, quiet};
use crate::workspace;

/// Names the folder of `postgres` and `initdb` to whoever starts a server.
pub const VARIABLE: &str = "POSTERN_POSTGRES";
/// The oldest version that the key service is written for.
const OLDEST: u32 = 15;
/// Below `usr/lib` in Debian's packages and in the system: a folder for each version.
const VERSIONS: &str = "usr/lib/postgresql";

/// The folder of PostgreSQL's programs.
pub fn programs() -> Result<PathBuf> {
    let home = workspace::tools().join("postgres");
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    if let Some(found) = named.or_else(|| newest(Path::new("/"))).or_else(|| newest(&home)) {
        return Ok(found);
    }
    eprintln!("setup: laying out PostgreSQL in {}", home.display());
    lay_out(&home).map_err(|why| {
        let instead = format!("install version {OLDEST} or later, or name its programs' folder");
        Failure::environment(format!("no PostgreSQL: {instead} by {VARIABLE} ({why})"))
    })?;
    newest(&home).ok_or_else(|| Failure::environment("PostgreSQL does not run as it was laid out"))
}

/// What the package needs and the system lacks comes with it.
fn lay_out(home: &Path) -> Result<(), String> {
    let archives = home.join("archives");
    std::fs::create_dir_all(archives.join("partial")).map_err(|error| error.to_string())?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--download-only", "--no-install-recommends", "postgresql"]);
    apt.arg("--option").arg(format!("Dir::Cache::archives={}", archives.display()));
    apt.args(["--option", "Debug::NoLocking=1"]).env("DEBIAN_FRONTEND", "noninteractive");
    // Lists may be old or missing; who is not root takes them as they are.
    let _ = quiet(Command::new("apt-get").arg("update"));
    quiet(&mut apt)?;
    let unpack = "for package in archives/*.deb; do dpkg -x \"$package\" . || exit 1; done";
    quiet(Command::new("sh").args(["-c", unpack]).current_dir(home)).map(drop)
}

/// The programs of the newest version below `root` that runs.
fn newest(root: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(root.join(VERSIONS)).ok()?.flatten();
    let numbered = |entry: std::fs::DirEntry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin"))).filter(|(version, _)| *version >= OLDEST)
    };
    let mut found: Vec<(u32, PathBuf)> = folders.filter_map(numbered).collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).find(|folder| runs(root, folder))
}

fn runs(root: &Path, folder: &Path) -> bool {
    ["postgres", "initdb", "pg_dump"].iter().all(|program| {
        let mut command = Command::new(folder.join(program));
        if root != Path::new("/") {
            command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
        }
        quiet(command.arg("--version")).is_ok()
    })
}
