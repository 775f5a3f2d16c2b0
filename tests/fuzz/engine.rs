//! The program that `cargo xtask fuzz` runs: libFuzzer round one target.
//!
//! The name of the target comes in `POSTERN_FUZZ_TARGET`, since libFuzzer owns the command
//! line. A panic of the target ends the program, and libFuzzer writes the input to a file.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use postern_fuzz::{Target, target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("POSTERN_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("POSTERN_FUZZ_TARGET: no target {name:?}"))
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
