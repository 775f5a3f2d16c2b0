//! Where things are, relative to the root of the checkout.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Finished modules, ready for a gateway.
pub fn plugins() -> PathBuf {
    root().join("target/plugins")
}

/// Target directory of the guest builds, apart from the host's.
pub fn guest_target() -> PathBuf {
    root().join("target/wasm")
}

/// Parts that setup installs.
pub fn tools() -> PathBuf {
    root().join("target/tools")
}
