//! The cases of `tests/conformance/attacks` against the wasmtime gateway and a real Envoy, with
//! the same modules, configuration and key service.
//!
//! Owns the gateways, what the two must have in common, and the rows that are settled by a
//! configuration or by what is written down; cases and verdicts are `postern-attack`. Invariant: a case passes on Envoy only when what the caller and the
//! upstream saw there is what they saw on the wasmtime gateway.

mod config;
mod known;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_attack::caller::Target;
use postern_attack::case::Case;
use postern_attack::{Engine, Options, Profile, Run, Verdict, library};
use postern_rig::authority::{Authority, DnType};
use postern_rig::gateway::{Config, Kind};
use postern_rig::wait::until;
use serde::Deserialize;
use serde_json::Value;

use crate::conformance::listed::Checked;
use crate::gateway::{Clients, Gateway, Site, speak};
use crate::root;
use crate::run::{Count, Selection, now};
use crate::scenario::{Boundary, KeySeed, Named, Scenario, Seed};
use crate::template::Names;

/// What one gateway gave, by case.
type Given = BTreeMap<String, Value>;

/// Cases at a time: there are two cores, and most of a case is waiting.
const AT_ONCE: usize = 6;
/// The row about how bytes become messages.
const FRAMING: &str = "R18";
/// A changed value is used when the old one has left the cache.
const CHANGED: Duration = Duration::from_secs(15);

/// `profiles/site.yaml`: how the gateways of this harness are set up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    /// Overlays on the module configurations, by module.
    config: BTreeMap<String, Value>,
}

/// Attacks one gateway, or both and compares.
pub fn run(only: Option<Boundary>, selection: &Selection, strict: bool) -> Result<Count> {
    let mut count = Count::default();
    let boundaries = match only {
        Some(boundary) => vec![boundary],
        None => vec![Boundary::Host, Boundary::Envoy],
    };
    let mut first: Option<Given> = None;
    for boundary in boundaries {
        let kind = match boundary {
            Boundary::Envoy => Kind::envoy(&root()),
            Boundary::Spin => Kind::spin(&root())?,
            _ => Kind::wasmtime(&root())?,
        };
        let mut own = Count::default();
        let (run, given) = attack((boundary, kind), selection, &mut own)?;
        let mut known = known::list(boundary)?;
        report(&run, &given, (boundary, first.as_ref()), (strict, &mut own), &mut known);
        known.close(selection.record)?;
        println!("attacks on {}: {}", boundary.name(), closing(own));
        count.passed += own.passed;
        count.failed += own.failed;
        first.get_or_insert(given);
    }
    Ok(count)
}

fn closing(count: Count) -> String {
    match count.failed {
        0 => format!("{} passed", count.passed),
        failed => format!("{} passed, {failed} failed", count.passed),
    }
}

/// A row, or how a case's name starts.
fn chosen(selection: &Selection) -> Result<Vec<Case>> {
    let cases = library::folder(&cases()).map_err(anyhow::Error::msg)?;
    let is = |case: &Case| is_named(selection, &case.row, &case.name);
    Ok(cases.into_iter().filter(is).collect())
}

/// The same for what is no case of the runner's.
fn is_chosen(selection: &Selection, row: &str, name: &str) -> bool {
    is_named(selection, row, &format!("{row}/{name}"))
}

fn is_named(selection: &Selection, row: &str, name: &str) -> bool {
    let only = selection.only.as_ref();
    only.is_none_or(|only| row == only || name.starts_with(only.as_str()) && only.contains('/'))
}

fn attack(
    (boundary, kind): (Boundary, Kind),
    selection: &Selection,
    count: &mut Count,
) -> Result<(Run, Given)> {
    let mut cases = chosen(selection)?;
    if boundary == Boundary::Spin {
        // How a message is read is hyper's there, on our host as on Spin.
        cases.retain(|case| case.row != FRAMING);
    }
    let site = Site::new(boundary, kind)?;
    let named = caller()?;
    site.world.seed(&named, now())?;
    let mut profile = profile(&site, &named)?;
    if site.boundary == Boundary::Spin {
        as_on_spin(&mut profile);
    }
    let (varies, secrets) = (profile.varies.clone(), secrets(&profile)?);
    let listen = ([127, 0, 0, 1], 0).into();
    let options = Options { target: Target::plain(0), listen, at_once: AT_ONCE };
    let mut engine = Engine::start(profile, options)?;
    let mut config = site.config(Some(&named.scenario))?;
    for route in &site.world.base.routes {
        config.cluster_at(&route.cluster, engine.listens().port())?;
    }
    let root = front(&site, &mut config)?;
    let gateway = Gateway::with(&site, &config)?;
    engine.aim(match root {
        Some(root) => Target::parse(&format!("https://localhost:{}", gateway.port()), Some(&root))?,
        None => Target::plain(gateway.port()),
    });
    engine.probe()?;
    if cases.iter().any(|case| case.row == "S13") {
        change(&site, &engine)?;
    }
    let run = engine.run(cases, &|_| {});
    if selection.show {
        println!("{}", gateway.process.log());
    }
    before_it_runs(&site, selection, &config.render(), count)?;
    if is_chosen(selection, "S18", "written") {
        written::nothing_secret(&gateway.process, &secrets, boundary.name(), count)?;
    }
    let given = run
        .outcomes
        .iter()
        .filter_map(|outcome| Some((outcome.case.name.clone(), outcome.comparable(&varies)?)));
    let given = given.collect();
    Ok((run, given))
}

/// A listener as callers from elsewhere find it: TLS, with the protocol that each agrees on.
/// Spin has its own, which is not ours to configure.
fn front(site: &Site, config: &mut Config) -> Result<Option<PathBuf>> {
    if site.boundary == Boundary::Spin {
        return Ok(None);
    }
    let authority = Authority::new()?;
    let front = authority.identity(&[(DnType::CommonName, "front")], &["localhost"])?;
    speak(site, config, &front, Clients::None)?;
    let root = site.world.folder.path().join("front-ca.pem");
    postern_files::write_private(&root, authority.root_pem().as_bytes())?;
    Ok(Some(root))
}

/// What is settled by the configuration: refused edits, and that what runs here is good.
fn before_it_runs(site: &Site, selection: &Selection, runs: &str, count: &mut Count) -> Result<()> {
    let Kind::Wasmtime { postern, .. } = Kind::wasmtime(&root())? else { return Ok(()) };
    if site.boundary == Boundary::Host {
        config::refused(site, &postern, selection, count)?;
    }
    for row in ["D4", "D5", "D11", "S18"] {
        if is_chosen(selection, row, "holds") {
            let name = format!("{row}/holds on {}", site.boundary.name());
            config::holds(runs, site, &postern, &name, count)?;
        }
    }
    Ok(())
}

/// Has a value used, changes it, and waits until the new one is.
fn change(site: &Site, engine: &Engine) -> Result<()> {
    let (old, new) = ("turned/old+2Lm=8Zp~4", "turned/new-5Rt=1Xq~9");
    let used = |value: &str| {
        let came = engine.use_once("turned").ok()??;
        memchr::memmem::find(&came.raw, value.as_bytes()).map(drop)
    };
    site.world.change("turned", old, now())?;
    until(CHANGED, || used(old)).context("the old value is not used")?;
    site.world.change("turned", new, now())?;
    until(CHANGED, || used(new)).context("the new value is not used")
}

/// Everything that must not be written down.
fn secrets(profile: &Profile) -> Result<Vec<(String, Vec<u8>)>> {
    let values = profile.credentials.values().filter(|it| it.secret.len() >= 12);
    let values = values.map(|it| (it.name.clone(), it.secret.clone().into_bytes()));
    let key = ("the caller's key".to_owned(), profile.caller.key()?.into_bytes());
    Ok(values.chain([key]).collect())
}

/// As they stand in the work tree: a program that is older than they are still runs them.
fn cases() -> PathBuf {
    root().join("tests/conformance/attacks")
}

fn folder() -> PathBuf {
    cases().join("profiles")
}

/// One key with every scope, and the set-up as a scenario's overlay.
fn caller() -> Result<Named> {
    let text = std::fs::read_to_string(folder().join("site.yaml")).context("site.yaml")?;
    let setup: Setup = serde_saphyr::from_str(&text).context("site.yaml")?;
    let keys = [("alice".to_owned(), KeySeed::default())].into();
    let scenario = Scenario {
        note: "attacks".into(),
        config: setup.config,
        route: Value::Null,
        seed: Seed { keys, ..Seed::default() },
        boundaries: Vec::new(),
        why: None,
        fresh: false,
        steps: Vec::new(),
        want: Vec::new(),
    };
    Ok(Named { name: "attacks".into(), scenario })
}

/// The profile of this harness with the key and the values of this run.
fn profile(site: &Site, named: &Named) -> Result<Profile> {
    let text = std::fs::read_to_string(folder().join("harness.yaml")).context("harness.yaml")?;
    let mut profile = Profile::read(&text).map_err(anyhow::Error::msg)?;
    let names = site.world.names(named);
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default());
    profile.caller.key = Some(text(names.key("alice"))?);
    for credential in profile.credentials.values_mut() {
        let value = names.secret(&credential.name);
        let value = value.with_context(|| format!("no credential {}", credential.name))?;
        if credential.former.is_none() {
            credential.secret = String::from_utf8(value)?;
        }
    }
    Ok(profile)
}

/// What a host for Spin's components does not give.
fn as_on_spin(profile: &mut Profile) {
    let lacks = [
        ("http2", "the host for Spin's components speaks HTTP/1.1"),
        ("session", "an instance knows what went through itself, and there are many"),
    ];
    for (feature, why) in lacks {
        profile.features.remove(feature);
        profile.without.insert(feature.to_owned(), why.to_owned());
    }
    // For the same reason former values are known to some instances and not to others.
    for credential in profile.credentials.values_mut() {
        credential.former = None;
    }
}

/// One line a case; what is not passed says why.
fn report(
    run: &Run,
    given: &Given,
    (boundary, first): (Boundary, Option<&Given>),
    (strict, count): (bool, &mut Count),
    known: &mut Checked,
) {
    for outcome in &run.outcomes {
        let name = format!("attacks/{} on {}", outcome.case.name, boundary.name());
        if let (Some(judged), false) = (known::judge(known, outcome), strict) {
            count.report(&name, &judged);
            continue;
        }
        match &outcome.verdict {
            Verdict::NotApplicable(why) => println!("n/a     {name}: {why}"),
            Verdict::Failed(lines) => count.report(&name, lines),
            Verdict::Pending(why, lines) if strict => {
                count.report(&name, &[std::slice::from_ref(why), lines.as_slice()].concat());
            }
            Verdict::Pending(why, _) => println!("pending {name}: {why}"),
            Verdict::Passed => {
                count.report(&name, &unlike(&outcome.case.name, given, (boundary, first)));
            }
        }
    }
    if !run.strays.is_empty() {
        count.report("attacks/strays", &run.strays);
    }
}

fn unlike(name: &str, given: &Given, (boundary, first): (Boundary, Option<&Given>)) -> Vec<String> {
    let Some(first) = first else { return Vec::new() };
    let (host, here) = (first.get(name), given.get(name));
    if host == here {
        return Vec::new();
    }
    let shown = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
    vec![format!("host {}", shown(host)), format!("{} {}", boundary.name(), shown(here))]
}
