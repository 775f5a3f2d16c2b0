//! From starting the process to its first answer, with compiled modules in the cache.

use std::time::Instant;

use anyhow::Result;
use postern_harness::gateway::{Gateway, Site};
use postern_harness::root;
use postern_harness::scenario::Boundary;
use postern_rig::gateway::Kind;

use postern_bench_line::{Line, Op, Pair};

/// Milliseconds until `/ready`; the other side is the goal, 100 milliseconds.
pub fn measure(runs: usize) -> Result<Vec<Line>> {
    let site = Site::new(Boundary::Host, Kind::wasmtime(&root())?)?;
    let config = site.config(None)?;
    // Fills the cache.
    drop(Gateway::with(&site, &config)?);
    let mut ours = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let gateway = Gateway::with(&site, &config)?;
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        drop(gateway);
    }
    let goal = vec![100.0; ours.len()];
    let pair = Pair { ours: &ours, other: &goal };
    let line = Line::new("host.start", &pair, (Op::AtMost, 1.0), "ms");
    Ok(vec![line.noted("goal is an absolute 100 ms; one worker, three modules, process included")])
}
