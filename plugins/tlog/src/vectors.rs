//! The published vectors: `vectors/*.json` is what this code makes of fixed keys and says of
//! it. `POSTERN_WRITE_VECTORS=1` writes them anew; `tests/clients/python/tlog.py` has to say
//! the same of each row.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use ed25519_dalek::SigningKey;
use postern_core::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::cosignature::{self, Witness};
use crate::merkle::{self, Growing, Hash, Whole};
use crate::note::Key;
use crate::policy::Policy;
use crate::proof::Proof;
use crate::release::{Leaf, State};
use crate::witness::{AddCheckpoint, judge};
use crate::{note, tiles};

const ORIGIN: &str = "log.example/releases";
const NOW: u64 = 1_795_332_000;
const SIZE: u64 = 7;
const DAY: u64 = 24 * 3600;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn log() -> Key {
    Key::new(ORIGIN, key(1).verifying_key().as_bytes()).unwrap()
}

fn witness(n: u8) -> Witness {
    Witness::new(&format!("w{n}.example"), key(n).verifying_key().as_bytes()).unwrap()
}

fn leaf(n: u64) -> Leaf {
    let byte = u8::try_from(n).unwrap();
    Leaf {
        commit: hex::lower(&[byte; 20]),
        image: [byte; 32],
        host_data: [byte + 100; 32],
        measurements: vec![[byte; 48], [byte + 1; 48]],
        least_tcb: [3, 0, 0, 0, 0, 0, 8, byte],
        state: if n == 3 { State::Pruned } else { State::Authorised },
        sequence: n + 1,
    }
}

/// `salt` makes the leaves of another log.
fn entry(salt: &str, n: u64) -> Vec<u8> {
    format!("{salt}{}", leaf(n).text()).into_bytes()
}

fn whole(salt: &str, size: u64) -> Whole {
    Whole::new((0..size).map(|n| merkle::leaf(&entry(salt, n))).collect())
}

fn point(salt: &str, size: u64) -> Checkpoint {
    let mut tree = Growing::default();
    (0..size).for_each(|n| tree.push(merkle::leaf(&entry(salt, n))));
    Checkpoint { origin: ORIGIN.to_owned(), size, root: tree.root() }
}

/// Cosigned by each witness at its time.
fn signed(point: &Checkpoint, by: &SigningKey, witnesses: &[(u8, u64)]) -> String {
    let mut note = note::sign(&point.text(), ORIGIN, &[by]).unwrap();
    for (n, time) in witnesses {
        let name = format!("w{n}.example");
        note += &cosignature::sign(&point.text(), *time, &name, &key(*n)).unwrap();
    }
    note
}

const BOTH: &[(u8, u64)] = &[(2, NOW - 100), (3, NOW - 50)];

fn proof(n: u64) -> Proof {
    let tree = whole("", SIZE);
    let ranges = merkle::inclusion(n, SIZE).unwrap();
    let path: Vec<Hash> = ranges.into_iter().map(|range| tree.part(range).unwrap()).collect();
    let note = signed(&point("", SIZE), &key(1), BOTH);
    Proof { leaf: entry("", n), index: n, path, note }
}

type Change = fn(&mut Proof);

/// What is changed in a good proof, and why it is refused then.
const PROOFS: &[(&str, Change, Option<&str>)] = &[
    ("whole", |_| {}, None),
    ("first", |it| *it = proof(0), None),
    ("a pruned release is in the log too", |it| *it = proof(3), None),
    (
        "a stranger's signature beside",
        |it| it.note += &cosignature::sign("x\n", 1, "stranger", &key(9)).unwrap(),
        None,
    ),
    (
        "a stranger's bad signature in a witness's name",
        |it| it.note += &cosignature::sign("x\n", 1, "w2.example", &key(9)).unwrap(),
        None,
    ),
    (
        "an older signature of a witness beside its latest",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, 5), (2, NOW), (3, NOW)]),
        None,
    ),
    ("another leaf", |it| it.leaf = entry("", 1), Some("inclusion")),
    ("one bit of the leaf", |it| it.leaf[20] ^= 1, Some("inclusion")),
    ("another place", |it| it.index = 4, Some("inclusion")),
    ("behind the end", |it| it.index = SIZE, Some("inclusion")),
    ("one hash changed", |it| it.path[1][0] ^= 1, Some("inclusion")),
    ("one hash less", |it| it.path.truncate(it.path.len() - 1), Some("inclusion")),
    ("one hash more", |it| it.path.push([0; 32]), Some("inclusion")),
    (
        "another tree of that size",
        |it| it.note = signed(&point("x", SIZE), &key(1), BOTH),
        Some("inclusion"),
    ),
    ("an empty tree", |it| it.note = signed(&point("", 0), &key(1), BOTH), Some("inclusion")),
    ("another size", |it| it.note = signed(&point("", 6), &key(1), BOTH), Some("inclusion")),
    (
        "another origin under the pinned key",
        |it| {
            let other = Checkpoint { origin: "log.example/b".into(), ..point("", SIZE) };
            it.note = signed(&other, &key(1), BOTH);
        },
        Some("origin"),
    ),
    ("another log's key", |it| it.note = signed(&point("", SIZE), &key(8), BOTH), Some("unsigned")),
    ("a changed root", |it| it.note = it.note.replacen("7\n", "6\n", 1), Some("forged")),
    (
        "a witness's signature of another text",
        |it| {
            it.note = signed(&point("", SIZE), &key(1), &[(2, NOW)]);
            it.note += &cosignature::sign("x\n", NOW, "w3.example", &key(3)).unwrap();
        },
        Some("forged"),
    ),
    ("no witness", |it| it.note = signed(&point("", SIZE), &key(1), &[]), Some("witnesses")),
    (
        "one of two",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, NOW)]),
        Some("witnesses"),
    ),
    (
        "one of two, twice",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, NOW), (2, NOW - 1)]),
        Some("witnesses"),
    ),
    (
        "the log's signature in place of a witness's",
        |it| {
            it.note = signed(&point("", SIZE), &key(1), &[(2, NOW)]);
            let note = note::sign(&point("", SIZE).text(), "w3.example", &[&key(3)]).unwrap();
            it.note += &(note.lines().last().unwrap().to_owned() + "\n");
        },
        Some("witnesses"),
    ),
    (
        "as old as may be",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, NOW - DAY), (3, NOW)]),
        None,
    ),
    (
        "a second older",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, NOW - DAY - 1), (3, NOW)]),
        Some("stale"),
    ),
    (
        "a minute ahead",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, NOW + 60), (3, NOW)]),
        None,
    ),
    (
        "a second more",
        |it| it.note = signed(&point("", SIZE), &key(1), &[(2, NOW + 61), (3, NOW)]),
        Some("stale"),
    ),
    ("no note", |it| it.note = "text\n".to_owned(), Some("malformed")),
    (
        "a checkpoint with a line more",
        |it| {
            let text = point("", SIZE).text() + "more\n";
            it.note = note::sign(&text, ORIGIN, &[&key(1)]).unwrap();
        },
        Some("malformed"),
    ),
    ("too many signatures", |it| it.note += &line(9).repeat(14), Some("malformed")),
    ("a leaf that is too long", |it| it.leaf = vec![0; 4097], Some("malformed")),
];

fn line(seed: u8) -> String {
    cosignature::sign("x\n", 1, "stranger", &key(seed)).unwrap()
}

/// Changes of a text that is no proof any more.
const TEXTS: &[(&str, &str, &str)] = &[
    ("another heading", "tlog-proof@v1", "tlog-proof@v2"),
    ("a number with a zero in front", "index 5", "index 05"),
    ("a number with a sign", "index 5", "index +5"),
    ("no leaf", "extra ", "more "),
    ("a carriage return", "index 5\n", "index 5\r\n"),
    ("no blank line", "\n\n", "\n"),
];

fn word(why: crate::policy::NotShown) -> String {
    format!("{why:?}").to_lowercase()
}

fn policy() -> Policy {
    Policy::new(ORIGIN, log(), vec![witness(2), witness(3)], 2, DAY).unwrap()
}

fn proofs() -> Value {
    let mut texts: Vec<(String, String, Option<&str>)> = Vec::new();
    for (name, change, want) in PROOFS {
        let mut proof = proof(5);
        change(&mut proof);
        texts.push(((*name).to_owned(), proof.text(), *want));
    }
    for (name, from, to) in TEXTS {
        let text = proof(5).text().replacen(from, to, 1);
        texts.push(((*name).to_owned(), text, Some("malformed")));
    }
    let rows = texts.into_iter().map(|(name, text, want)| {
        let got = policy().verify(&text, NOW).err().map(word);
        assert_eq!(got.as_deref(), want, "{name}");
        json!({"name": name, "proof": text, "want": want})
    });
    json!({
        "origin": ORIGIN, "key": log().vkey(), "witnesses": [witness(2).vkey(), witness(3).vkey()],
        "quorum": 2, "max_age": DAY, "now": NOW, "rows": rows.collect::<Vec<_>>(),
    })
}

/// Leaves of releases with the roots of the trees over the first of each, and digests of the
/// files of a log of 600 numbers.
fn tree() -> Value {
    let leaves: Vec<Value> = (0..SIZE).map(|n| leaf(n).text().into()).collect();
    let roots: Vec<Value> = (0..=SIZE).map(|n| hex::lower(&point("", n).root).into()).collect();
    let numbers: Vec<String> = (0..600).map(|n| format!("entry {n}")).collect();
    let whole = Whole::new(numbers.iter().map(|it| merkle::leaf(it.as_bytes())).collect());
    let mut files = serde_json::Map::new();
    for tile in tiles::grown(0, 600) {
        let bytes = tiles::hashes_of(tile, |range| whole.part(range)).unwrap();
        files.insert(tile.path(), hex::lower(&Sha256::digest(bytes)).into());
    }
    for bundle in tiles::grown_bundles(0, 600) {
        let from = usize::try_from(bundle.index * tiles::WIDTH).unwrap();
        let to = from + usize::try_from(bundle.width).unwrap();
        let entries: Vec<Vec<u8>> =
            numbers[from..to].iter().map(|it| tiles::entry(it.as_bytes()).unwrap()).collect();
        files.insert(bundle.path(), hex::lower(&Sha256::digest(entries.concat())).into());
    }
    json!({"leaves": leaves, "roots": roots, "files": files})
}

fn question(old: u64, new: &Checkpoint, by: &SigningKey) -> AddCheckpoint {
    let tree = whole("", new.size.max(1));
    let ranges = merkle::consistency(old, new.size).unwrap_or_default();
    let proof = ranges.into_iter().map(|range| tree.part(range).unwrap()).collect();
    AddCheckpoint { old, proof, note: signed(new, by, &[]) }
}

/// Name, what was seen, the question, and the status.
fn questions() -> Vec<(&'static str, u64, AddCheckpoint, u16)> {
    let new = point("", SIZE);
    let ours = key(1);
    let good = || question(3, &new, &ours);
    let mut broken = good();
    broken.proof[0][0] ^= 1;
    let mut short = good();
    short.proof.pop();
    let mut first = question(0, &new, &ours);
    first.proof.push([0; 32]);
    let other = Checkpoint { origin: "log.example/b".into(), ..new.clone() };
    let extended = |lines: &str| {
        let note = note::sign(&(new.text() + lines), ORIGIN, &[&ours]).unwrap();
        AddCheckpoint { note, ..good() }
    };
    vec![
        ("continues", 3, good(), 200),
        ("the first", 0, question(0, &new, &ours), 200),
        ("the same again", SIZE, question(SIZE, &new, &ours), 200),
        ("lines of extension", 3, extended("head AAAA\ntime 7\n"), 200),
        ("an empty line of extension", 3, extended("head AAAA\n\ntime 7\n"), 400),
        ("the witness has seen less", 2, good(), 409),
        ("the witness has seen more", 5, good(), 409),
        ("a fork of the same size", SIZE, question(SIZE, &point("x", SIZE), &ours), 409),
        ("a fork", 3, question(3, &point("x", SIZE), &ours), 422),
        ("one bit of the proof", 3, broken, 422),
        ("one hash less", 3, short, 422),
        ("a proof from nothing", 0, first, 422),
        ("signed by another", 3, question(3, &new, &key(8)), 403),
        ("a log that is not known", 3, question(3, &other, &ours), 404),
        ("smaller than before", 3, AddCheckpoint { old: 8, ..good() }, 400),
        ("no note", 3, AddCheckpoint { note: "x\n".into(), ..good() }, 400),
    ]
}

fn witnessed() -> Value {
    let log = log();
    let rows = questions().into_iter().map(|(name, seen, asked, want)| {
        let seen = point("", seen);
        let known = |origin: &str| (origin == ORIGIN).then_some((&log, (seen.size, seen.root)));
        let got = judge(&asked.text(), known);
        let status = got.as_ref().map_or_else(|why| why.status(), |_| 200);
        assert_eq!(status, want, "{name}: {got:?}");
        let root = hex::lower(&seen.root);
        json!({
            "name": name, "seen": seen.size, "root": root, "body": asked.text(), "want": want,
        })
    });
    let rows: Vec<Value> = rows.collect();
    json!({"origin": ORIGIN, "key": log.vkey(), "rows": rows})
}

#[test]
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of files")]
fn the_published_vectors_are_what_this_code_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (name, made) in [("proofs", proofs()), ("tree", tree()), ("witness", witnessed())] {
        let path = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
        if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
            fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
    }
}

#[test]
fn a_policy_without_a_quorum_of_witnesses_apart_is_none() {
    let made = |witnesses: Vec<Witness>, quorum| Policy::new(ORIGIN, log(), witnesses, quorum, DAY);
    let again = Witness::new("other", key(2).verifying_key().as_bytes()).unwrap();
    assert!(made(vec![witness(2), witness(3)], 2).is_some());
    for (witnesses, quorum) in [
        (vec![], 0),
        (vec![witness(2)], 0),
        // The log itself, under another name.
        (vec![Witness::new("w", key(1).verifying_key().as_bytes()).unwrap()], 1),
        (vec![witness(2)], 2),
        (vec![witness(2), again], 1),
        ((2..18).map(witness).collect(), 1),
    ] {
        assert_eq!(made(witnesses, quorum), None);
    }
    assert_eq!(Policy::new("a b", log(), vec![witness(2)], 1, DAY), None);
}

#[test]
fn what_is_published_names_its_leaf() {
    let shown = policy().verify(&proof(5).text(), NOW).unwrap();
    assert_eq!((shown.index(), shown.checkpoint()), (5, &point("", SIZE)));
    assert_eq!(Leaf::parse(str::from_utf8(shown.leaf()).unwrap()), Some(leaf(5)));
}
