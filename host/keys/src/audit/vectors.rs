//! The published vectors of the export: `tests/vectors/audit/*.json` is what this code makes
//! from fixed keys, and what it says of them. `POSTERN_WRITE_VECTORS=1` and the tests of this
//! crate write them anew; `tests/clients/python/audit.py` must say the same of each.

use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use super::*;
use crate::audit::{AuditLog, Event};

const COUNT: usize = 6;

fn log(seed: u8) -> AuditLog {
    AuditLog::new(&Secret::new(vec![seed; 32]), "simulated").unwrap()
}

/// A chain of six events by the log of `seed`; the third belongs to another tenant.
fn export(seed: u8) -> Vec<Value> {
    let log = log(seed);
    let mut prev = START;
    let mut lines = vec![Value::Null];
    for n in 1..=COUNT as u64 {
        let tenant = if n == 3 { "globex" } else { "acme" };
        let event = Event::new("credential_released", tenant).with("credential", format!("c{n}"));
        let bytes = event.bytes(n, UnixMillis(1_795_332_000_000 + n), "simulated");
        let hash = service_link(&prev, &bytes);
        lines.push(json!({
            "n": n.to_string(), "prev": B64.encode(prev), "hash": B64.encode(hash),
            "sig": B64.encode(log.sign(&hash)), "bytes": B64.encode(bytes),
        }));
        prev = hash;
    }
    lines[0] = json!({
        "postern_audit": 1, "key": B64.encode(log.public_key().as_bytes()),
        "count": COUNT.to_string(), "head": B64.encode(prev),
    });
    lines
}

fn link(lines: &[Value], n: usize) -> Link {
    let hash = lines[n]["hash"].as_str().unwrap();
    Link { n: n as u64, hash: B64.decode(hash).unwrap().try_into().unwrap() }
}

fn note(seed: u8, head: Link) -> String {
    Checkpoint { head, at: UnixMillis(1_795_332_060_000) }.sign(&log(seed))
}

/// The header that whoever cuts the export behind event `n` would write.
fn cut(lines: &mut Vec<Value>, n: usize) {
    lines.truncate(n + 1);
    lines[0]["count"] = n.to_string().into();
    lines[0]["head"] = lines[n]["hash"].clone();
}

/// Another character for the `at`th one of a member, from the same alphabet.
fn turn(lines: &mut [Value], n: usize, member: &str, at: usize) {
    let mut text = lines[n][member].as_str().unwrap().to_owned();
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    text.replace_range(at..=at, other);
    lines[n][member] = text.into();
}

type Case = (&'static str, &'static str, Vec<Value>, Option<String>);

/// Name, note, lines and checkpoint of every vector.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let whole = export(1);
    let point = note(1, link(&whole, COUNT));
    let mut add = |name, why, change: &dyn Fn(&mut Vec<Value>), note: Option<String>| {
        let mut lines = export(1);
        change(&mut lines);
        cases.push((name, why, lines, note));
    };
    add("whole", "as it was written", &|_| {}, None);
    add("checkpointed", "and a checkpoint of its end", &|_| {}, Some(point.clone()));
    add("withheld", "an event of another tenant, without its bytes", &|l| withhold(l), None);
    add("changed-bytes", "one character of an event", &|l| turn(l, 2, "bytes", 9), None);
    add("changed-prev", "one character of a hash", &|l| turn(l, 4, "prev", 0), None);
    add("changed-sig", "one character of a signature", &|l| turn(l, 5, "sig", 80), None);
    add("changed-number", "a number with a zero in front", &|l| l[2]["n"] = "02".into(), None);
    add("changed-member", "a member that the format has not", &|l| l[2]["x"] = 1.into(), None);
    add("deleted", "an event is missing", &|l| drop(l.remove(4)), None);
    add("inserted-forged", "an event of another key", &|l| l.insert(3, export(2).remove(3)), None);
    add("inserted-again", "an event twice", &|l| l.insert(4, l[3].clone()), None);
    add("reordered", "two events changed places", &|l| l.swap(2, 3), None);
    add("cut", "the end is missing", &|l| l.truncate(4), None);
    let shorter: &dyn Fn(&mut Vec<Value>) = &|l| cut(l, 3);
    add("cut-unseen", "no checkpoint shows that the end is missing", shorter, None);
    add("cut-seen", "a checkpoint shows it", shorter, Some(point.clone()));
    let other = Link { n: 5, hash: [9; 32] };
    add("forked", "a checkpoint of another history", &|_| {}, Some(note(1, other)));
    add("checkpoint-forged", "a checkpoint by another key", &|_| {}, Some(note(2, other)));
    let edited = point.replacen("count 6", "count 5", 1);
    add("checkpoint-edited", "a checkpoint that was changed", &|_| {}, Some(edited));
    add("other-key", "a whole chain of another key", &|l| *l = export(2), None);
    add("no-header", "events alone", &|l| drop(l.remove(0)), None);
    add("header-head", "the header names another head", &|l| turn(l, 0, "head", 3), None);
    cases
}

fn withhold(lines: &mut [Value]) {
    lines[3].as_object_mut().unwrap().remove("bytes");
}

fn vector((_, why, lines, note): &Case) -> Value {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let key = log(1).public_key();
    let report = verify_export(lines.join("\n").as_bytes(), &key, note.as_deref());
    json!({
        "note": why, "key": B64.encode(key.as_bytes()), "export": lines, "checkpoint": note,
        "want": {
            "good": report.good, "withheld": report.withheld, "head": hex::lower(&report.head),
            "broken": report.broken.map(|broken| broken.to_string()),
        },
    })
}

#[test]
fn the_vectors_are_those_of_this_code() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/audit");
    for case in cases() {
        let path = format!("{folder}/{}.json", case.0);
        let made = serde_json::to_string_pretty(&vector(&case)).unwrap() + "\n";
        if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
            postern_files::write_atomic(&path, made.as_bytes()).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap();
        assert!(published == made, "{path} is not what the code makes");
    }
}

#[test]
fn only_the_untouched_and_the_unseen_are_good() {
    let good: Vec<_> = cases()
        .iter()
        .filter(|case| vector(case)["want"]["broken"].is_null())
        .map(|case| case.0)
        .collect();
    assert_eq!(good, ["whole", "checkpointed", "withheld", "cut-unseen"]);
}
