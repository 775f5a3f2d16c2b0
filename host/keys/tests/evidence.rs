//! Evidence of hardware: from a made machine, through a local attestation service that
//! really signs, to what a gateway that pins them accepts.

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL;
use postern_attester::{self as made, ISSUER, KEY_ID, MaaServer, ORIGIN};
use postern_core::config::evidence::parse;
use postern_core::time::UnixMillis;
use postern_crp::evidence::{Evidence, Refusal, Runtime, Seen, Trust, appraise};
use postern_keys::evidence::{Attester, Hardware, ReportSource, Tsm};
use postern_keys::{Config, Fault, Service};
use serde_json::{Value, json};
use support::NOW;
use support::hardware::{Machine, TCBM, host, settings};

fn trust(require: &[&str]) -> Trust {
    let mut pins = json!({
        "require": require,
        "releases": {"origin": ORIGIN, "keys": [made::release_vkey()]},
    });
    if require.contains(&"maa") {
        let key = json!({"kid": KEY_ID, "n": made::maa_key()["n"]});
        pins["maa"] = json!({"issuers": [{"issuer": ISSUER, "keys": [key]}]});
    }
    if require.contains(&"snp") {
        pins["snp"] = json!({
            "products": ["Genoa"],
            "danger_roots": {"Genoa": URL.encode(made::root_modulus())},
            "uvm": [{"issuer": made::uvm_fingerprint(), "feed": "ContainerPlat-AMD-UVM"}],
        });
    }
    Trust::of(&parse(pins.to_string().as_bytes()).unwrap()).unwrap()
}

fn runtime(challenge: Option<[u8; 32]>) -> Vec<u8> {
    let (not_before, not_after) = (NOW.seconds() - 60, NOW.seconds() + 3600);
    let (kex, signing_key, epoch) = ([1; 32], [2; 32], 7);
    Runtime { kex, signing_key, epoch, not_before, not_after, challenge }.to_bytes()
}

fn judge(document: &[u8], require: &[&str]) -> Result<Evidence, Refusal> {
    appraise(document, &trust(require), Seen::default(), NOW)
}

fn server() -> MaaServer {
    MaaServer::start(|| NOW.seconds())
}

#[test]
fn a_document_of_both_kinds_is_accepted_by_who_requires_either_or_both() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let server = server();
    let attester = Hardware::new(&settings(folder.path(), true, Some(&server)), Box::new(Machine));
    assert_eq!((attester.kind(), attester.label()), ("maa+snp", "maa+snp"));
    let document = attester.attest(&runtime(None), NOW).unwrap();
    for require in [&["maa"][..], &["snp"], &["maa", "snp"]] {
        let evidence = judge(&document, require).unwrap();
        assert_eq!((evidence.kex(), evidence.releases()), (&[1; 32], 4));
    }
    // Simulated evidence is not accepted in its place, nor it in the place of that.
    let simulated = appraise(&document, &Trust::Simulated([7; 32]), Seen::default(), NOW);
    assert_eq!(simulated, Err(Refusal::Kind));
}

#[test]
fn one_kind_does_not_do_where_both_are_required() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let server = server();
    for (snp, maa) in [(true, None), (false, Some(&server))] {
        let attester = Hardware::new(&settings(folder.path(), snp, maa), Box::new(Machine));
        let document = attester.attest(&runtime(None), NOW).unwrap();
        assert_eq!(judge(&document, &["maa", "snp"]), Err(Refusal::Kind));
        assert!(judge(&document, &[attester.kind()]).is_ok());
    }
}

#[test]
fn the_service_is_asked_once_in_half_an_hour_and_the_old_answer_outlives_its_failures() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let server = server();
    let attester = Hardware::new(&settings(folder.path(), false, Some(&server)), Box::new(Machine));
    for _ in 0..3 {
        attester.attest(&runtime(None), NOW).unwrap();
    }
    assert_eq!(server.asked(), 1);
    let later = UnixMillis(NOW.0 + 31 * 60 * 1000);
    server.fail(500);
    assert!(attester.attest(&runtime(None), later).is_ok());
    server.fail(200);
    assert!(attester.attest(&runtime(None), UnixMillis(later.0 + 30_000)).is_ok());
    assert_eq!(server.asked(), 3);
}

#[test]
fn a_failure_is_remembered_for_half_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let server = server();
    let attester = Hardware::new(&settings(folder.path(), false, Some(&server)), Box::new(Machine));
    let ask = |after: u64| attester.attest(&runtime(None), UnixMillis(NOW.0 + after));
    server.fail(503);
    let first = ask(0).unwrap_err();
    for after in [1, 1000, 29_999] {
        assert_eq!(ask(after), Err(first.clone()));
    }
    assert_eq!(server.asked(), 1);
    server.fail(200);
    assert!(ask(30_000).is_ok());
    assert_eq!(server.asked(), 2);
}

/// A machine whose reports come when they are let through, after the first.
struct Slow(Mutex<Receiver<()>>, Mutex<Sender<()>>);

impl ReportSource for Slow {
    fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Fault> {
        self.1.lock().unwrap().send(()).unwrap();
        self.0.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Machine.report(report_data)
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn nobody_waits_for_new_evidence_while_there_is_old() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let (let_through, gate) = channel();
    let (asked, seen) = channel();
    let slow = Slow(Mutex::new(gate), Mutex::new(asked));
    let attester = Arc::new(Hardware::new(&settings(folder.path(), true, None), Box::new(slow)));
    let_through.send(()).unwrap();
    let old = attester.attest(&runtime(None), NOW).unwrap();
    seen.recv_timeout(PATIENCE).unwrap();
    let stale = UnixMillis(NOW.0 + 31 * 60 * 1000);
    let maker = Arc::clone(&attester);
    let maker = std::thread::spawn(move || maker.attest(&runtime(None), stale));
    seen.recv_timeout(PATIENCE).unwrap();
    // The report is not there yet; whoever asks now has the old one at once.
    let (answer, answered) = channel();
    let asker = Arc::clone(&attester);
    std::thread::spawn(move || answer.send(asker.attest(&runtime(None), stale)));
    let meanwhile = answered.recv_timeout(Duration::from_secs(2));
    let_through.send(()).unwrap();
    assert!(meanwhile == Ok(Ok(old)), "no answer, or another");
    assert!(maker.join().unwrap().is_ok());
}

#[tokio::test]
async fn a_flood_of_challenges_is_answered_with_few_reports_and_keeps_no_one_from_evidence() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let server = server();
    let attester = Hardware::new(&settings(folder.path(), true, Some(&server)), Box::new(Machine));
    let config = Config::local(&folder.path().join("data"));
    let service = Service::open_with(&config, Arc::new(attester), NOW).await.unwrap();
    let plain = service.evidence(None, NOW).await.body;
    let plain = judge(&plain, &["maa", "snp"]).unwrap();
    let challenge = |index: u8| {
        let service = service.clone();
        tokio::spawn(async move { service.evidence(Some(&[index; 32]), NOW).await })
    };
    let asked: Vec<_> = (0..50).map(|index| (index, challenge(index))).collect();
    for (index, answer) in asked {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200, "challenge {index}");
        let fresh = judge(&answer.body, &["maa", "snp"]).unwrap();
        assert_eq!(fresh.answers(&[index; 32]), Ok(()));
        assert!(fresh.answers(&[index + 1; 32]).is_err() && fresh.same_keys(&plain));
    }
    assert!(server.asked() <= 4, "{} reports", server.asked());
}

#[test]
fn what_the_attestation_service_refuses_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let server = server();
    for status in [400, 401, 403, 404, 429, 500, 503] {
        server.fail(status);
        let settings = settings(folder.path(), false, Some(&server));
        let attester = Hardware::new(&settings, Box::new(Machine));
        let fault = attester.attest(&runtime(None), NOW).unwrap_err().to_string();
        assert!(fault.contains(&status.to_string()), "{fault}");
    }
}

#[test]
fn a_certificate_for_other_firmware_or_a_malformed_folder_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), "d314000000000006");
    let attester = || Hardware::new(&settings(folder.path(), true, None), Box::new(Machine));
    let fault = attester().attest(&runtime(None), NOW).unwrap_err().to_string();
    assert!(fault.contains("firmware"), "{fault}");
    host(folder.path(), "firmware");
    assert!(attester().attest(&runtime(None), NOW).is_err());
    std::fs::remove_file(folder.path().join("reference-info-base64")).unwrap();
    assert!(attester().attest(&runtime(None), NOW).is_err());
}

#[test]
fn a_kernel_without_reports_is_a_fault_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // Folders that are made here do not get a kernel's files.
    assert!(matches!(Tsm::at(folder.path()).report(&[7; 64]), Err(Fault::File { .. })));
    assert!(Tsm::at(&folder.path().join("none")).report(&[7; 64]).is_err());
}

#[tokio::test]
async fn a_service_on_hardware_says_so_and_serves_it() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let attester = Hardware::new(&settings(folder.path(), true, None), Box::new(Machine));
    let config = Config::local(&folder.path().join("data"));
    let service = Service::open_with(&config, Arc::new(attester), NOW).await.unwrap();
    assert_eq!(service.attestation(), ("snp", "snp"));
    assert_eq!(service.sim_key(), None);
    let answer = service.evidence(None, NOW).await;
    assert_eq!(answer.status, 200);
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["kind"], "snp");
    assert!(judge(&answer.body, &["snp"]).is_ok());
    // Without evidence there is none, and nothing is sealed to its keys.
    std::fs::remove_file(folder.path().join("releases.note")).unwrap();
    assert_eq!(service.evidence(None, NOW).await.status, 503);
}

#[tokio::test]
async fn a_release_set_is_recorded_when_it_is_first_served_and_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path(), TCBM);
    let attester = Hardware::new(&settings(folder.path(), true, None), Box::new(Machine));
    let config = Config::local(&folder.path().join("data"));
    let service = Service::open_with(&config, Arc::new(attester), NOW).await.unwrap();
    let recorded = async || {
        service.renew_evidence(NOW).await.unwrap();
        service.renew_evidence(NOW).await.unwrap();
        let mut export = service.export(None, None).await.unwrap();
        let page = service.export_page(&mut export).await.unwrap().unwrap();
        let lines = String::from_utf8(page).unwrap();
        let events = lines.lines().skip(1).map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let bytes = URL.decode(line["bytes"].as_str().unwrap()).unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        });
        let sets = events.filter(|event| event["kind"] == "release_set_loaded");
        sets.map(|set| set["sequence"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(recorded().await, ["4"]);
    let set = made::release_set(5, NOW.seconds() + 3600, &[made::HOST_DATA]);
    postern_files::write_atomic(folder.path().join("releases.note"), set.as_bytes()).unwrap();
    assert_eq!(recorded().await, ["4", "5"]);
    postern_files::write_atomic(folder.path().join("releases.note"), b"none").unwrap();
    assert_eq!(recorded().await, ["4", "5"]);
}
