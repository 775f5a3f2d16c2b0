//! Builds the modules that ship as WebAssembly.
//!
//! Guest flags live here and nowhere else, so that host builds never see them.
//! Invariant: no path of this machine gets into a module, so that the same commit and the same
//! compiler give the same bytes elsewhere (`cargo xtask package --verify`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::run::{Failure, quiet, shown};
use crate::setup::{self, TARGET, Toolchain};
use crate::workspace;

/// The modules, in the order in which a request meets them.
pub const MODULES: [&str; 3] = ["gate", "credential", "audit"];
/// The component for Spin: its package, its file and its name.
const COMPONENT: [&str; 3] = ["postern-spin-gateway", "postern_spin_gateway", "spin-gateway"];
/// Modules that only the comparison of the gateways runs, by folder of `tests/conformance/plugins`.
const CONFORMANCE: [&str; 3] = ["busy", "getters", "probe"];
/// The profile of what ships.
const SHIPPED: &str = "wasm";
/// One whose modules are only looked at.
const QUICK: &str = "wasm-quick";
/// Flags of every guest.
pub const FEATURES: [&str; 4] = [
    "-C",
    "target-feature=+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint",
    "--cfg",
    "curve25519_dalek_bits=\"32\"",
];
/// What stands for the folders of dependencies' sources, of the checkout and of the build.
const PLACES: [&str; 3] = ["/registry", "/postern", "/target"];

#[derive(Args)]
pub struct Options {
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
    /// Take this way to the wasm target: 1 installed already, 2 rustup, 3 Debian.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    way: Option<u8>,
}

/// One finished module.
pub struct Module {
    /// `gate`, `credential`, `audit` or `spin-gateway`.
    pub name: &'static str,
    size: usize,
    /// Of its file, in hex.
    pub sha256: String,
}

/// How and where modules are built.
struct Way {
    toolchain: Toolchain,
    profile: &'static str,
    /// The checkout.
    root: PathBuf,
    /// The folder of what is compiled, for both toolchains.
    target: PathBuf,
}

/// `cargo xtask build`.
pub fn build(options: &Options) -> Result<()> {
    let modules = built_by(&Way::shipped(options.way)?, &workspace::plugins())?;
    if options.json {
        let rows = modules.iter().map(|m| {
            format!(r#"{{"module":"{}","bytes":{},"sha256":"{}"}}"#, m.name, m.size, m.sha256)
        });
        println!("[{}]", rows.collect::<Vec<_>>().join(","));
        return Ok(());
    }
    for module in &modules {
        println!("{:<12} {:>9} bytes  {}", module.name, module.size, module.sha256);
    }
    Ok(())
}

/// Builds all modules into `target/plugins` and writes SHA256SUMS beside them.
pub fn modules() -> Result<Vec<Module>> {
    built_by(&Way::shipped(None)?, &workspace::plugins())
}

/// The toolchain, and the package of each module.
pub fn shipped() -> Result<(Toolchain, [(&'static str, String); 4])> {
    let [package, _, name] = COMPONENT;
    let [gate, credential, audit] = MODULES.map(|name| (name, format!("postern-{name}")));
    Ok((setup::guest_toolchain(None)?, [gate, credential, audit, (name, package.to_owned())]))
}

/// What the compiler of the modules says that it is.
pub fn compiler() -> Result<String> {
    let program = match setup::guest_toolchain(None)? {
        Toolchain::Rustup => "rustc",
        Toolchain::Debian => setup::DEBIAN_RUSTC,
    };
    let said = quiet(Command::new(program).arg("--version")).map_err(Failure::environment)?;
    Ok(said.trim().to_owned())
}

/// Builds those that ship of the checkout `root`, from nothing.
pub fn modules_of(root: &Path, target: &Path, into: &Path) -> Result<Vec<Module>> {
    let (root, target) = (root.to_owned(), target.to_owned());
    shipping(&Way { root, target, ..Way::shipped(None)? }, into)
}

/// Builds all modules by way 3 into a folder of their own, which it returns. What they import and
/// export does not depend on how hard the compiler tries, which is most of a build's time.
pub fn modules_by_debian() -> Result<PathBuf> {
    let into = workspace::guest_target().join("plugins-by-debian");
    built_by(&Way { profile: QUICK, ..Way::shipped(Some(3))? }, &into)?;
    Ok(into)
}

/// Builds the module that measures `name`, where `postern-bench` looks for it.
pub fn bench(name: &str) -> Result<()> {
    let way = Way::shipped(None)?;
    shown(way.cargo(&[&format!("postern-bench-{name}")])?.args(["--lib"]))?;
    let file = format!("wasm32-wasip1/wasm/postern_bench_{name}.wasm");
    if way.toolchain == Toolchain::Debian {
        std::fs::copy(way.folder().join(&file), workspace::guest_target().join(&file))?;
    }
    Ok(())
}

fn built_by(way: &Way, into: &Path) -> Result<Vec<Module>> {
    let modules = shipping(way, into)?;
    let conformance = CONFORMANCE.map(|name| format!("postern-conformance-{name}"));
    let conformance: Vec<&str> = conformance.iter().map(String::as_str).collect();
    shown(&mut way.cargo(&conformance)?)?;
    for name in CONFORMANCE {
        let file = format!("postern_conformance_{name}.wasm");
        let bytes = read(&way.built().join(file))?;
        let folder = into.join("conformance");
        std::fs::create_dir_all(&folder)?;
        postern_files::write_atomic(folder.join(format!("{name}.wasm")), &bytes)?;
    }
    Ok(modules)
}

fn shipping(way: &Way, into: &Path) -> Result<Vec<Module>> {
    let names = MODULES.map(|name| format!("postern-{name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One at a time: built together, each would have what any of them needs of a crate that
    // they share, such as all signature algorithms where one is enough. For a look that is
    // good enough, and builds what they share once.
    for modules in names.chunks(if way.profile == QUICK { names.len() } else { 1 }) {
        shown(&mut way.cargo(modules)?)?;
    }
    shown(&mut way.component()?)?;
    std::fs::create_dir_all(into)?;
    let [_, file, name] = COMPONENT;
    let modules = MODULES.into_iter().map(|name| (format!("postern_{name}"), name));
    let files = modules.chain([(file.to_owned(), name)]);
    let modules =
        files.map(|(file, name)| collect(&way.built().join(format!("{file}.wasm")), name, into));
    let modules = modules.collect::<Result<Vec<_>>>()?;
    let mut sums = String::new();
    for module in &modules {
        writeln!(sums, "{}  {}.wasm", module.sha256, module.name)?;
    }
    postern_files::write_atomic(into.join("SHA256SUMS"), sums.as_bytes())?;
    Ok(modules)
}

fn collect(built: &Path, name: &'static str, into: &Path) -> Result<Module> {
    let bytes = read(built)?;
    let path = into.join(format!("{name}.wasm"));
    postern_files::write_atomic(&path, &bytes)?;
    let digest = Sha256::digest(&bytes);
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Module { name, size: bytes.len(), sha256 })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

impl Way {
    fn shipped(forced: Option<u8>) -> Result<Self> {
        let toolchain = setup::guest_toolchain(forced)?;
        let (root, target) = (workspace::root(), workspace::guest_target());
        Ok(Self { toolchain, profile: SHIPPED, root, target })
    }

    /// Links the component: rustup's `wasm-component-ld` has the adapter from WASI 0.1 to 0.2 in
    /// it, and the same interfaces that Spin lists.
    fn component(&self) -> Result<Command> {
        let [package, ..] = COMPONENT;
        let linkers = setup::rustup_linkers()?;
        let linker = linkers.join("wasm-component-ld");
        let core = linkers.join("gcc-ld/wasm-ld");
        let mut command = self.cargo_to("rustc", &[package])?;
        command.args(["--", "-C"]).arg(format!("linker={}", linker.display()));
        // Given `rust-lld` itself it says that it is a generic driver.
        command.arg("-C").arg(format!("link-arg=--wasm-ld-path={}", core.display()));
        Ok(command)
    }

    fn cargo(&self, packages: &[&str]) -> Result<Command> {
        self.cargo_to("build", packages)
    }

    fn cargo_to(&self, what: &str, packages: &[&str]) -> Result<Command> {
        let mut command = Command::new("cargo");
        let mut flags = FEATURES.map(str::to_owned).to_vec();
        if self.toolchain == Toolchain::Debian {
            command = Command::new("/usr/bin/cargo");
            command.env("RUSTC", setup::DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            let linker = setup::rustup_linkers()?.join("rust-lld");
            command.env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker);
            let native = ["-L", "native=/usr/lib/wasm32-wasi", "-C", "link-self-contained=no"];
            flags.extend(native.map(str::to_owned));
        }
        flags.extend(remapped(&self.root, &self.folder())?);
        command.args([what, "--profile", self.profile, "--target", TARGET]);
        if self.toolchain == Toolchain::Debian {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        for package in packages {
            command.args(["-p", package]);
        }
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", self.folder());
        // The outer `cargo run` must not choose this build's compiler or flags. With a target
        // named, these are not for build scripts; between them stands no blank, which paths have.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        for name in ["RUSTFLAGS", "CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Where cargo puts modules.
    fn built(&self) -> PathBuf {
        self.folder().join(TARGET).join(self.profile)
    }

    /// The two toolchains must not share a target directory: their fingerprints differ.
    fn folder(&self) -> PathBuf {
        match self.toolchain {
            Toolchain::Rustup => self.target.clone(),
            Toolchain::Debian => self.target.join("debian"),
        }
    }
}

/// The flags by which places have one name everywhere. Panics name the sources of dependencies,
/// which lie in the home of who builds; where the checkout and what build scripts wrote are gets
/// into what crates tell one another, and from there into the order of instructions.
fn remapped(root: &Path, target: &Path) -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let sources = home.context("expected CARGO_HOME or HOME")?.join("registry/src");
    if !sources.is_dir() {
        // cargo would make the folder while it builds, too late for the flags.
        shown(Command::new("cargo").args(["fetch", "--locked"]).current_dir(root))?;
    }
    let folders = std::fs::read_dir(&sources);
    let folders = folders.with_context(|| format!("cannot read {}", sources.display()))?;
    let mut folders = folders.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    // cargo builds anew when the flags are in another order.
    folders.sort();
    let [registry, postern, compiled] = PLACES;
    let sources = folders.iter().map(|folder| (folder.as_path(), registry));
    // The last that fits counts: the target folder may be below the checkout, the home may be.
    let places = [(root, postern), (target, compiled)].into_iter().chain(sources);
    let flag = |(from, to): (&Path, &str)| format!("--remap-path-prefix={}={to}", from.display());
    Ok(places.map(flag).collect())
}
