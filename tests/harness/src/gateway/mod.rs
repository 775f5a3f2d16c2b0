//! The boundaries with a gateway: the built modules in a real Envoy or in our own gateway,
//! in real time.
//!
//! Scenarios with the same configuration share one process; each observation is held
//! against what the file wants and against the core's.

mod differs;
mod site;
mod tls;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use postern_rig::gateway::Kind;
use serde_json::Value;

pub use site::{Gateway, Site, plugins, request};
pub use tls::{Clients, speak};

use crate::live;
use crate::observation::Observation;
use crate::run::{Core, Count, Selection, judged};
use crate::scenario::{Boundary, Named};

/// Runs scenarios and live checks of `boundary`, which is the gateway `kind`.
pub fn run(
    (boundary, kind): (Boundary, Kind),
    chosen: &[Named],
    selection: &Selection,
    count: &mut Count,
) -> Result<()> {
    let needed = if boundary == Boundary::Spin { "spin-gateway.wasm" } else { "gate.wasm" };
    ensure!(plugins().join(needed).exists(), "no {needed}: run `cargo xtask build`");
    let mut differs = differs::list(boundary)?;
    let site = Site::new(boundary, kind)?;
    let mut core = Core::new()?;
    let mut seen = live::Seen::default();
    let parts = groups(chosen).into_iter().enumerate();
    let live = boundary != Boundary::Spin;
    for (_, group) in parts.filter(|(number, _)| selection.part.takes(*number, live)) {
        let gateway = Gateway::start(&site, group.first().map(|named| &named.scenario))?;
        for named in group {
            let lines = judge(&site, &gateway, &mut core, named, selection.show)
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            count.report(&named.name, &differs.judge(&named.name, lines));
        }
        if selection.show && boundary != Boundary::Spin {
            println!("{}", gateway.process.log());
            let stats = gateway.process.admin("/stats?usedonly")?;
            println!("{}", String::from_utf8_lossy(&stats.content));
        }
        seen.keep(&site, gateway)?;
    }
    if boundary == Boundary::Spin {
        return differs.close(selection.record);
    }
    live::run(&site, selection, &mut seen, count)
}

fn judge(
    site: &Site,
    gateway: &Gateway,
    core: &mut Core,
    named: &Named,
    show: bool,
) -> Result<Vec<String>> {
    let observations = gateway.run(site, named)?;
    let mut lines = judged(&site.world, named, &observations, show)?;
    if !lines.is_empty() {
        // What is not as wanted needs no second opinion.
        return Ok(lines);
    }
    if !named.scenario.boundaries.contains(&Boundary::Core) {
        return Ok(lines);
    }
    let (_, expected) = core.judge(named, show)?;
    for (index, (core, got)) in expected.iter().zip(&observations).enumerate() {
        let parts = unlike(core, (site.boundary.name(), got)).into_iter();
        lines.extend(parts.map(|part| format!("step {}: boundaries differ: {part}", index + 1)));
    }
    Ok(lines)
}

fn unlike(core: &Observation, (boundary, got): (&str, &Observation)) -> Vec<String> {
    let mut lines = Vec::new();
    if core.answer != got.answer {
        lines.push(format!("core {:?}, {boundary} {:?}", core.answer, got.answer));
    }
    if core.upstream != got.upstream {
        lines.push(format!("core {:?}, {boundary} {:?}", core.upstream, got.upstream));
    }
    if core.canaries != got.canaries {
        lines.push(format!("core {:?}, {boundary} {:?}", core.canaries, got.canaries));
    }
    let (core, got) = (without_cached(&core.audit), without_cached(&got.audit));
    if core != got {
        let text = |audit: &Option<Value>| audit.as_ref().map(ToString::to_string);
        lines.push(format!("core {:?}, {boundary} {:?}", text(&core), text(&got)));
    }
    lines
}

/// Whether a value was still in the cache depends on how long the steps took: a machine that
/// is busy is no difference between boundaries. What a file wants of it is checked elsewhere.
fn without_cached(audit: &Option<Value>) -> Option<Value> {
    let mut audit = audit.clone();
    let release = audit.as_mut().and_then(|audit| audit.get_mut("release"));
    if let Some(release) = release.and_then(Value::as_object_mut) {
        release.remove("cached");
    }
    audit
}

/// Scenarios that can share one gateway, in the order of their first.
fn groups(chosen: &[Named]) -> Vec<Vec<&Named>> {
    let mut shared: BTreeMap<String, Vec<&Named>> = BTreeMap::new();
    for (index, named) in chosen.iter().enumerate() {
        let tls = !named.scenario.seed.certificates.is_empty();
        let config = format!("{:?} {} {tls}", named.scenario.config, named.scenario.route);
        let own = if named.scenario.fresh { format!("{index}") } else { String::new() };
        shared.entry(format!("{config} {own}")).or_default().push(named);
    }
    shared.into_values().collect()
}
