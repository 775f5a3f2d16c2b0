//! Many requests through one gateway, looking at its memory on the way.
//!
//! Good is: every answer 200, one audit record a request, and memory after the first part
//! does not grow with the number of requests.

use std::process::ExitCode;

use anyhow::Result;
use postern_harness::root;
use postern_harness::scenario::Boundary;
use postern_rig::gateway::Kind;
use serde_json::json;

use crate::chain::Stand;
use crate::load::Until;
use crate::{Where, machine};

/// Connections at once.
const CALLERS: usize = 8;
/// Parts of the run; memory is looked at after each, and the first fills caches and pools.
const PARTS: usize = 10;
/// KiB that memory may differ between the second part and the last: what an allocator keeps.
const SLACK: u64 = 4 << 10;

/// Runs it and says what was seen.
pub fn run(requests: usize, gateway: Where, json: bool) -> Result<ExitCode> {
    let stand = match gateway {
        Where::Wasmtime => Stand::start(Boundary::Host, Kind::wasmtime(&root())?)?,
        Where::Envoy => Stand::start(Boundary::Envoy, Kind::envoy(&root()))?,
    };
    let part = (requests / PARTS).max(1);
    let (mut right, mut wrong, mut records) = (0, 0, 0);
    let mut memory = Vec::new();
    for number in 1..=PARTS {
        let done = stand.load(CALLERS, Until::Count(part))?;
        right += done.right;
        wrong += done.wrong;
        records += stand.records(part)?;
        memory.push(machine::memory(stand.pid())?);
        eprintln!("part {number} of {PARTS}: {:.0} requests/s", part as f64 / done.took);
    }
    let grown =
        memory.last().copied().unwrap_or(0).saturating_sub(memory.get(1).copied().unwrap_or(0));
    let good = wrong == 0 && records == right && grown <= SLACK;
    if json {
        let document = json!({"requests": right, "refused": wrong, "records": records,
            "memory_kib": memory, "grown_kib": grown, "good": good});
        println!("{document}");
    } else {
        println!(
            "soak: {right} requests answered 200, {wrong} otherwise, {records} records; \
             memory {memory:?} KiB, grown by {grown} KiB after the second part"
        );
        println!("soak: {} passed, {} failed", u8::from(good), u8::from(!good));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
