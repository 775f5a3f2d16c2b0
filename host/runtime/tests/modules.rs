//! The engine with the modules as they ship.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_runtime::engine::{
    Action, Capabilities, Engine, EngineSettings, Plugin, Program, RootId, StartError, Vm,
    VmSettings,
};
use postern_runtime::view::CallAnswer;
use support::{Process, module, stream};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const KEY_SERVICE: &str = r#""tenant": "acme", "key_service": {"cluster": "key_service",
    "authority": "localhost", "gateway_id": "00112233445566778899aabbccddeeff", "evidence": "sim"},
    "danger_allow_simulated": {"key": "GYH9HAEhaoYrHHyIyqTIh407DfTiVDUqtPWkS5-DuLs"}"#;
const GATE: &str = r#", "authenticators": [{"api_key": {"header": "authorization", "prefixes": ["pk_"]}}],
    "scopes": [{"methods": ["GET"], "path": "/**", "require": ["documents:read"]}], "body": "hold",
    "upstreams": {"local": {"authority": "local.test", "region": "local"}}, "bindings": []"#;

fn environment() -> Vec<(String, String)> {
    ["PERMIT", "SHARED", "GATE", "CREDENTIAL", "AUDIT"]
        .map(|name| (format!("POSTERN_{name}_KEY"), KEY.to_owned()))
        .to_vec()
}

/// What `envoy.yaml` allows a module: what it imports and exports, without what is withheld.
fn allowed(name: &str) -> Capabilities {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/imports");
    let lines = |kind: &str| -> BTreeSet<String> {
        let file = folder.join(name.replace(".wasm", kind));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().filter_map(|line| line.rsplit([' ', '.']).next()).map(str::to_owned).collect()
    };
    Capabilities::only(&lines(".txt") - &lines(".withheld.txt"))
}

/// Compiled once for all tests.
fn program(name: &'static str) -> Program {
    static PROGRAMS: Mutex<BTreeMap<&str, Program>> = Mutex::new(BTreeMap::new());
    let make = || Program::new(support::engine(), &module(name), allowed(name)).unwrap();
    PROGRAMS.lock().unwrap().entry(name).or_insert_with(make).clone()
}

fn start(name: &'static str, process: &Rc<Process>) -> Vm {
    let settings = VmSettings {
        vm_id: "postern".to_owned(),
        environment: environment(),
        deadline: Duration::from_secs(5),
        ..VmSettings::default()
    };
    Vm::start(&program(name), settings, process.clone()).unwrap()
}

fn plugin(rest: &str) -> Plugin {
    let configuration = Arc::from(format!("{{{KEY_SERVICE}{rest}}}").into_bytes());
    Plugin { name: "postern.test".to_owned(), root_id: String::new(), configuration }
}

fn configured(name: &'static str, rest: &str) -> (Vm, RootId, Rc<Process>) {
    let process = Rc::new(Process::default());
    let mut vm = start(name, &process);
    let root = vm.root(plugin(rest)).unwrap_or_else(|e| panic!("{e}\n{}", process.log_text()));
    (vm, root, process)
}

#[test]
fn every_module_takes_a_good_configuration_and_refuses_an_unknown_key() {
    let audit =
        r#", "batch": {"records": 100, "every": "1s"}, "buffer": "4MiB", "when_full": "all""#;
    let credential = r#", "role": "inject", "cache": {"ttl": "3s", "entries": 256},
        "upstreams": {"local": {"authority": "local.test", "region": "local"}}, "bindings": []"#;
    for (name, rest) in
        [("gate.wasm", GATE), ("credential.wasm", credential), ("audit.wasm", audit)]
    {
        let (mut vm, _, process) = configured(name, rest);
        let refused = vm.root(plugin(&format!(r#"{rest}, "no_such_key": 1"#)));
        assert_eq!(refused, Err(StartError::Configuration("postern.test".to_owned())), "{name}");
        let text = process.log_text();
        assert!(text.contains("no_such_key"), "{name}: {text}");
        assert!(vm.trapped().is_none());
    }
}

#[test]
fn a_module_without_its_keys_refuses_its_configuration() {
    let program =
        Program::new(support::engine(), &module("gate.wasm"), Capabilities::default()).unwrap();
    let process = Rc::new(Process::default());
    let mut vm = Vm::start(&program, VmSettings::default(), process.clone()).unwrap();
    assert!(matches!(vm.root(plugin(GATE)), Err(StartError::Configuration(_))));
    assert!(process.log_text().contains("POSTERN_"), "{}", process.log_text());
}

#[test]
fn gate_answers_a_request_without_credentials_with_401() {
    let (mut vm, root, process) = configured("gate.wasm", GATE);
    let request =
        [(":method", "GET"), (":path", "/a"), (":authority", "local.test"), (":scheme", "http")];
    let view = stream(&request);
    let id = vm.stream(root, view.clone()).unwrap();
    assert_eq!(vm.request_headers(id, 4, true), Ok(Action::Pause), "{}", process.log_text());
    let reply = view.reply.borrow_mut().take().expect("a local reply");
    assert_eq!(reply.status, 401);
    let body = String::from_utf8(reply.body).unwrap();
    assert!(body.contains("credentials_missing"), "{body}");
    vm.done(id).unwrap();
    vm.log(id).unwrap();
    vm.delete(id).unwrap();
}

#[test]
fn many_requests_do_not_grow_the_memory_of_gate() {
    let (mut vm, root, _) = configured("gate.wasm", GATE);
    let mut requests = |count: usize| {
        for _ in 0..count {
            let view = stream(&[(":method", "GET"), (":path", "/a"), (":authority", "local.test")]);
            let id = vm.stream(root, view).unwrap();
            vm.request_headers(id, 3, true).unwrap();
            vm.done(id).unwrap();
            vm.log(id).unwrap();
            vm.delete(id).unwrap();
        }
        vm.memory()
    };
    let warm = requests(500);
    assert_eq!(requests(10_000), warm);
}

#[test]
fn gate_asks_the_key_service_and_refuses_when_the_answer_is_a_failure() {
    let (mut vm, root, process) = configured("gate.wasm", GATE);
    let key = "Bearer pk_0000000100000000000000000000000000000000000000000000000000000";
    let request = [
        (":method", "GET"),
        (":path", "/a"),
        (":authority", "local.test"),
        (":scheme", "http"),
        ("authorization", key),
    ];
    let view = stream(&request);
    let id = vm.stream(root, view.clone()).unwrap();
    assert_eq!(vm.request_headers(id, 5, true), Ok(Action::Pause));
    // Whatever it asks is answered as Envoy answers when nobody listens, until it gives up.
    for _ in 0..8 {
        let Some((token, call)) = process.calls.borrow_mut().pop() else { break };
        assert_eq!(call.cluster, b"key_service");
        let headers = vec![(b":status".to_vec(), b"503".to_vec())];
        let answer = CallAnswer {
            headers,
            body: b"upstream connect error".to_vec(),
            ..CallAnswer::default()
        };
        assert_eq!(vm.http_call_response(token, answer), Ok(true));
    }
    let status = view.reply.borrow().as_ref().map(|reply| reply.status);
    assert!(matches!(status, Some(401 | 503)), "{status:?}\n{}", process.log_text());
    assert_eq!(vm.http_call_response(4711, CallAnswer::default()), Ok(false));
}

#[test]
fn a_cached_module_is_ready_in_a_fraction_of_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let settings = EngineSettings { cache: Some(folder.path().join("modules")), fuel: false };
    let wasm = module("gate.wasm");
    let load = || {
        let engine = Engine::new(&settings).unwrap();
        let start = std::time::Instant::now();
        Program::new(&engine, &wasm, Capabilities::default()).unwrap();
        start.elapsed()
    };
    let (cold, warm) = (load(), load());
    assert!(warm < cold / 2, "compiled in {cold:?}, from the cache in {warm:?}");
}
