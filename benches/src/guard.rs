//! What the shipped modules compute for a request, counted: the same on every machine, so that
//! a change that makes requests dearer fails a test and no stopwatch is needed.
//!
//! Kinds of requests and the most that a count may grow stand in `benches/definitions/guard.yaml`,
//! what was counted last in `benches/definitions/guard.json`. Counted is wasmtime's fuel, about
//! one an instruction, over all callbacks of a request, by module, of the modules as they ship.
//!
//! Invariant: a kind of request, or a module of it, that is not recorded fails. Counts of modules
//! that another compiler built are shown and not compared, and the last line says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use postern_harness::gateway::{Gateway, Site};
use postern_harness::live::Caller;
use postern_harness::root;
use postern_harness::scenario::Boundary;
use postern_rig::gateway::{Config, Kind, Launch};
use postern_rig::upstream::Answer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::load::{self, Until};

/// Requests of a kind; the median counts, since a batch of audit records falls on one of them.
const REQUESTS: usize = 30;
/// Those before, for caches to fill.
const WARM: usize = 10;

/// `guard.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definitions {
    /// Most that a count may have grown.
    most: f64,
    /// Most that a kind may cost beside the one that it is `beside` (goal P8).
    growth: f64,
    kinds: BTreeMap<String, Definition>,
}

/// A kind of request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    /// Why its cost matters.
    #[expect(dead_code, reason = "for who reads the file")]
    why: String,
    /// Whether an API key comes with it.
    key: bool,
    /// The credential that it asks for.
    credential: Option<String>,
    path: String,
    /// The status of each answer.
    status: u16,
    /// Bytes of the upstream's answer, of JSON.
    answer: usize,
    /// A policy in Rego, inline.
    policy: Option<String>,
    /// Other bindings of both modules, and other rules of scopes, each before those that count.
    #[serde(default)]
    others: usize,
    /// The same without what makes it another kind.
    beside: Option<String>,
}

/// `guard.json`.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    /// What built the modules.
    compiler: String,
    /// Counts by kind and module.
    fuel: BTreeMap<String, BTreeMap<String, u64>>,
}

fn file(name: &str) -> PathBuf {
    root().join("benches/definitions").join(name)
}

/// `postern-bench guard`.
pub fn run(record: bool, compiler: &str, json: bool) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file("guard.yaml")).context("guard.yaml")?;
    let definitions: Definitions = serde_saphyr::from_str(&text).context("guard.yaml")?;
    for beside in definitions.kinds.values().filter_map(|one| one.beside.as_ref()) {
        ensure!(definitions.kinds.contains_key(beside), "guard.yaml: no kind {beside}");
    }
    let fuel = measure(&definitions)?;
    let grown = grown(&fuel, &definitions);
    ensure!(!record || grown.iter().all(Row::good), "not recorded: {grown:?}");
    if record {
        let recorded = Recorded { compiler: compiler.to_owned(), fuel };
        let text = serde_json::to_string_pretty(&recorded)? + "\n";
        postern_files::write_atomic(file("guard.json"), text.as_bytes())?;
        println!("guard: recorded");
        return Ok(ExitCode::SUCCESS);
    }
    let text = std::fs::read_to_string(file("guard.json")).context("guard.json")?;
    let recorded: Recorded = serde_json::from_str(&text).context("guard.json")?;
    let rows = rows(&fuel, &recorded.fuel, definitions.most);
    rows.iter().chain(&grown).for_each(|row| row.print(json));
    let same = recorded.compiler == compiler;
    let counts = |row: &&Row| same || row.recorded.is_none();
    let compared: Vec<&Row> = rows.iter().filter(counts).chain(&grown).collect();
    let bad = compared.iter().filter(|row| !row.good()).count();
    let good = compared.len().saturating_sub(bad);
    let left = rows.len().saturating_add(grown.len()).saturating_sub(compared.len());
    let beside = match left {
        0 => String::new(),
        left => {
            format!("; {left} not compared, since {:?} built what is recorded", recorded.compiler)
        }
    };
    eprintln!("guard: {good} passed, {bad} failed{beside}");
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A count beside what is recorded.
#[derive(Debug, PartialEq)]
struct Row {
    /// Kind and module.
    name: String,
    counted: u64,
    recorded: Option<u64>,
    most: f64,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.recorded.filter(|recorded| *recorded > 0).map(|it| self.counted as f64 / it as f64)
    }

    fn good(&self) -> bool {
        self.ratio().is_some_and(|ratio| ratio <= self.most)
    }

    fn print(&self, json: bool) {
        let Self { name, counted, recorded, most } = self;
        if json {
            let line = json!({"id": format!("guard.{name}"), "ratio": self.ratio(), "op": "<=",
                "goal": most, "met": self.good(), "ours": counted, "other": recorded,
                "unit": "fuel/request"});
            return println!("{line}");
        }
        match self.ratio() {
            None => println!("guard.{name}: {counted}, and nothing is recorded"),
            Some(ratio) => {
                let met = if self.good() { "" } else { ", MORE than may be" };
                println!("guard.{name}: {counted}, {ratio:.3} of what is recorded{met}");
            }
        }
    }
}

/// One row for each module of a kind that stands beside another.
fn grown(counted: &BTreeMap<String, BTreeMap<String, u64>>, definitions: &Definitions) -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, definition) in &definitions.kinds {
        let Some(beside) = &definition.beside else { continue };
        let (Some(own), Some(other)) = (counted.get(kind), counted.get(beside)) else { continue };
        rows.extend(own.iter().map(|(module, count)| Row {
            name: format!("{kind}.{module}.beside.{beside}"),
            counted: *count,
            recorded: other.get(module).copied(),
            most: definitions.growth,
        }));
    }
    rows
}

/// One row for each count, and one for each that is recorded and was not counted.
fn rows(
    counted: &BTreeMap<String, BTreeMap<String, u64>>,
    recorded: &BTreeMap<String, BTreeMap<String, u64>>,
    most: f64,
) -> Vec<Row> {
    let of = |all: &BTreeMap<String, BTreeMap<String, u64>>, kind: &str, module: &str| {
        all.get(kind).and_then(|modules| modules.get(module)).copied()
    };
    let names = |all: &BTreeMap<String, BTreeMap<String, u64>>| {
        let pairs = all.iter().flat_map(|(kind, modules)| {
            modules.keys().map(move |module| (kind.clone(), module.clone()))
        });
        pairs.collect::<Vec<_>>()
    };
    let mut all = names(counted);
    all.extend(names(recorded));
    all.sort();
    all.dedup();
    let row = |(kind, module): &(String, String)| Row {
        name: format!("{kind}.{module}"),
        counted: of(counted, kind, module).unwrap_or(u64::MAX),
        recorded: of(recorded, kind, module),
        most,
    };
    all.iter().map(row).collect()
}

fn measure(definitions: &Definitions) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let site = Site::new(Boundary::Host, Kind::wasmtime(&root())?)?;
    let caller = Caller::new(&site, "guard")?;
    let key = caller.key(&site).context("key")?;
    let one = |(kind, definition): (&String, &Definition)| {
        let counts = counted(&site, &key, definition).with_context(|| kind.clone())?;
        Ok((kind.clone(), counts))
    };
    definitions.kinds.iter().map(one).collect()
}

fn counted(site: &Site, key: &[u8], definition: &Definition) -> Result<BTreeMap<String, u64>> {
    let item = r#"{"id": 1048576, "name": "a document", "open": true, "tags": ["a", "b"]},"#;
    let answer = Answer {
        fields: vec![(b"content-type".to_vec(), b"application/json".to_vec())],
        chunks: vec![item.bytes().cycle().take(definition.answer).collect()],
        ..Answer::default()
    };
    site.upstreams.values().for_each(|upstream| upstream.answer(answer.clone()));
    let request = request(definition, key);
    let mut config = site.config(None)?;
    // As shipped; scenarios want each record at once.
    config.module("audit", |audit| audit["batch"] = json!({"records": 100, "every": "1s"}));
    more(&mut config, definition.others);
    if let Some(policy) = &definition.policy {
        config.module("gate", |gate| gate["policy"] = json!({"rego": {"inline": policy}}));
    }
    let launch = Launch { counts: true, ..site.launch() };
    let gateway = Gateway::launched(site, &launch, &config)?;
    let count = WARM.saturating_add(REQUESTS);
    let until = Until::Count(count);
    let done = load::run_for(gateway.port(), &request, until, definition.status)?;
    ensure!(done.wrong == 0, "{} of {count} answers were not {}", done.wrong, definition.status);
    site.wait_for_records(count)?;
    site.take_forwarded();
    medians(&gateway.process.trace()?)
}

/// Puts other bindings and other rules before those that are there.
fn more(config: &mut Config, count: usize) {
    for module in ["gate", "credential"] {
        config.module(module, |document| {
            let Some(first) = document["bindings"].get(0).cloned() else { return };
            let other = |number: usize| {
                let mut binding = first.clone();
                binding["credential"] = json!(format!("other-{number}"));
                binding["paths"] = json!([format!("/other/{number}/**")]);
                binding["site"] = json!({"header": format!("x-other-{number}"), "style": "bearer"});
                binding
            };
            before(&mut document["bindings"], (0..count).map(other));
            if module == "gate" {
                let rule = |number| {
                    json!({"methods": ["GET"], "path": format!("/other/{number}/**"), "require": []})
                };
                before(&mut document["scopes"], (0..count).map(rule));
            }
        });
    }
}

fn before(list: &mut Value, others: impl Iterator<Item = Value>) {
    if let Some(list) = list.as_array_mut() {
        list.splice(0..0, others);
    }
}

/// A request with what an ordinary client sends.
fn request(definition: &Definition, key: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nhost: api.test\r\naccept: application/json, text/plain;q=0.9\r\n\
         user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0.0.0\r\n\
         accept-encoding: gzip, deflate, br, zstd\r\n\
         x-request-id: 6f9619ff-8b86-4011-b42d-00cf4fc964ff\r\n",
        definition.path
    )
    .into_bytes();
    if definition.key {
        request.extend([b"x-tap-key: ", key, b"\r\n"].concat());
    }
    if let Some(name) = &definition.credential {
        request.extend(format!("x-tap-credential: {name}\r\n").bytes());
    }
    request.extend(b"\r\n");
    request
}

/// By module, of the requests after those that warm it up.
fn medians(trace: &[Value]) -> Result<BTreeMap<String, u64>> {
    let mut requests: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    for callback in trace {
        let Some(stream) = callback["stream"].as_u64() else { continue };
        let fuel = callback["fuel"].as_u64().context("a callback without fuel")?;
        let plugin = callback["plugin"].as_str().context("a callback without plugin")?;
        let sum = requests.entry(stream).or_default().entry(plugin.to_owned()).or_default();
        *sum = sum.saturating_add(fuel);
    }
    let mut modules: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for sums in requests.values().skip(WARM) {
        for (module, sum) in sums {
            modules.entry(module.clone()).or_default().push(*sum);
        }
    }
    let median = |(module, mut sums): (String, Vec<u64>)| {
        sums.sort_unstable();
        let middle = sums.get(sums.len() / 2).copied().context("no request was counted")?;
        Ok((module, middle))
    };
    ensure!(!modules.is_empty(), "no request was counted");
    modules.into_iter().map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(gate: u64) -> BTreeMap<String, BTreeMap<String, u64>> {
        BTreeMap::from([("chain".to_owned(), BTreeMap::from([("gate".to_owned(), gate)]))])
    }

    #[test]
    fn five_in_a_hundred_more_is_too_much_and_what_is_not_known_is_no_pass() {
        let good = |counted: u64, recorded: &_| {
            rows(&counts(counted), recorded, 1.05).iter().all(Row::good)
        };
        assert!(good(1050, &counts(1000)));
        assert!(good(10, &counts(1000)));
        assert!(!good(1051, &counts(1000)));
        assert!(!good(1000, &BTreeMap::new()));
        assert!(!rows(&BTreeMap::new(), &counts(1000), 1.05).iter().all(Row::good));
    }

    #[test]
    fn callbacks_of_a_request_add_up_and_those_of_no_request_do_not_count() {
        let line = |stream: Value, plugin: &str, fuel: u64| {
            json!({"stream": stream,
            "plugin": plugin, "fuel": fuel})
        };
        let mut trace = vec![line(Value::Null, "audit", 999)];
        for stream in 0..(WARM as u64).saturating_add(3) {
            let warm = if stream < WARM as u64 { 1000 } else { 0 };
            trace.push(line(json!(stream), "gate", warm + 10));
            trace.push(line(json!(stream), "gate", stream));
            trace.push(line(json!(stream), "audit", 5));
        }
        let expected = BTreeMap::from([("audit".to_owned(), 5), ("gate".to_owned(), 21)]);
        assert_eq!(medians(&trace).unwrap(), expected);
        assert!(medians(&[]).is_err());
    }
}
