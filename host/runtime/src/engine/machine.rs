//! The engine of the process: compiler, cache of compiled modules, clock of the deadlines.
//!
//! Invariant: the clock ticks for as long as an engine exists, so a deadline always comes.
//! Compiled modules are machine code that wasmtime runs as it finds it, so their folder is
//! for the owner alone.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use wasmtime::{Cache, CacheConfig, Config, EngineWeak};

/// How often the epoch goes up; deadlines are kept to within one of these.
const TICK: Duration = Duration::from_millis(5);
/// Native stack of a callback. Threads that run machines need this and their own.
const STACK: usize = 512 * 1024;

/// Settings of an [`Engine`].
#[derive(Debug, Clone, Default)]
pub struct EngineSettings {
    /// Folder of compiled modules, made with mode 0700; `None` compiles each time.
    pub cache: Option<PathBuf>,
    /// What callbacks compute is counted, for traces. Modules are compiled anew for it, and run
    /// slower.
    pub fuel: bool,
}

/// What all machines of the process share. Cloning is cheap.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    fuel: bool,
}

impl Engine {
    /// Makes the engine and starts its clock. Fails when the cache folder cannot be made
    /// private or the processor is not one that wasmtime compiles for.
    pub fn new(settings: &EngineSettings) -> Result<Self, String> {
        let mut config = Config::new();
        config.epoch_interruption(true).max_wasm_stack(STACK).consume_fuel(settings.fuel);
        if let Some(folder) = &settings.cache {
            config.cache(Some(private_cache(folder)?));
        }
        let inner = wasmtime::Engine::new(&config).map_err(|e| format!("{e:#}"))?;
        start_clock(inner.weak())?;
        Ok(Self { inner, fuel: settings.fuel })
    }

    /// Whether fuel is counted.
    pub(super) fn fuel(&self) -> bool {
        self.fuel
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

/// Workers on several threads start machines from what was compiled once.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Engine>();
    shared::<super::Program>();
};

/// Ticks of the clock until `time` has surely passed.
pub(super) fn ticks(time: Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
    // One more, since the first comes at any moment from now.
    u64::try_from(ticks).unwrap_or(u64::MAX - 1).saturating_add(1)
}

/// wasmtime's own cache: keyed by module, wasmtime version and compiler settings, written
/// by rename, and without an `unsafe` of ours.
pub fn private_cache(folder: &Path) -> Result<Cache, String> {
    postern_files::create_private_dir(folder).map_err(|e| e.to_string())?;
    let named = |e: std::io::Error| format!("{}: {e}", folder.display());
    if folder.metadata().map_err(named)?.permissions().mode() & 0o022 != 0 {
        return Err(format!("{}: others can write to it (chmod 700)", folder.display()));
    }
    let folder = folder.canonicalize().map_err(named)?;
    let mut config = CacheConfig::new();
    config.with_directory(folder);
    Cache::new(config).map_err(|e| format!("{e:#}"))
}

fn start_clock(engine: EngineWeak) -> Result<(), String> {
    let beat = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    let started = thread::Builder::new().name("postern-epoch".to_owned()).spawn(beat);
    started.map(drop).map_err(|e| format!("clock of the deadlines: {e}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    #[test]
    fn a_cache_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let settings = EngineSettings { cache: Some(folder.path().to_owned()), fuel: false };
        assert!(Engine::new(&settings).err().unwrap().contains("chmod 700"));
    }
}
