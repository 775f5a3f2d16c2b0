//! Runs the same scenarios on a real Envoy and on our own gateway, and compares everything that
//! a plugin, a caller and an upstream can see.
//!
//! Owns the scenario files of `tests/conformance/scenarios`, the configuration that both
//! gateways get (`tests/conformance/bases.yaml`) and the list of known differences
//! (`tests/conformance/envoy-differences.md`). It must not know what a right observation is:
//! Envoy says so.
//!
//! Invariant: a scenario passes when both observations are equal, or when they differ in exactly
//! the lines that the list gives; a listed difference that has gone fails as a new one does.

mod bases;
mod caller;
mod diff;
mod grpc;
pub(crate) mod listed;
mod observation;
mod scenario;
mod side;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_rig::gateway::Kind;

use crate::root;
use crate::run::{Count, Selection};
use bases::Bases;
use listed::Listed;
use observation::Observation;
use scenario::Scenario;
use side::Side;

/// How long two observations may take to become equal: both gateways end streams a moment after
/// the caller has its answer.
const SETTLE: Duration = Duration::from_millis(400);

/// A busy machine may join pieces that were written one by one, or let an answer overtake
/// another: a scenario is played so often before it counts as different.
const ATTEMPTS: usize = 3;

/// Where scenarios, bases and the list are.
fn folder() -> PathBuf {
    root().join("tests/conformance")
}

/// Runs every selected scenario on both gateways. `record` writes what differs to the list.
pub fn run(selection: &Selection, record: bool) -> Result<Count> {
    let scenarios = scenario::load(&folder().join("scenarios"))?;
    let bases = Bases::read(&folder().join("bases.yaml"))?;
    let path = folder().join("envoy-differences.md");
    let mut listed = Listed::read(&path)?;
    if !record {
        listed.check(|name| scenarios.iter().any(|scenario| scenario.name == name))?;
    }
    let chosen: Vec<Scenario> = scenarios.into_iter().filter(|s| selection.has(&s.name)).collect();
    let mut count = Count::default();
    if !chosen.is_empty() {
        let found = compare_all(&chosen, &bases, &listed, selection, &mut count)?;
        if record {
            listed.record(found, &path)?;
        }
    }
    println!("{}", count.closing("both gateways"));
    Ok(count)
}

fn compare_all(
    chosen: &[Scenario],
    bases: &Bases,
    listed: &Listed,
    selection: &Selection,
    count: &mut Count,
) -> Result<BTreeMap<String, Vec<String>>> {
    let (mut envoy, mut ours) = start(bases)?;
    let mut all = BTreeMap::new();
    for scenario in chosen {
        let mut lines = Vec::new();
        for _ in 0..ATTEMPTS {
            match compare(scenario, (&mut envoy, &mut ours), selection.show) {
                Ok(found) => {
                    lines = listed.judge(&scenario.name, found.clone());
                    all.insert(scenario.name.clone(), found);
                }
                Err(error) => {
                    // Whatever it was, the scenarios behind it have nothing to do with it.
                    (envoy, ours) = start(bases)?;
                    lines = vec![format!("{error:#}")];
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        count.report(&scenario.name, &lines);
    }
    Ok(all)
}

fn start(bases: &Bases) -> Result<(Side, Side)> {
    let (envoy, ours) = (Kind::envoy(&root()), Kind::wasmtime(&root())?);
    both(|| Side::start(envoy, bases), || Side::start(ours, bases))
}

/// The lines in which the two differ; Envoy's begin with `-`, ours with `+`.
fn compare(
    scenario: &Scenario,
    (envoy, ours): (&mut Side, &mut Side),
    show: bool,
) -> Result<Vec<String>> {
    let (mut theirs, mut own) =
        both(|| envoy.play(scenario).context("envoy"), || ours.play(scenario).context("postern"))?;
    let end = Instant::now() + SETTLE;
    while differ(&theirs, &own) && Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(20));
        envoy.more(&mut theirs)?;
        ours.more(&mut own)?;
    }
    if show {
        theirs.lines().iter().for_each(|line| println!("    {line}"));
    }
    ensure!(theirs.has_probe(), "no plugin has seen it: such a scenario proves nothing");
    let strange =
        theirs.lines().iter().chain(&own.lines()).find(|line| line.contains("unknown op")).cloned();
    ensure!(strange.is_none(), "{}", strange.unwrap_or_default());
    Ok(diff::differences(&theirs.lines(), &own.lines()))
}

fn differ(one: &Observation, other: &Observation) -> bool {
    one.lines() != other.lines() || !one.is_over() || !other.is_over()
}

/// Does two things at once.
fn both<A: Send, B: Send>(
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let first = scope.spawn(one);
        let second = other()?;
        let first = first.join().map_err(|_| anyhow::anyhow!("a thread ended"))??;
        Ok((first, second))
    })
}
