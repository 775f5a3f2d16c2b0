//! The whole chain (API key, scopes, permit, cached credential, injection, scrubbing, audit)
//! through our gateway and through Envoy, each on one core, in turns.

use std::time::Duration;

use anyhow::{Result, ensure};
use postern_harness::gateway::{Gateway, Site};
use postern_harness::live::Caller;
use postern_harness::root;
use postern_harness::scenario::Boundary;
use postern_rig::gateway::Kind;

use crate::load::{self, Until};
use crate::machine;
use postern_bench_line::{Line, Op, Pair};

/// Connections at once.
const CALLERS: usize = 16;
/// Before anything counts: caches fill, code gets warm.
const WARM: Duration = Duration::from_secs(1);

/// One gateway with what it needs.
pub struct Stand {
    site: Site,
    gateway: Gateway,
    request: Vec<u8>,
}

/// Figures of one gateway, one a run.
#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    /// Microseconds of processor time a request.
    cpu: Vec<f64>,
}

impl Stand {
    /// Starts it with one worker.
    pub fn start(boundary: Boundary, kind: Kind) -> Result<Self> {
        let site = Site::new(boundary, kind)?;
        let gateway = Gateway::fresh(&site, &site.config(None)?)?;
        let caller = Caller::new(&site, "bench")?;
        let request = caller.request(&site, "api.test", "/api/a", Some("slack"));
        Ok(Self { site, gateway, request: request.pieces().concat() })
    }

    /// Process id of the gateway.
    pub fn pid(&self) -> u32 {
        self.gateway.process.pid()
    }

    /// Load until it is time.
    pub fn load(&self, callers: usize, until: Until) -> Result<load::Done> {
        let done = load::run(self.gateway.port(), &self.request, callers, until)?;
        self.site.take_forwarded();
        Ok(done)
    }

    /// Audit records of requests that have come since the last call, after `count` are there.
    pub fn records(&self, count: usize) -> Result<usize> {
        Ok(self.site.wait_for_records(count)?.len())
    }

    fn measure(&self, seconds: f64, figures: &mut Figures) -> Result<()> {
        let before = machine::processor_time(self.pid())?;
        let done = self.load(CALLERS, Until::Time(Duration::from_secs_f64(seconds)))?;
        let used = machine::processor_time(self.pid())? - before;
        ensure!(done.wrong == 0 && done.right > 0, "{} answers were not 200", done.wrong);
        figures.rates.push(done.right as f64 / done.took);
        figures.cpu.push(used * 1e6 / done.right as f64);
        self.site.world.take_records()?;
        Ok(())
    }
}

/// Turns of both gateways.
pub fn measure(seconds: f64, runs: usize) -> Result<Vec<Line>> {
    let ours = Stand::start(Boundary::Host, Kind::wasmtime(&root())?)?;
    let envoy = Stand::start(Boundary::Envoy, Kind::envoy(&root()))?;
    let pinned = machine::pin(ours.pid(), 0)
        && machine::pin(envoy.pid(), 0)
        && machine::pin(std::process::id(), 1);
    let stands = [&ours, &envoy];
    for stand in stands {
        stand.load(CALLERS, Until::Time(WARM))?;
    }
    let mut figures = [Figures::default(), Figures::default()];
    for _ in 0..runs {
        for (stand, figures) in stands.into_iter().zip(&mut figures) {
            stand.measure(seconds, figures)?;
        }
    }
    let [mine, theirs] = figures;
    let note = if pinned {
        "gateway on one core, load, upstream and key service on another"
    } else {
        "not pinned to cores"
    };
    let rates = Pair { ours: &mine.rates, other: &theirs.rates };
    let cpu = Pair { ours: &mine.cpu, other: &theirs.cpu };
    Ok(vec![
        Line::new("P7", &rates, (Op::AtLeast, 0.5), "requests/s").noted(note),
        Line::new("host.cpu", &cpu, (Op::AtMost, 2.0), "us/request").noted(note),
    ])
}
