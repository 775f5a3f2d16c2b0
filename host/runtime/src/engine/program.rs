//! A compiled module, checked to be Proxy-Wasm 0.2 and linked to the hostcalls that its
//! configuration allows.
//!
//! Invariant: a [`Program`] has a memory, an allocator and no import that
//! is not linked with the right type.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmtime::{InstancePre, Module};

use super::host::Host;
use super::{Engine, link};

/// Marks of the ABI versions whose callbacks have the shapes that [`super::Vm`] calls.
const VERSIONS: [&str; 2] = ["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"];

/// Why bytes are not a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Not WebAssembly, or a feature that wasmtime does not know.
    #[error("not a WebAssembly module: {0}")]
    NotWasm(String),
    /// No mark of any ABI version.
    #[error("not a Proxy-Wasm module: no export proxy_abi_version_*")]
    NotProxyWasm,
    /// Another ABI version.
    #[error("the module speaks {0}, expected proxy_abi_version_0_2_0 or proxy_abi_version_0_2_1")]
    Version(String),
    /// Something that every Proxy-Wasm module exports.
    #[error("the module does not export {0}")]
    MissingExport(&'static str),
    /// An import that there is no function for, or that is not allowed.
    #[error("the module cannot be linked: {0}")]
    Import(String),
}

/// What a module may call and which of its callbacks are called
/// (`capability_restriction_config.allowed_capabilities`); all by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(Option<BTreeSet<String>>);

impl Capabilities {
    /// Only these, by their bare names (`proxy_log`, `proxy_on_request_headers`, `fd_write`).
    /// None at all is nothing: in Envoy an empty list restricts nothing, which is the
    /// default here.
    pub fn only<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Whether `name` may be called.
    pub fn allow(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

/// A module ready to be started any number of times, on any thread.
#[derive(Clone)]
pub struct Program {
    pub(super) engine: Engine,
    pub(super) instance: InstancePre<Host>,
    pub(super) capabilities: Arc<Capabilities>,
}

impl Program {
    /// Compiles (or finds in the cache), checks and links.
    pub fn new(
        engine: &Engine,
        wasm: &[u8],
        capabilities: Capabilities,
    ) -> Result<Self, ProgramError> {
        let module = Module::from_binary(engine.inner(), wasm)
            .map_err(|e| ProgramError::NotWasm(format!("{e:#}")))?;
        check(&module)?;
        let linker = link::linker(engine.inner(), &capabilities)
            .map_err(|e| ProgramError::Import(format!("{e:#}")))?;
        let instance =
            linker.instantiate_pre(&module).map_err(|e| ProgramError::Import(format!("{e:#}")))?;
        Ok(Self { engine: engine.clone(), instance, capabilities: Arc::new(capabilities) })
    }
}

fn check(module: &Module) -> Result<(), ProgramError> {
    let has = |name: &str| module.get_export(name).is_some();
    if !VERSIONS.into_iter().any(has) {
        let mut names = module.exports().map(|export| export.name());
        let other = names.find(|name| name.starts_with("proxy_abi_version_"));
        return Err(
            other.map_or(ProgramError::NotProxyWasm, |v| ProgramError::Version(v.to_owned()))
        );
    }
    if module.get_export("memory").is_none_or(|export| export.memory().is_none()) {
        return Err(ProgramError::MissingExport("memory"));
    }
    if !has("proxy_on_memory_allocate") && !has("malloc") {
        return Err(ProgramError::MissingExport("proxy_on_memory_allocate"));
    }
    Ok(())
}
