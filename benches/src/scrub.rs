//! Scrubbing: natively and in Envoy's V8 beside a plain automaton, and a large answer through
//! Envoy with the whole chain beside the same Envoy without it.
//!
//! In V8 it is a module of its own whose requests are measurements. Each line of a kind of
//! bodies is the worst of them; the others are in its note.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_bench_scrub::bodies::{BENIGN, HOSTILE};
use postern_bench_scrub::{Turn, measured};
use postern_harness::gateway::{Gateway, Site};
use postern_harness::live::Caller;
use postern_harness::root;
use postern_harness::scenario::Boundary;
use postern_rig::client::Request;
use postern_rig::gateway::Kind;
use postern_rig::upstream::{Answer, Framing};
use serde_json::json;

use crate::load::{self, Until};
use crate::natives;
use postern_bench_line::{Line, Op, Pair};

/// The large answer.
const LARGE: usize = 50_000_000;
const MODULE: &str = "target/wasm/wasm32-wasip1/wasm/postern_bench_scrub.wasm";

/// Where a measurement is made.
pub(crate) trait Place {
    /// The figures of the measurement that a path names.
    fn measure(&self, path: &str) -> Result<Turn>;
}

struct Here;

impl Place for Here {
    fn measure(&self, path: &str) -> Result<Turn> {
        measured(path).with_context(|| path.to_owned())
    }
}

/// In a module of its own, in Envoy.
pub(crate) struct InEnvoy {
    gateway: Gateway,
    _site: Site,
}

impl InEnvoy {
    /// Starts Envoy with the module in this file.
    pub(crate) fn start(module: &str) -> Result<Self> {
        let site = Site::new(Boundary::Envoy, Kind::envoy(&root()))?;
        let mut config = site.config(None)?;
        let code = json!({"local": {"filename": root().join(module).display().to_string()}});
        let filter = json!({"name": "bench", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"name": "bench", "vm_config": {
                "vm_id": "bench", "runtime": "envoy.wasm.runtime.v8", "code": code}}}});
        natives::plain(&mut config, Some(filter))?;
        Ok(Self { gateway: Gateway::with(&site, &config)?, _site: site })
    }
}

impl Place for InEnvoy {
    fn measure(&self, path: &str) -> Result<Turn> {
        let answer = self.gateway.ask(&Request::new("GET", "api.test", path))?;
        let text = String::from_utf8_lossy(&answer.content).into_owned();
        let mut figures = text.split(' ').filter_map(|figure| figure.parse().ok());
        let turn = figures.next().zip(figures.next()).map(|(ours, other)| Turn { ours, other });
        turn.with_context(|| format!("{path}: {text}"))
    }
}

/// All lines.
pub fn measure(seconds: f64, runs: usize) -> Result<Vec<Line>> {
    let envoy = InEnvoy::start(MODULE)?;
    let mut lines = Vec::new();
    for (suffix, place) in [("", &envoy as &dyn Place), (".native", &Here)] {
        let goal = |goal| (Op::AtLeast, goal);
        let turn = (seconds * 200.0) as u64;
        lines.push(bodies(place, &format!("P5.benign{suffix}"), &BENIGN, goal(10.0), turn, runs)?);
        lines.push(bodies(place, &format!("P5.hostile{suffix}"), &HOSTILE, goal(0.8), turn, runs)?);
        for count in [100, 10_000] {
            let turns = turns(place, &format!("/many/{count}/{turn}"), runs)?;
            let id = format!("P8.secrets.{count}{suffix}");
            let line = line(&id, &turns, (Op::AtMost, 1.2), "us/answer");
            lines.push(line.noted("4 KiB of JSON; credentials in turn; the other side has one"));
        }
        let held = turns(place, &format!("/held/64/{turn}"), runs)?;
        let held = line(&format!("P8.held.64{suffix}"), &held, (Op::AtMost, 1.2), "us/answer");
        lines.push(held.noted("4 KiB of JSON; all that one caller uses; the other side has one"));
        let turns = turns(place, &format!("/fields/all/{turn}"), runs)?;
        let line =
            line(&format!("scrub.fields{suffix}"), &turns, (Op::AtMost, 100.0), "us/request");
        lines.push(line.noted("detector on 14 fields; the other side looks for plain text"));
    }
    lines.push(through_envoy(runs)?);
    Ok(lines)
}

/// So many measurements.
pub(crate) fn turns(place: &dyn Place, path: &str, runs: usize) -> Result<Vec<Turn>> {
    (0..runs).map(|_| place.measure(path)).collect()
}

/// A line from measurements.
pub(crate) fn line(id: &str, turns: &[Turn], goal: (Op, f64), unit: &'static str) -> Line {
    let (ours, other): (Vec<f64>, Vec<f64>) =
        turns.iter().map(|turn| (turn.ours, turn.other)).unzip();
    Line::new(id, &Pair { ours: &ours, other: &other }, goal, unit)
}

/// The worst of several kinds of bodies.
fn bodies(
    place: &dyn Place,
    id: &str,
    kinds: &[&str],
    goal: (Op, f64),
    turn: u64,
    runs: usize,
) -> Result<Line> {
    let (mut worst, mut all): (Option<Line>, Vec<String>) = (None, Vec::new());
    for kind in kinds {
        let turns = turns(place, &format!("/throughput/{kind}/{turn}"), runs)?;
        let line = line(id, &turns, goal, "MB/s");
        all.push(format!("{kind} {:.2}", line.ratio.unwrap_or(0.0)));
        if worst.as_ref().is_none_or(|worst| line.ratio < worst.ratio) {
            worst = Some(line);
        }
    }
    let note = format!("worst of: {}; 20 secrets, 64 KiB chunks", all.join(", "));
    Ok(worst.context("no bodies")?.noted(note))
}

/// Seconds of a large answer through Envoy.
fn through_envoy(runs: usize) -> Result<Line> {
    let site = Site::new(Boundary::Envoy, Kind::envoy(&root()))?;
    let body = postern_bench_scrub::bodies::body("json", &["none".repeat(20)]);
    let chunks: Vec<Vec<u8>> = (0..LARGE.div_ceil(body.len())).map(|_| body.clone()).collect();
    for upstream in site.upstreams.values() {
        let framing = Framing::Length;
        upstream.answer(Answer { chunks: chunks.clone(), framing, ..Answer::default() });
    }
    let with = Gateway::with(&site, &site.config(None)?)?;
    let mut config = site.config(None)?;
    natives::plain(&mut config, None)?;
    let without = Gateway::with(&site, &config)?;
    let request = Caller::new(&site, "bench")?.request(&site, "api.test", "/api/a", Some("slack"));
    let request = request.pieces().concat();
    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        for (gateway, figures) in [(&with, &mut ours), (&without, &mut other)] {
            let start = Instant::now();
            let done = load::run(gateway.port(), &request, 1, Until::Count(1))?;
            ensure!(done.wrong == 0, "an answer was not 200");
            // The first fills caches.
            if run > 0 {
                figures.push(start.elapsed().as_secs_f64() * 1e3);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let pair = Pair { ours: &ours, other: &other };
    let line = Line::new("P5.envoy", &pair, (Op::AtMost, 1.15), "ms");
    Ok(line.noted("50 MB of JSON; the whole chain against the same Envoy without WebAssembly"))
}
