//! The published vectors of the export: `tests/vectors/audit/*.json` is what this code makes
//! from fixed keys, and what it says of them. `POSTERN_WRITE_VECTORS=1` and the tests of this
//! crate write them anew; `tests/clients/python/audit.py` must say the same of each.

use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use postern_core::chain::service_link;

use super::*;
use crate::audit::proof::Inclusion;
use crate::audit::removal::{self, Removed};
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

/// A checkpoint of the first `n` events of `lines`.
fn point(lines: &[Value], n: usize) -> Checkpoint {
    let mut tree = Growing::default();
    (1..=n).for_each(|n| tree.push(merkle::leaf(&link(lines, n).hash)));
    Checkpoint { head: link(lines, n), root: tree.root(), at: UnixMillis(1_795_332_060_000) }
}

fn note(seed: u8, point: Checkpoint) -> String {
    point.sign(&log(seed))
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

type Case = (&'static str, &'static str, Vec<Value>, Vec<String>);

/// Name, note, lines and checkpoints of every vector.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let whole = export(1);
    let last = note(1, point(&whole, COUNT));
    let mut add = |name, why, change: &dyn Fn(&mut Vec<Value>), notes: Option<&str>| {
        let mut lines = export(1);
        change(&mut lines);
        cases.push((name, why, lines, notes.map(str::to_owned).into_iter().collect()));
    };
    add("whole", "as it was written", &|_| {}, None);
    add("checkpointed", "and a checkpoint of its end", &|_| {}, Some(&last));
    let spaced: &dyn Fn(&mut Vec<Value>) = &|l| l.push(Value::from("spaced"));
    add("spaced", "a space behind the last event", spaced, None);
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
    add("cut-seen", "a checkpoint shows it", shorter, Some(&last));
    let five = point(&whole, 5);
    let other = Checkpoint { head: Link { n: 5, hash: [9; 32] }, ..five };
    add("forked", "a checkpoint of another history", &|_| {}, Some(&note(1, other)));
    let other = Checkpoint { root: [9; 32], ..five };
    add("forked-tree", "a checkpoint of another tree", &|_| {}, Some(&note(1, other)));
    add("checkpoint-forged", "a checkpoint by another key", &|_| {}, Some(&note(2, five)));
    let edited = last.replacen("\n6\n", "\n5\n", 1);
    add("checkpoint-edited", "a checkpoint that was changed", &|_| {}, Some(&edited));
    let open = last.trim_end().to_owned();
    add("checkpoint-open", "a checkpoint without its last line break", &|_| {}, Some(&open));
    add("other-key", "a whole chain of another key", &|l| *l = export(2), None);
    add("no-header", "events alone", &|l| drop(l.remove(0)), None);
    add("header-head", "the header names another head", &|l| turn(l, 0, "head", 3), None);
    let every = || (1..=COUNT).map(|n| note(1, point(&whole, n)));
    let why = "a checkpoint behind each event, the last one first";
    cases.push(("checkpointed-often", why, whole.clone(), every().rev().collect()));
    let mut back = export(1);
    cut(&mut back, 3);
    let why = "a log that was rolled back together with its head, and checkpoints kept apart";
    cases.push(("rolled-back", why, back, every().collect()));
    // The holder of the key wrote the log anew from the fourth event on.
    let why = "a log written anew by the key's holder, and a checkpoint kept apart";
    cases.push(("written-anew", why, anew(), vec![last.clone()]));
    for (name, why, change) in REMOVALS {
        let mut lines = removed();
        change(&mut lines);
        let notes = if name == "removed" { vec![note(1, point(&lines, COUNT))] } else { vec![] };
        cases.push((name, why, lines, notes));
    }
    cases
}

type Row = (&'static str, &'static str, fn(&mut Vec<Value>));

/// Exports with a tombstone, as it was written and as it was not.
const REMOVALS: [Row; 8] = [
    ("removed", "content that was taken out, and the event that says so", |_| {}),
    ("removed-more", "content is gone that the tombstone does not name", |l| gone(l, 4, "5")),
    ("removed-less", "content is there that the tombstone says is gone", |l| {
        l[2] = export(1)[2].clone()
    }),
    ("removed-withheld", "withheld, and not gone as the tombstone says", |l| {
        drop(l[2].as_object_mut().unwrap().remove("gone"));
    }),
    ("removed-elsewhere", "content gone by an event that is no tombstone", |l| gone(l, 2, "4")),
    ("removed-unsaid", "content gone by an event that is not there", |l| gone(l, 2, "7")),
    ("removed-before", "content gone by an event before it", |l| gone(l, 2, "1")),
    ("removed-both", "content that is there and gone", |l| {
        l[2]["bytes"] = export(1)[2]["bytes"].clone();
    }),
];

/// The content of event `n` is gone by event `tombstone`.
fn gone(lines: &mut [Value], n: usize, tombstone: &str) {
    drop(lines[n].as_object_mut().unwrap().remove("bytes"));
    lines[n]["gone"] = tombstone.into();
}

/// The same log, whose fifth event says that the content of the first and second was taken out.
fn removed() -> Vec<Value> {
    let mut tally = removal::Tally::default();
    (1..=2).for_each(|n| tally.push(n as u64, &link(&export(1), n).hash));
    let Removed { first, last, count, digest } = tally.removed();
    let mut lines = rewritten(5, |n| match n {
        5 => Event::new(removal::KIND, "acme")
            .with("first", first.to_string())
            .with("last", last.to_string())
            .with("count", count.to_string())
            .with_hex("digest", &digest),
        n => Event::new("credential_released", "acme").with("credential", format!("c{n}")),
    });
    (1..=2).for_each(|n| gone(&mut lines, n, "5"));
    lines
}

/// The same log with another fourth event, and all behind it signed again.
fn anew() -> Vec<Value> {
    rewritten(4, |n| Event::new("credential_released", "acme").with("credential", format!("d{n}")))
}

/// The same log with other events from the `first` on.
fn rewritten(first: usize, event: impl Fn(usize) -> Event) -> Vec<Value> {
    let log = log(1);
    let mut lines = export(1);
    let mut prev = link(&lines, first - 1).hash;
    for (n, line) in lines.iter_mut().enumerate().skip(first) {
        let bytes = event(n).bytes(n as u64, UnixMillis(1_795_332_000_000), "simulated");
        let hash = service_link(&prev, &bytes);
        *line = json!({
            "n": n.to_string(), "prev": B64.encode(prev), "hash": B64.encode(hash),
            "sig": B64.encode(log.sign(&hash)), "bytes": B64.encode(bytes),
        });
        prev = hash;
    }
    lines[0]["head"] = B64.encode(prev).into();
    lines
}

fn withhold(lines: &mut [Value]) {
    lines[3].as_object_mut().unwrap().remove("bytes");
}

fn vector((_, why, lines, notes): &Case) -> Value {
    let mut lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    if lines.pop_if(|line| line == "\"spaced\"").is_some() {
        lines.iter_mut().skip(COUNT).for_each(|line| line.push(' '));
    }
    let key = log(1).public_key();
    let report = verify_export(lines.join("\n").as_bytes(), &key, notes.iter().map(String::as_str));
    json!({
        "note": why, "key": B64.encode(key.as_bytes()), "export": lines, "checkpoints": notes,
        "want": {
            "good": report.good, "withheld": report.withheld, "removed": report.removed,
            "head": hex::lower(&report.head),
            "broken": report.broken.map(|broken| broken.to_string()),
        },
    })
}

/// Receipts: name, note, text.
fn proofs() -> Vec<(&'static str, &'static str, String)> {
    let whole = export(1);
    let receipt = |n: usize, size: usize| {
        let leaves = (1..=size).map(|n| merkle::leaf(&link(&whole, n).hash));
        let leaves: Vec<merkle::Hash> = leaves.collect();
        let root = |range: &std::ops::Range<u64>| {
            let mut tree = Growing::default();
            let part = &leaves[range.start as usize..range.end as usize];
            part.iter().for_each(|leaf| tree.push(*leaf));
            tree.root()
        };
        let ranges = merkle::inclusion(n as u64 - 1, size as u64).unwrap();
        let line = serde_json::from_value(whole[n].clone()).unwrap();
        let (path, note) = (ranges.iter().map(root).collect(), note(1, point(&whole, size)));
        Inclusion { line, path, note }
    };
    let good = receipt(3, 6);
    let mut other = good.clone();
    other.path[0][0] ^= 1;
    let mut short = good.clone();
    short.path.pop();
    let mut swapped = good.clone();
    swapped.note = receipt(3, 5).note;
    let mut withheld = good.clone();
    withheld.line.bytes = None;
    let mut edited = good.clone();
    edited.line.bytes = Some(B64.encode("{}"));
    let mut stranger = good.clone();
    stranger.note = note(2, point(&whole, 6));
    vec![
        ("receipt", "an event, its way to the root, a checkpoint", good.text()),
        ("receipt-last", "the last event of an odd number", receipt(5, 5).text()),
        ("receipt-only", "the only event", receipt(1, 1).text()),
        ("receipt-withheld", "of another tenant's event", withheld.text()),
        ("receipt-path", "one bit of a hash", other.text()),
        ("receipt-short", "a hash is missing", short.text()),
        ("receipt-checkpoint", "a checkpoint of another size", swapped.text()),
        ("receipt-event", "another event", edited.text()),
        ("receipt-stranger", "a checkpoint by another key", stranger.text()),
        ("receipt-index", "another index", good.text().replace("index 2", "index 3")),
        ("receipt-form", "another form", good.text().replace("@v1", "@v2")),
    ]
}

fn proof_vector((_, why, text): &(&'static str, &'static str, String)) -> Value {
    let key = log(1).public_key();
    let found = Inclusion::parse(text).and_then(|proof| proof.verify(&key));
    json!({
        "note": why, "key": B64.encode(key.as_bytes()), "proof": text,
        "want": {
            "n": found.as_ref().ok().map(|found| found.n.to_string()),
            "broken": found.as_ref().err().map(ToString::to_string),
        },
    })
}

#[test]
fn the_vectors_are_those_of_this_code() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/audit");
    let exports = cases().into_iter().map(|case| (case.0, vector(&case)));
    let proofs = proofs().into_iter().map(|proof| (proof.0, proof_vector(&proof)));
    for (name, vector) in exports.chain(proofs) {
        let path = format!("{folder}/{name}.json");
        let made = serde_json::to_string_pretty(&vector).unwrap() + "\n";
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
    let want = ["whole", "checkpointed", "withheld", "cut-unseen", "checkpointed-often", "removed"];
    assert_eq!(good, want);
    let proven = proofs().into_iter().filter(|proof| proof_vector(proof)["want"]["n"].is_string());
    let proven: Vec<&str> = proven.map(|proof| proof.0).collect();
    assert_eq!(proven, ["receipt", "receipt-last", "receipt-only", "receipt-withheld"]);
}
