//! The modules as they ship, in the file as it ships, in a lab.

use std::path::Path;
use std::time::Duration;

use postern_runtime::lab::{Lab, Request, Response, Setup};
use postern_runtime::proxy::failure::Failure;

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// A well-formed key that nobody has been given.
const CALLER: &str = "pk_00000001_00000000000000000000000000000000000000000012aOVGV";

fn lab(edit: impl Fn(String) -> String) -> Lab {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    let mut setup = Setup::yaml(edit(SHIPPED.to_owned()));
    for name in ["gate", "credential", "audit"] {
        let file = format!("{name}.wasm");
        setup = setup.module(&format!("target/plugins/{file}"), folder.join(file));
    }
    for name in ["PERMIT", "SHARED", "GATE", "CREDENTIAL", "AUDIT"] {
        setup = setup.variable(&format!("POSTERN_{name}_KEY"), KEY);
    }
    setup.start().unwrap_or_else(|e| panic!("{e}"))
}

fn request() -> Request {
    Request::get("/api/a").host("local.test")
}

#[test]
fn a_caller_without_a_key_is_told_so_and_nothing_leaves() {
    let lab = lab(|text| text);
    for turn in 0..3 {
        let stream = lab.send(request());
        assert_eq!(stream.status(), 401, "turn {turn}: {}", lab.log_text());
        assert!(stream.response().unwrap().text().contains("credentials_missing"));
        assert!(stream.upstream().is_none() && stream.is_over());
        assert!(stream.filter_state("wasm.postern.decision").is_some());
    }
    let lines = lab.access_log();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(r#""method":"GET""#) && lines[0].contains(r#""status":401"#));
    assert!(lines[0].contains(r#""time":"2027-01-15T08:00:00.000Z""#), "{}", lines[0]);
}

#[test]
fn a_gate_that_gets_no_answer_from_the_key_service_refuses() {
    let lab = lab(|text| text);
    let stream = lab.send(request().field("authorization", format!("Bearer {CALLER}")));
    assert_eq!(stream.status(), 0, "{}", lab.log_text());
    while let Some(call) = stream.calls().pop() {
        assert_eq!(call.cluster(), "key_service");
        call.fail(Failure::Connect);
    }
    assert_eq!(stream.status(), 503, "{}", lab.log_text());
    // And in time, without anyone who says something.
    let stream = lab.send(request().field("authorization", format!("Bearer {CALLER}")));
    lab.advance(Duration::from_secs(30));
    assert_eq!(stream.status(), 503, "{}", lab.log_text());
}

#[test]
fn without_the_gate_the_credential_module_lets_nothing_leave() {
    let start = "          - name: postern.gate\n";
    let end = "          - name: envoy.filters.http.router\n";
    let lab = lab(|text| {
        let (from, to) = (text.find(start).unwrap(), text.find(end).unwrap());
        // The bindings stand in the gate's part and are named in the credential's.
        let (anchors, rest) = (text[from..to].find("upstreams: &upstreams"), &text[to..]);
        let anchors = &text[from + anchors.unwrap()..to];
        let lists = anchors.split_once("bindings: &bindings").unwrap();
        let flow = |text: &str, name: &str| text.replace(&format!("*{name}"), &inline(lists, name));
        format!("{}{}", &text[..from], flow(&flow(rest, "upstreams"), "bindings"))
    });
    let stream = lab.send(request());
    assert_eq!(stream.status(), 403, "{}", lab.log_text());
    assert_eq!(stream.cluster().as_deref(), Some("local"));
    assert!(stream.upstream().is_none());
}

/// What an anchor stands for, in flow style.
fn inline((upstreams, _): (&str, &str), name: &str) -> String {
    if name == "bindings" {
        return "[]".to_owned();
    }
    let entries = upstreams.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

#[test]
fn the_audit_module_sends_its_records_once_time_passes() {
    let lab = lab(|text| text);
    lab.send(request());
    lab.advance(Duration::from_millis(500));
    let before = lab.calls().len();
    lab.advance(Duration::from_secs(2));
    let batch: Vec<_> = lab.calls().into_iter().skip(before).collect();
    assert!(!batch.is_empty(), "{}", lab.log_text());
    assert!(batch.iter().all(|call| call.cluster() == "key_service" && !call.is_of_a_stream()));
    batch[0].answer(Response::new(503));
}
