//! Every fuzz target of the workspace in one table, and the targets that need several crates.
//!
//! A target takes any bytes, reads them as operations where that finds more, and panics when
//! an invariant does not hold and on nothing else. Ordinary tests replay the corpus
//! (`tests/corpus.rs`); `cargo xtask fuzz` builds the same table into libFuzzer (`engine.rs`).
//!
//! libFuzzer is linked by `libfuzzer-sys`, and only our crates are instrumented: the flags are
//! set by `rustc`, a script that stands here and that cargo runs for workspace members alone
//! (`RUSTC_WORKSPACE_WRAPPER`). So it works on the stable compiler, in the workspace's one
//! lock file and target folder, and wasmtime is not built again. `cargo fuzz` passes its flags to
//! every package and builds in a folder of its own, so wasmtime would be built again with them;
//! it and `bolero`, which starts the same libFuzzer, were not tried.
#![forbid(unsafe_code)]

mod chain;
mod config;
mod forward;
mod front;
mod leave;
mod machine;
mod module;
mod path;
mod program;
mod source;
mod target;
mod wire;

pub use target::{TARGETS, Target, target};
