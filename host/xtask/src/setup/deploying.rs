//! What the files below `deploy` are tried with: Helm's engine, Kubernetes' and other schemas,
//! and Prometheus' own checker.
//!
//! Invariant: only what is used is kept; the packages hold each library three times and the
//! schemas of 25 versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{from_npm, is_root, python};
use crate::run::{Failure, quiet};
use crate::workspace;

/// Wheels, and what of them is kept. Their authors ask for a newer Python than is needed.
const WHEELS: [(&str, &str); 2] = [
    // Helm 4.2.3 as a library.
    ("helm-python-sdk==0.2.2", r"helm_python/([^/]*\.py|lib/libhelm_c\.so)"),
    ("kubernetes-validate==1.37.0", r".*/v1\.37\.0-local-strict/.*"),
];
const YAML: &str = "PyYAML==6.0.4";
const UNPACK: &str = "import re, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    kept = [name for name in wheel.namelist() if re.fullmatch(sys.argv[2], name)]
    assert kept, sys.argv
    wheel.extractall(sys.argv[3], kept)";

/// Where each part is.
pub struct Deploying {
    /// A folder for Python's path.
    pub python: PathBuf,
    /// The folder of npm's packages.
    pub npm: PathBuf,
    /// Debian's `promtool`.
    pub promtool: PathBuf,
}

/// All of it, laid out in target/tools.
pub fn deploying() -> Result<Deploying> {
    let promtool = promtool()?;
    Ok(Deploying { python: wheels()?, npm: from_npm("kubernetes")?, promtool })
}

fn failed(why: String) -> anyhow::Error {
    Failure::environment(format!("cannot lay out what deployments are tried with: {why}"))
}

fn wheels() -> Result<PathBuf> {
    let home = workspace::tools().join("deploying");
    let names: Vec<&str> = WHEELS.iter().map(|(name, _)| *name).chain([YAML]).collect();
    let (stamp, wanted) = (home.join("stamp"), names.join("\n"));
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(home);
    }
    eprintln!("setup: laying out {} in {}", names.join(", "), home.display());
    std::fs::create_dir_all(&home)?;
    let python = python()?;
    for (name, kept) in WHEELS {
        wheel(&python, &home, name, kept)?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]);
    quiet(pip.arg(&home).arg(YAML)).map_err(failed)?;
    postern_files::write_atomic(stamp, wanted.as_bytes())?;
    Ok(home)
}

fn wheel(python: &Path, home: &Path, name: &str, kept: &str) -> Result<()> {
    let folder = home.join("wheel");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--python-version", "3.14", "--platform", "manylinux_2_28_x86_64"]);
    quiet(pip.arg(name).arg("--dest").arg(&folder)).map_err(failed)?;
    for file in std::fs::read_dir(&folder)? {
        let mut unpack = Command::new(python);
        unpack.args(["-c", UNPACK]).arg(file?.path()).arg(kept).arg(home);
        quiet(&mut unpack).map_err(failed)?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// The system's, or the one of Debian's package `prometheus`, which is not installed.
fn promtool() -> Result<PathBuf> {
    let home = workspace::tools().join("prometheus");
    let places = [home.join("usr/bin/promtool"), PathBuf::from("/usr/bin/promtool")];
    let runs = |place: &&PathBuf| quiet(Command::new(place).arg("--version")).is_ok();
    if let Some(found) = places.iter().find(runs) {
        return Ok(found.clone());
    }
    eprintln!("setup: laying out promtool in {}", home.display());
    let step = |command: &mut Command| quiet(command.current_dir(&home)).map_err(failed);
    std::fs::create_dir_all(&home)?;
    if is_root() {
        step(Command::new("apt-get").arg("update"))?;
    }
    step(Command::new("apt-get").args(["download", "prometheus"]))?;
    let unpack = "dpkg --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool";
    step(Command::new("sh").args(["-c", unpack]))?;
    step(Command::new("sh").args(["-c", "rm prometheus_*.deb"]))?;
    let [laid_out, _] = places;
    step(Command::new(&laid_out).arg("--version"))?;
    Ok(laid_out)
}
