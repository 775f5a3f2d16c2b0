//! A gateway on its sockets is recorded, and the recording is run again.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::engine::trace::Rules;
use postern_runtime::lab::{Plugin, Setup};
use postern_runtime::record::{Header, Recorder, VERSION, digest};
use postern_runtime::replay::{self, Outcome, Recording, replay};
use postern_runtime::serve::{self, start};
use support::wat;

/// Adds what it finds in `x-team` and four random bytes to the request, the time to filter
/// state, and asks the cluster `upstream` about requests with `x-ask`.
fn module(field: &str, ask: bool) -> Vec<u8> {
    let data = |at: usize, text: &str| {
        let text: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        format!(r#"(data (i32.const {at}) "{text}")"#)
    };
    let map = "\x03\0\0\0\x07\0\0\0\x03\0\0\0\x05\0\0\0\x04\0\0\0\x0a\0\0\0\x04\0\0\0:method\0GET\0:path\0/ask\0:authority\0auth\0";
    let asking = if ask {
        "(if (i32.eqz (call $value (i32.const 0) (i32.const 1050) (i32.const 5) (i32.const 256) (i32.const 260)))
            (then (drop (call $http (i32.const 1060) (i32.const 8) (i32.const 1100) (i32.const 67)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 264)))
                (i32.store (i32.add (i32.const 16384) (i32.shl (i32.and (i32.load (i32.const 264)) (i32.const 255)) (i32.const 2))) (local.get 0))
                (return (i32.const 1))))"
    } else {
        ""
    };
    wat(&format!(
        r#"(import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))
        (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        (import "env" "proxy_http_call" (func $http (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        {}{}{}{}{}{}
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eqz (call $tick (i32.const 1))))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $time (i32.const 288)))
            (i64.store (i32.const 296) (i64.add (i64.const 0x3030303030303030) (i64.and (i64.load (i32.const 288)) (i64.const 0x0707070707070707))))
            (drop (call $log (i32.const 4) (i32.const 296) (i32.const 8))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $time (i32.const 288)))
            (drop (call $set (i32.const 1040) (i32.const 4) (i32.const 288) (i32.const 8)))
            (drop (call $random (i32.const 272) (i32.const 4)))
            (i32.store (i32.const 272) (i32.add (i32.const 0x30303030) (i32.and (i32.load (i32.const 272)) (i32.const 0x07070707))))
            (drop (call $add (i32.const 0) (i32.const 1030) (i32.const 3) (i32.const 272) (i32.const 4)))
            (if (i32.eqz (call $value (i32.const 0) (i32.const 1024) (i32.const 6) (i32.const 256) (i32.const 260)))
                (then (drop (call $add (i32.const 0) (i32.const 1080) (i32.const {}) (i32.load (i32.const 256)) (i32.load (i32.const 260))))))
            {asking} i32.const 0)
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            (drop (call $act_on (i32.load (i32.add (i32.const 16384) (i32.shl (i32.and (local.get 1) (i32.const 255)) (i32.const 2))))))
            (drop (call $continue (i32.const 0))))"#,
        data(1024, "x-team"),
        data(1030, "x-r"),
        data(1040, "time"),
        data(1050, "x-ask"),
        data(1060, "upstream"),
        data(1080, field) + &data(1100, map),
        field.len(),
    ))
}

/// Answers everything with the number of fields that came.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while let Some(head) = head(&mut stream) {
                    let body = format!("{} lines", head.lines().count());
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nset-cookie: s3ssion-0123456789\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(char::from(byte[0]));
    }
    Some(text)
}

fn ask(address: SocketAddr, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET /a HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

struct Place {
    folder: tempfile::TempDir,
    bootstrap: String,
    name: String,
}

impl Place {
    fn new(module: &[u8]) -> Self {
        Self::before(module, upstream())
    }

    /// Before the upstream at this port.
    fn before(module: &[u8], upstream: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("team.wasm");
        postern_files::write_atomic(&file, module).unwrap();
        let name = file.display().to_string();
        let text = Setup::default().filter(Plugin::file(&file).name("team")).bootstrap().unwrap();
        let bootstrap =
            text.replace("\"port_value\": 9\n", &format!("\"port_value\": {upstream}\n"));
        assert!(bootstrap != text);
        Self { folder, bootstrap, name }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Records what `requests` does, and reads it.
    fn record(&self, values: bool, requests: impl Fn(SocketAddr)) -> (String, Recording) {
        let module = std::fs::read(&self.name).unwrap();
        let header = Header {
            postern_recording: VERSION,
            started: 1_800_000_000_000_000_000,
            seed: "0badc0de".to_owned(),
            node: "n".to_owned(),
            log_level: 0,
            values,
            bootstrap: self.bootstrap.clone(),
            modules: BTreeMap::from([(self.name.clone(), digest(&module))]),
        };
        let file = self.path("recording.jsonl");
        let recorder = Recorder::create(&file, header, Rules::default()).unwrap();
        let record = Some(recorder);
        let vm = VmSettings { record, deadline: Duration::from_secs(5), ..VmSettings::default() };
        let options = serve::Options { vm, ..serve::Options::default() };
        let running = start(Gateway::parse(&self.bootstrap).unwrap(), options).unwrap();
        requests(running.report().listeners[0].address);
        running.stop(Duration::from_secs(1));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let recording = Recording::read(&text).unwrap();
        (text, recording)
    }

    fn replay(&self, recording: &Recording, module: Option<&[u8]>) -> Outcome {
        let other = self.path("other.wasm");
        let modules = module.map(|bytes| {
            postern_files::write_atomic(&other, bytes).unwrap();
            (self.name.clone(), other)
        });
        let vm = VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() };
        let environment = Arc::new(|_: &str| None);
        let options = replay::Options { modules: modules.into_iter().collect(), environment, vm };
        replay(recording, &options).unwrap()
    }
}

/// Three requests, and some ticks.
fn three(address: SocketAddr) {
    // A caller that says nothing, while the roots tick.
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(silent.read(&mut [0]).is_err());
    for fields in ["", "x-team: blue\r\n", "x-ask: 1\r\nx-team: red\r\n"] {
        let answer = ask(address, fields);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

fn differences(outcome: &Outcome) -> String {
    outcome.differences.iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_build_does_the_same_again_in_time_randomness_and_call_outs() {
    let place = Place::new(&module("x-found", true));
    let (text, recording) = place.record(false, three);
    for event in ["\"open\"", "\"called\"", "\"tick\"", "\"close\"", "\"state\"", "\"log\""] {
        assert!(text.contains(event), "{event}: {text}");
    }
    let outcome = place.replay(&recording, None);
    assert_eq!(differences(&outcome), "");
    assert_eq!((outcome.streams, outcome.passed_over), (3, 0));
    assert_eq!(outcome.modules[0].recorded.as_ref(), Some(&outcome.modules[0].now));
    // A gateway that died in the middle of a line has still recorded what came before.
    let cut = Recording::read(&text[..text.len() - 3]).unwrap();
    assert_eq!(cut.lines.len() + 1, recording.lines.len());
}

#[test]
fn every_stream_is_told_of_before_the_machines_end() {
    const STREAMS: u32 = 200;
    // Connections are made to it, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::before(&module("x-found", false), silent.local_addr().unwrap().port());
    let recording = place.path("recording.jsonl");
    let (text, _) = place.record(false, |address| {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in 0..STREAMS {
            // GET http://a/ by indexes of RFC 7541, with the end of fields and stream.
            bytes.extend(b"\0\0\x06\x01\x05");
            bytes.extend((2 * stream + 1).to_be_bytes());
            bytes.extend(b"\x82\x86\x84\x41\x01a");
        }
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&bytes).unwrap();
        let began = |text: &str| text.matches("\"request_headers\"").count();
        while began(&std::fs::read_to_string(&recording).unwrap()) < STREAMS as usize {}
        // It outlives the gateway.
        std::mem::forget(stream);
    });
    let (before, after) = text.split_once("\"close\"").unwrap();
    assert_eq!(before.matches("\"finish\"").count(), STREAMS as usize);
    assert_eq!(after.matches("\"finish\"").count(), 0);
}

#[test]
fn another_build_is_shown_where_it_does_something_else() {
    let place = Place::new(&module("x-found", true));
    let (_, recording) = place.record(false, three);
    let outcome = place.replay(&recording, Some(&module("x-seen", true)));
    let told = differences(&outcome);
    assert!(
        told.contains("(GET /a), to the upstream:\n  - x-found: blue\n  + x-seen: blue\n"),
        "{told}"
    );
    assert_eq!(outcome.differences.len(), 2, "{told}");
    assert_ne!(outcome.modules[0].recorded.as_ref(), Some(&outcome.modules[0].now));

    let outcome = place.replay(&recording, Some(&module("x-found", false)));
    let told = differences(&outcome);
    assert!(told.contains("call-outs:\n  - 1 to upstream, 5000 ms\n"), "{told}");
    assert_eq!((outcome.differences.len(), outcome.passed_over), (1, 1), "{told}");
}

#[test]
fn credentials_are_recorded_as_stand_ins_unless_they_are_asked_for() {
    let place = Place::new(&module("x-found", true));
    let secret = "s3cr3t-0123456789";
    let requests = |address| {
        let fields = format!("authorization: Bearer {secret}\r\nx-team: {secret}\r\n");
        ask(address, &fields);
    };
    let (text, recording) = place.record(false, requests);
    assert!(!text.contains(secret) && !text.contains("s3ssion-"), "{text}");
    assert!(text.contains("Bearer redacted-1-"), "{text}");
    assert_eq!(differences(&place.replay(&recording, None)), "");
    let (text, _) = place.record(true, requests);
    assert!(text.contains(secret) && text.contains("s3ssion-"));
}

#[test]
fn what_is_no_recording_is_refused() {
    for (text, says) in
        [("", "line 1: expected a recording"), ("{}\n", "line 1: expected a recording")]
    {
        let error = Recording::read(text).err().unwrap().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    let place = Place::new(&module("x-found", true));
    let (text, _) = place.record(false, |_| {});
    let other = text.replace("\"postern_recording\":1", "\"postern_recording\":2");
    let error = Recording::read(&other).err().unwrap().to_string();
    assert!(error.contains("expected version 1"), "{error}");
    let broken = text.replacen("{\"n\":", "{\"m\":", 1);
    let error = Recording::read(&broken).err().unwrap().to_string();
    assert!(error.starts_with("line 2: "), "{error}");
    assert!(Path::new(&place.name).is_file());
}

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The shipped file on ports that the system chooses, with the modules of this build.
fn shipped() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    SHIPPED
        .replace("target/plugins/", &format!("{}/", folder.display()))
        .replace("port_value: 9901", "port_value: 0")
        .replace("port_value: 10000", "port_value: 0")
        .replace("/etc/postern/keys-ca.pem", "/etc/ssl/certs/ca-certificates.crt")
}

#[test]
fn the_shipped_modules_do_the_same_again_with_their_randomness_clocks_and_failed_questions() {
    let place = Place { bootstrap: shipped(), ..Place::new(&module("x-found", true)) };
    let environment = Arc::new(|_: &str| Some(KEY.to_owned()));
    let header = Header {
        postern_recording: VERSION,
        started: 1_800_000_000_000_000_000,
        seed: "00ff".to_owned(),
        node: "n".to_owned(),
        log_level: 0,
        values: true,
        bootstrap: shipped(),
        modules: BTreeMap::new(),
    };
    let file = place.path("recording.jsonl");
    let recorder = Recorder::create(&file, header, Rules::default()).unwrap();
    let slow = VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() };
    let vm = VmSettings { record: Some(recorder), ..slow.clone() };
    let options = serve::Options { vm, environment: environment.clone(), ..Default::default() };
    let running = start(Gateway::parse(&shipped()).unwrap(), options).unwrap();
    let address = running.report().listeners[0].address;
    let key = "pk_00000001_00000000000000000000000000000000000000000012aOVGV";
    for fields in [String::new(), format!("authorization: Bearer {key}\r\n"), String::new()] {
        let request =
            format!("GET /api/a HTTP/1.1\r\nhost: local.test\r\n{fields}connection: close\r\n\r\n");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
    }
    running.stop(Duration::from_secs(1));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"called\""), "the gate has asked the key service");
    let recording = Recording::read(&text).unwrap();
    let options = replay::Options { modules: BTreeMap::new(), environment, vm: slow };
    let outcome = replay(&recording, &options).unwrap();
    assert_eq!(differences(&outcome), "");
    assert_eq!((outcome.streams, outcome.passed_over), (3, 0));
}
