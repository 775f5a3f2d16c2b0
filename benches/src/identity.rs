//! Capability tokens (P3): natively and in Envoy's V8 beside one plain strict verification of
//! Ed25519 in the same place.
//!
//! In V8 it is a module of its own whose requests are measurements.

use anyhow::{Context, Result};
use postern_bench_identity::measured;
use postern_bench_scrub::Turn;

use crate::scrub::{InEnvoy, Place, line, turns};
use postern_bench_line::{Line, Op};

const MODULE: &str = "target/wasm/wasm32-wasip1/wasm/postern_bench_identity.wasm";

/// What is measured: name, path, goal, note.
const ROWS: [(&str, &str, f64, &str); 6] = [
    ("P3.first", "/first/1", 0.4, "one block from a configured issuer, read and verified"),
    ("P3.first.signature", "/signature/1", 0.4, "its signature alone"),
    ("P3.first.request", "/request/1", 1.5, "one block and the proof of a holder not met before"),
    ("P3.first.3", "/first/3", 2.6, "three blocks, two of them by holders not met before"),
    ("P3.cached", "/often/1", 0.7, "token seen before, proof by a holder met often"),
    ("P3.cached.holder", "/seen/1", 1.2, "token seen before, proof by a holder not met often"),
];

struct Here;

impl Place for Here {
    fn measure(&self, path: &str) -> Result<Turn> {
        let (ours, other) = measured(path).with_context(|| path.to_owned())?;
        Ok(Turn { ours, other })
    }
}

/// All lines.
pub fn measure(seconds: f64, runs: usize) -> Result<Vec<Line>> {
    let envoy = InEnvoy::start(MODULE)?;
    let turn = (seconds * 200.0) as u64;
    let mut lines = Vec::new();
    for (suffix, place) in [("", &envoy as &dyn Place), (".native", &Here)] {
        for (name, path, goal, note) in ROWS {
            let turns = turns(place, &format!("{path}/{turn}"), runs)?;
            let line = line(&format!("{name}{suffix}"), &turns, (Op::AtMost, goal), "us");
            lines.push(line.noted(note));
        }
    }
    Ok(lines)
}
