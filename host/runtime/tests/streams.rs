//! Streams through the shipped `envoy.yaml` and the modules as they ship.

mod support;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::proxy::chain::{Chain, Output};
use postern_runtime::proxy::exchange::Exchange;
use postern_runtime::proxy::failure::Failure;
use postern_runtime::proxy::filters::{Filters, Site};
use postern_runtime::proxy::launch::{LaunchError, Programs, Surroundings, Worker};
use postern_runtime::view::*;
use support::Process;

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The shipped file, with the modules where this build has put them.
fn gateway(edit: impl Fn(String) -> String) -> Gateway {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    let text = SHIPPED.replace("target/plugins/", &format!("{}/", folder.display()));
    Gateway::parse(&edit(text)).unwrap()
}

/// The shipped modules, compiled once; others each time.
fn programs(gateway: &Gateway) -> Result<Programs, LaunchError> {
    static SHARED: OnceLock<Programs> = OnceLock::new();
    let load = |gateway: &Gateway| Programs::load(support::engine(), gateway);
    let shipped = self::gateway(|text| text);
    let modules = |gateway: &Gateway| {
        gateway.listeners[0].http.filters.first().and_then(|it| Some(it.plugin()?.module.clone()))
    };
    match modules(gateway) {
        Some(other) if modules(&shipped) != Some(other.clone()) => load(gateway),
        _ => Ok(SHARED.get_or_init(|| load(&shipped).unwrap()).clone()),
    }
}

fn start(gateway: &Gateway, process: &Rc<Process>) -> Result<Rc<Site>, LaunchError> {
    let programs = programs(gateway)?;
    let services = |_: usize, _: &str| -> Rc<dyn Services> { process.clone() };
    let around = Surroundings {
        variable: &|_| Some(KEY.to_owned()),
        services: &services,
        settings: VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() },
    };
    let worker = Worker::start(gateway, &programs, &around)?;
    Ok(worker.sites[0].clone())
}

fn pairs(lines: &[(&str, &str)]) -> Pairs {
    lines.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
}

/// A `GET` to `authority` and what leaves at once.
fn ask(site: &Rc<Site>, authority: &str, rest: &[(&str, &str)]) -> (Vec<Output>, Filters) {
    let head =
        [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/api/a")];
    let exchange = Rc::new(RefCell::new(Exchange::new(pairs(&[&head, rest].concat()))));
    let mut filters = Filters::new(site.clone(), exchange.clone(), Rc::new(()), Duration::ZERO);
    let mut chain = Chain::new(exchange, &filters.slots());
    chain.request_headers(&mut filters, true);
    let outputs = std::iter::from_fn(|| chain.poll()).collect();
    filters.finish();
    (outputs, filters)
}

fn status(outputs: &[Output]) -> Option<String> {
    let Some(Output::Headers(Direction::Response, pairs, _)) = outputs.first() else { return None };
    let line = pairs.iter().find(|(name, _)| name == b":status")?;
    Some(String::from_utf8_lossy(&line.1).into_owned())
}

#[test]
fn a_caller_without_a_key_is_told_so_by_the_gate_and_nothing_leaves() {
    let process = Rc::new(Process::default());
    let site = start(&gateway(|text| text), &process).unwrap();
    let (outputs, _) = ask(&site, "local.test", &[]);
    assert_eq!(status(&outputs).as_deref(), Some("401"), "{}", process.log_text());
    let Some(Output::Body(Direction::Response, body, true)) = outputs.get(1) else {
        panic!("{outputs:?}")
    };
    assert!(String::from_utf8_lossy(body).contains("credentials_missing"));
    assert_eq!(outputs.len(), 2);
}

#[test]
fn the_logger_keeps_the_gate_going() {
    let process = Rc::new(Process::default());
    let site = start(&gateway(|text| text), &process).unwrap();
    for turn in 0..5 {
        let (outputs, _) = ask(&site, "local.test", &[]);
        assert_eq!(status(&outputs).as_deref(), Some("401"), "turn {turn}");
    }
    let silent = gateway(|text| {
        let filter = "- name: postern.audit\n            filter: {header_filter: {header: {name: x-log, present_match: true}}}";
        text.replacen("- name: postern.audit", filter, 1)
    });
    let site = start(&silent, &process).unwrap();
    let answers: Vec<_> = (0..2).map(|_| status(&ask(&site, "local.test", &[]).0)).collect();
    assert_eq!(answers, [Some("401".to_owned()), Some("503".to_owned())]);
}

#[test]
fn without_the_gate_the_credential_module_lets_nothing_leave() {
    let process = Rc::new(Process::default());
    let mut gateway = gateway(|text| text);
    gateway.listeners[0].http.filters.clear();
    let site = start(&gateway, &process).unwrap();
    let (outputs, filters) = ask(&site, "local.test", &[]);
    assert_eq!(status(&outputs).as_deref(), Some("403"), "{}", process.log_text());
    assert_eq!(filters.target.as_ref().map(|target| target.cluster.as_str()), Some("local"));
}

/// A well-formed key that nobody has been given.
const CALLER: &str = "pk_00000001_00000000000000000000000000000000000000000012aOVGV";

#[test]
fn a_gate_that_waits_for_the_key_service_is_paused_and_a_failure_is_503() {
    let process = Rc::new(Process::default());
    let site = start(&gateway(|text| text), &process).unwrap();
    let bearer = format!("Bearer {CALLER}");
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "local.test"),
        (":path", "/api/a"),
        ("authorization", bearer.as_str()),
    ];
    let exchange = Rc::new(RefCell::new(Exchange::new(pairs(&head))));
    let mut filters = Filters::new(site, exchange.clone(), Rc::new(()), Duration::ZERO);
    let mut chain = Chain::new(exchange, &filters.slots());
    chain.request_headers(&mut filters, true);
    assert_eq!(chain.poll(), None, "{}", process.log_text());
    let mut asked = 0;
    while let Some((token, call)) = process.calls.take().pop() {
        assert_eq!(call.cluster, b"key_service");
        asked += 1;
        chain.meanwhile(&mut filters, 0, |it| it.answer(0, token, Failure::Connect.answer()));
    }
    assert!(asked > 0);
    let outputs: Vec<Output> = std::iter::from_fn(|| chain.poll()).collect();
    assert_eq!(status(&outputs).as_deref(), Some("503"), "{outputs:?}");
}

#[test]
fn a_request_for_no_domain_is_404_once_the_gate_lets_it_pass() {
    let mut gateway = gateway(|text| text);
    gateway.listeners[0].http.filters.clear();
    let site = start(&gateway, &Rc::default()).unwrap();
    assert_eq!(status(&ask(&site, "nowhere.test", &[]).0).as_deref(), Some("404"));
}

#[test]
fn a_module_that_is_not_there_or_is_no_module_is_named() {
    let missing = gateway(|text| text.replace("gate.wasm", "none.wasm"));
    let error = start(&missing, &Rc::default()).err().unwrap();
    assert!(matches!(&error, LaunchError::Read { file, .. } if file.ends_with("none.wasm")));
    let other = gateway(|text| text.replace("gate.wasm", "SHA256SUMS"));
    let error = start(&other, &Rc::default()).err().unwrap();
    assert!(matches!(&error, LaunchError::Program { file, .. } if file.ends_with("SHA256SUMS")));
}

#[test]
fn a_configuration_that_a_module_refuses_keeps_the_gateway_from_starting() {
    let bad = gateway(|text| text.replace("body_limit: 256KiB", "body_limit: lots"));
    let process = Rc::new(Process::default());
    let error = start(&bad, &process).err().unwrap();
    assert!(matches!(error, LaunchError::Start { .. }), "{error}");
    assert!(process.log_text().contains("body_limit"), "{}", process.log_text());
}
