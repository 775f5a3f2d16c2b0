//! The table of targets.

use crate::{chain, config, forward, front, leave, machine, path, program};

/// A fuzz target.
pub struct Target {
    /// Its name, and that of its folder of the corpus.
    pub name: &'static str,
    /// Takes any bytes; panics when an invariant does not hold.
    pub run: fn(&[u8]),
}

const fn row(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    row("http1", postern_runtime::http1::fuzz_http1),
    row("front", front::fuzz_front),
    row("path", path::fuzz_path),
    row("leave", leave::fuzz_leave),
    row("chain", chain::fuzz_chain),
    row("machine", machine::fuzz_machine),
    row("program", program::fuzz_program),
    row("config", config::fuzz_config),
    row("pairs", postern_runtime::engine::fuzz_pairs),
    row("protobuf", postern_runtime::engine::fuzz_protobuf),
    row("signature", postern_runtime::engine::fuzz_signature),
    row("crp_envelope", postern_crp::fuzz::fuzz_envelope),
    row("crp_request", postern_crp::fuzz::fuzz_request),
    row("crp_reply", postern_crp::fuzz::fuzz_reply),
    row("crp_evidence", postern_crp::fuzz::fuzz_evidence),
    row("attest_report", postern_attest::fuzz::fuzz_report),
    row("attest_certificate", postern_attest::fuzz::fuzz_certificate),
    row("attest_token", postern_attest::fuzz::fuzz_token),
    row("attest_endorsement", postern_attest::fuzz::fuzz_endorsement),
    row("attest_release_set", postern_attest::fuzz::fuzz_release_set),
    row("core_codecs", postern_core::fuzz::fuzz_codecs),
    row("barrier", postern_core::barrier::fuzz_barrier),
    row("forward", forward::fuzz_forward),
    row("websocket", postern_core::websocket::fuzz_websocket),
    row("detector", postern_scrub::fuzz::fuzz_detector),
    row("marker_behind", postern_scrub::fuzz::fuzz_marker_behind),
    row("placeholder", postern_scrub::fuzz::fuzz_placeholder),
    row("scrubber", postern_scrub::fuzz::fuzz_scrubber),
];

/// A target by its name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
