//! Questions over the vectors' rows are `postern-tlog`'s; here is what a witness remembers.

use postern_tlog::checkpoint::Checkpoint;
use postern_tlog::merkle::{self, Whole};
use postern_tlog::witness::AddCheckpoint;
use tempfile::TempDir;

use super::*;

const ORIGIN: &str = "log.example/a";

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn log() -> Key {
    Key::new(ORIGIN, key(1).verifying_key().as_bytes()).unwrap()
}

fn tree(salt: &str, size: u64) -> Whole {
    Whole::new((0..size).map(|n| merkle::leaf(format!("{salt}{n}").as_bytes())).collect())
}

fn question(salt: &str, old: u64, size: u64) -> String {
    let tree = tree(salt, size);
    let ranges = merkle::consistency(old, size).unwrap_or_default();
    let proof = ranges.into_iter().map(|range| tree.part(range).unwrap()).collect();
    let root = tree.part(0..size).unwrap();
    let point = Checkpoint { origin: ORIGIN.to_owned(), size, root };
    AddCheckpoint { old, proof, note: point.sign(&key(1)).unwrap() }.text()
}

fn open(folder: &TempDir) -> Result<Witness, Fault> {
    Witness::open("w.example", key(2), vec![log()], folder.path())
}

fn status(outcome: Result<String, NotSigned>) -> u16 {
    match outcome {
        Ok(_) => 200,
        Err(NotSigned::Refused(why)) => why.status(),
        Err(NotSigned::Fault(_)) => 500,
    }
}

#[test]
fn what_continues_is_cosigned_and_remembered_by_the_next_process_too() {
    let folder = TempDir::new().unwrap();
    let witness = open(&folder).unwrap();
    let question_3 = question("", 0, 3);
    let line = witness.add(&question_3, 77).unwrap();
    let ours = cosignature::Witness::parse(&witness.vkey()).unwrap();
    let note = AddCheckpoint::parse(&question_3).unwrap().note;
    let (text, _) = postern_tlog::note::parts(&note).unwrap();
    assert_eq!(ours.time(line.trim_end(), text), Ok(Some(77)));
    drop(witness);
    let witness = open(&folder).unwrap();
    assert_eq!(status(witness.add(&question("x", 0, 5), 78)), 409, "a fork from nothing");
    assert_eq!(status(witness.add(&question("x", 3, 5), 78)), 422, "a fork");
    assert_eq!(status(witness.add(&question("", 3, 5), 78)), 200);
    assert_eq!(status(witness.add(&question("", 3, 4), 79)), 409, "rolled back");
}

#[test]
fn a_folder_has_one_witness_at_a_time() {
    let folder = TempDir::new().unwrap();
    let _first = open(&folder).unwrap();
    assert!(matches!(open(&folder), Err(Fault::Taken(_))));
}

#[test]
fn what_was_kept_and_does_not_read_is_not_nothing() {
    let folder = TempDir::new().unwrap();
    open(&folder).unwrap().add(&question("", 0, 3), 77).unwrap();
    let file = folder.path().read_dir().unwrap().map(|it| it.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some()).unwrap();
    let whole = postern_files::read_bounded(&file, 8192).unwrap();
    for bad in [&b""[..], &whole[..whole.len() - 1], b"log.example/b\n3\nAAAA\n"] {
        postern_files::write_atomic(&file, bad).unwrap();
        assert!(matches!(open(&folder), Err(Fault::Kept(_))));
    }
}

#[test]
fn a_checkpoint_that_cannot_be_kept_is_not_cosigned() {
    let folder = TempDir::new().unwrap();
    let witness = open(&folder).unwrap();
    drop(folder);
    assert_eq!(status(witness.add(&question("", 0, 3), 77)), 500);
}

#[test]
fn names_and_keys_are_checked_before_anything_is_served() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    assert!(matches!(Witness::open("a b", key(2), vec![log()], at), Err(Fault::Name)));
    assert!(matches!(Witness::open("w", key(2), vec![], at), Err(Fault::Logs)));
    assert!(matches!(Witness::open("w", key(2), vec![log(), log()], at), Err(Fault::Logs)));
    assert!(matches!(Witness::open("w", key(1), vec![log()], at), Err(Fault::OwnKey(_))));
}

#[tokio::test]
async fn a_question_over_http() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = TempDir::new().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let running = serve(open(&folder).unwrap(), listener).unwrap();
    let long = "x".repeat(postern_tlog::proof::LENGTH + 1);
    let good = question("", 0, 3);
    let rows = [
        ("POST", "/add-checkpoint", good.as_str(), "200 OK", "\n\u{2014} w.example "),
        ("POST", "/add-checkpoint", &good, "409 Conflict", "text/x.tlog.size\r\n"),
        ("POST", "/add-checkpoint", &long, "400 Bad Request", ""),
        ("POST", "/add-checkpoint", "", "400 Bad Request", ""),
        ("GET", "/add-checkpoint", "", "405 Method Not Allowed", ""),
        ("POST", "/", "", "404 Not Found", ""),
    ];
    for (method, path, body, want, part) in rows {
        let mut stream = tokio::net::TcpStream::connect(running.address()).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: w\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        // It may have answered and closed before it has read everything.
        let _ = stream.write_all((head + body).as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {want}")), "{method} {path}: {answer}");
        assert!(answer.contains(part), "{method} {path}: {answer}");
    }
    running.stop().await.unwrap();
}
