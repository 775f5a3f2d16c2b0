//! Who looks at a key service that runs: a witness of its log, and the doctor.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{Day, command};

/// A witness of the day's audit log, ended when it is dropped.
struct Watching(std::process::Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watching(day: &Day) -> (Watching, Value) {
    let args = ["witness", "serve", "--name", "w.example", "--key", "w.key", "--state", "seen"];
    let more = ["--audit-log", "a.pub", "--listen", "127.0.0.1:0", "--while-stdin", "--json"];
    let mut child = command(day.folder.path(), &[&args[..], &more].concat()).spawn().unwrap();
    let mut document = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while serde_json::from_str::<Value>(&document).is_err() {
        document += &lines.next().expect("the witness has ended").unwrap();
    }
    (Watching(child), serde_json::from_str(&document).unwrap())
}

#[test]
fn a_witness_signs_the_log_and_the_verifier_asks_for_it() {
    let mut day = Day::begin();
    day.good(&["audit", "export", "--out", "a.jsonl", "--key-out", "a.pub"], "");
    let vkey = day.good(&["witness", "key", "--name", "w.example", "--out", "w.key"], "");
    let vkey = vkey.trim_end();
    let (_witness, said) = watching(&day);
    assert_eq!((said["key"].as_str(), &said["logs"][0]), (Some(vkey), &"postern-audit".into()));
    let url = said["url"].as_str().unwrap();
    let config = format!(
        "listen: 127.0.0.1:0\ndata_dir: keys\nwitnesses: [{{url: '{url}', key: '{vkey}'}}]\n"
    );
    postern_files::write_atomic(day.path("keys.yaml"), config.as_bytes()).unwrap();
    // A last checkpoint is signed when the service ends.
    let status = Command::new("kill").args(["-TERM", &day.service.id().to_string()]).status();
    assert!(status.unwrap().success());
    day.service.wait().unwrap();
    day.killed_and_started_as(&["keys", "serve", "--config", "keys.yaml", "--while-stdin"]);
    let fetch = ["audit", "checkpoint", "--key", "a.pub", "--witnesses", "1", "--out", "seen.note"];
    let fetched = || (day.run(&fetch, "").0 == 0).then_some(());
    postern_rig::wait::until(Duration::from_secs(30), fetched).expect("no cosignature");
    day.good(&["audit", "export", "--out", "a.jsonl"], "");
    let verify = ["audit", "verify", "a.jsonl", "--key", "a.pub", "--checkpoint", "seen.note"];
    let verify = |more: &[&str]| day.run(&[&verify[..], more].concat(), "");
    let (code, stdout, stderr) = verify(&["--witness", vkey]);
    assert!(code == 0 && stdout.contains("seen by w.example ("), "{stdout}{stderr}");
    let other = day.good(&["witness", "key", "--name", "v.example", "--out", "v.key"], "");
    let both = ["--witness", vkey, "--witness", other.trim_end()];
    let (code, stdout, _) = verify(&both);
    assert!(code == 1 && stdout.contains("1 of 2 witnesses have signed"), "{stdout}");
    assert_eq!(verify(&[&both[..], &["--quorum", "1"]].concat()).0, 0);
    assert_eq!(verify(&[&both[..], &["--quorum", "3"]].concat()).0, 2);
    assert_eq!(verify(&["--witness", vkey, "--witness", vkey]).0, 2);
    let note = std::fs::read_to_string(day.path("seen.note")).unwrap();
    let (text, line) = note.rsplit_once("w.example ").unwrap();
    let forged = format!("{text}w.example {}B{}", &line[..20], &line[21..]);
    assert_ne!(forged, note);
    postern_files::write_atomic(day.path("seen.note"), forged.as_bytes()).unwrap();
    let (code, stdout, _) = verify(&["--witness", vkey]);
    assert!(code == 1 && stdout.contains("signature of w.example is forged"), "{stdout}");
    for two in [&["--witness", "x"][..], &["--quorum", "1"]] {
        assert_eq!(verify(two).0, 2, "{two:?}");
    }
}

/// A gateway's admin address that shows each of these texts once, in their order.
fn admin(texts: [&'static str; 2]) -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (text, stream) in texts.into_iter().zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
            let _ = write!(stream, "{head} {}\r\n\r\n{text}", text.len());
        }
    });
    url
}

#[test]
fn a_doctor_looks_at_what_runs_and_says_what_to_do() {
    let mut day = Day::begin();
    let (code, stdout, stderr) = day.run(&["doctor"], "");
    assert_eq!(code, 0, "{stdout}{stderr}");
    for line in [
        "ok       key service          version",
        "ok       clock",
        "WARNING  evidence             SIMULATED",
        "→ never keep real credentials in it",
        "ok       revocations          0 entries, signed ",
        "ok       operator             of tenant acme",
        "ok       identities           4 are in force",
        "ok       audit log",
    ] {
        assert!(stdout.contains(line), "{line:?} is not in\n{stdout}");
    }
    assert_eq!(day.run(&["doctor", "--strict"], "").0, 1);
    let failed = |n: u32| format!("postern_audit_batch_total{{reason=\"failed\"}} {n}\n");
    let (one, two): (&str, &str) = (failed(1).leak(), failed(2).leak());
    for (texts, code, says) in [
        ([one, one], 0, "records not taken    failed 1 since it started, no more now"),
        ([one, two], 1, "BAD      records not taken    failed 2, and rising"),
        (["", ""], 1, "shows no counters of Postern"),
    ] {
        let (ended, stdout, _) =
            day.run(&["doctor", "--between", "1", "--gateway", &admin(texts)], "");
        assert!(ended == code && stdout.contains(says), "{says}: {ended}\n{stdout}");
    }
    let (code, stdout, _) = day.run(&["doctor", "--gateway", "http://127.0.0.1:1"], "");
    assert!(code == 1 && stdout.contains("is this its admin address?"), "{stdout}");
    day.service.kill().unwrap();
    day.service.wait().unwrap();
    let said = day.run(&["doctor", "--json"], "");
    let said: (i32, Value) = (said.0, serde_json::from_str(&said.1).unwrap());
    assert_eq!((said.0, &said.1["state"]), (1, &"bad".into()));
    assert_eq!(said.1["checks"][0]["check"], "key service");
    assert_eq!(day.run(&["doctor", "--operator", "nothing.json"], "").0, 3);
}
