//! What one more worker costs in memory, for each of the three modules.

use anyhow::{Result, ensure};
use postern_harness::gateway::Site;
use postern_harness::live::Caller;
use postern_harness::root;
use postern_harness::scenario::Boundary;
use postern_rig::gateway::{Kind, Launch};

use crate::load::{self, Until};
use crate::machine;
use postern_bench_line::{Line, Op, Pair};

/// Workers of the larger gateway; the smaller one has one.
const WORKERS: usize = 5;
/// Machines of a worker: gate, credential, audit.
const MODULES: f64 = 3.0;
/// Enough for every worker to have served, with so many connections.
const REQUESTS: usize = 2_000;
const CALLERS: usize = 16;

/// KiB for each further worker and module, after requests; the other side is the goal, 3 MiB.
pub fn measure(runs: usize) -> Result<Vec<Line>> {
    let site = Site::new(Boundary::Host, Kind::wasmtime(&root())?)?;
    let caller = Caller::new(&site, "memory")?;
    let request = caller.request(&site, "api.test", "/api/a", Some("slack")).pieces().concat();
    let mut ours = Vec::new();
    for _ in 0..runs {
        let (one, several) = (resident(&site, &request, 1)?, resident(&site, &request, WORKERS)?);
        ours.push((several - one) / (WORKERS - 1) as f64 / MODULES);
    }
    let goal = vec![3.0 * 1024.0; ours.len()];
    let pair = Pair { ours: &ours, other: &goal };
    let line = Line::new("P6.memory", &pair, (Op::AtMost, 1.0), "KiB");
    let note = format!(
        "goal is an absolute 3 MiB; anonymous memory of {WORKERS} workers less that of one, \
         after {REQUESTS} requests, connections and buffers included"
    );
    Ok(vec![line.noted(note)])
}

fn resident(site: &Site, request: &[u8], workers: usize) -> Result<f64> {
    let launch = Launch { workers, ..site.launch() };
    let gateway = launch.start(&site.config(None)?, &site.world.environment)?;
    let port = gateway.port("ingress")?;
    let done = load::run(port, request, CALLERS, Until::Count(REQUESTS))?;
    ensure!(done.wrong == 0, "{} answers were not 200", done.wrong);
    site.take_forwarded();
    site.world.take_records()?;
    Ok(machine::memory(gateway.pid())? as f64)
}
