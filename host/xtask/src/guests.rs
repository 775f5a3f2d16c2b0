//! Builds the modules that ship as WebAssembly.
//!
//! Guest flags live here and nowhere else, so that host builds never see them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::run::shown;
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
const FEATURES: &str = "-C target-feature=+simd128,+bulk-memory,+sign-ext,+nontrapping-fptoint \
                        --cfg curve25519_dalek_bits=\"32\"";

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
    sha256: String,
}

/// `cargo xtask build`.
pub fn build(options: &Options) -> Result<()> {
    let modules = built_by((setup::guest_toolchain(options.way)?, SHIPPED), &workspace::plugins())?;
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
    built_by((setup::guest_toolchain(None)?, SHIPPED), &workspace::plugins())
}

/// Builds all modules by way 3 into a folder of their own, which it returns. What they import and
/// export does not depend on how hard the compiler tries, which is most of a build's time.
pub fn modules_by_debian() -> Result<PathBuf> {
    let into = workspace::guest_target().join("plugins-by-debian");
    built_by((setup::guest_toolchain(Some(3))?, QUICK), &into)?;
    Ok(into)
}

/// Builds the module that measures `name`, where `postern-bench` looks for it.
pub fn bench(name: &str) -> Result<()> {
    let toolchain = setup::guest_toolchain(None)?;
    shown(cargo((toolchain, SHIPPED), &[&format!("postern-bench-{name}")])?.args(["--lib"]))?;
    let file = format!("wasm32-wasip1/wasm/postern_bench_{name}.wasm");
    if toolchain == Toolchain::Debian {
        std::fs::copy(folder(toolchain).join(&file), workspace::guest_target().join(&file))?;
    }
    Ok(())
}

/// A toolchain and a profile.
type Way = (Toolchain, &'static str);

fn built_by(way: Way, into: &Path) -> Result<Vec<Module>> {
    let names = MODULES.map(|name| format!("postern-{name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One at a time: built together, each would have what any of them needs of a crate that
    // they share, such as all signature algorithms where one is enough. For a look that is
    // good enough, and builds what they share once.
    for modules in names.chunks(if way.1 == QUICK { names.len() } else { 1 }) {
        shown(&mut cargo(way, modules)?)?;
    }
    shown(&mut component(way)?)?;
    let conformance = CONFORMANCE.map(|name| format!("postern-conformance-{name}"));
    let conformance: Vec<&str> = conformance.iter().map(String::as_str).collect();
    shown(&mut cargo(way, &conformance)?)?;
    std::fs::create_dir_all(into)?;
    let built = folder(way.0).join(TARGET).join(way.1);
    let [_, file, name] = COMPONENT;
    let modules = MODULES.into_iter().map(|name| (format!("postern_{name}"), name));
    let files = modules.chain([(file.to_owned(), name)]);
    let modules =
        files.map(|(file, name)| collect(&built.join(format!("{file}.wasm")), name, into));
    let modules = modules.collect::<Result<Vec<_>>>()?;
    for name in CONFORMANCE {
        let file = format!("postern_conformance_{name}.wasm");
        let bytes = read(&built.join(file))?;
        let folder = into.join("conformance");
        std::fs::create_dir_all(&folder)?;
        postern_files::write_atomic(folder.join(format!("{name}.wasm")), &bytes)?;
    }
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

/// Links the component: rustup's `wasm-component-ld` has the adapter from WASI 0.1 to 0.2 in it,
/// and the same interfaces that Spin lists.
fn component(way: Way) -> Result<Command> {
    let [package, ..] = COMPONENT;
    let linkers = setup::rustup_linkers()?;
    let linker = linkers.join("wasm-component-ld");
    let core = linkers.join("gcc-ld/wasm-ld");
    let mut command = cargo_to("rustc", way, &[package])?;
    command.args(["--", "-C"]).arg(format!("linker={}", linker.display()));
    // Given `rust-lld` itself it says that it is a generic driver.
    command.arg("-C").arg(format!("link-arg=--wasm-ld-path={}", core.display()));
    Ok(command)
}

fn cargo(way: Way, packages: &[&str]) -> Result<Command> {
    cargo_to("build", way, packages)
}

fn cargo_to(what: &str, (toolchain, profile): Way, packages: &[&str]) -> Result<Command> {
    let mut command = Command::new("cargo");
    let mut flags = FEATURES.to_owned();
    if toolchain == Toolchain::Debian {
        command = Command::new("/usr/bin/cargo");
        command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        command.env("CARGO_TARGET_WASM32_WASIP1_LINKER", setup::rustup_linkers()?.join("rust-lld"));
        flags.push_str(" -L native=/usr/lib/wasm32-wasi -C link-self-contained=no");
    }
    command.args([what, "--profile", profile, "--target", TARGET]).current_dir(workspace::root());
    if toolchain == Toolchain::Debian {
        command.arg("-Zbuild-std=std,panic_abort");
    }
    for package in packages {
        command.args(["-p", package]);
    }
    command
        .env("CARGO_TARGET_DIR", folder(toolchain))
        .env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags);
    // The outer `cargo run` must not choose this build's compiler or flags.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// The two toolchains must not share a target directory: their fingerprints differ.
fn folder(toolchain: Toolchain) -> PathBuf {
    match toolchain {
        Toolchain::Rustup => workspace::guest_target(),
        Toolchain::Debian => workspace::guest_target().join("debian"),
    }
}
