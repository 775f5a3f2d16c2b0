//! A log in a folder: grown, read again, changed, cut off, forked.

use super::*;

const ORIGIN: &str = "log.example/releases";

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn key() -> Key {
    Key::new(ORIGIN, signer(1).verifying_key().as_bytes()).unwrap()
}

fn leaves(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| format!("leaf {n}").into_bytes()).collect()
}

fn open(folder: &Path) -> Result<Log, Fault> {
    Log::open(folder, key())
}

/// A log that grew by these steps.
fn grown(folder: &Path, sizes: &[u32]) -> Log {
    let mut old = 0;
    for size in sizes {
        open(folder).unwrap().append(leaves(old..*size), &signer(1)).unwrap();
        old = *size;
    }
    open(folder).unwrap()
}

#[test]
fn a_log_that_grew_in_steps_is_read_again_and_proves_each_entry() {
    let folder = tempfile::tempdir().unwrap();
    let log = grown(folder.path(), &[1, 3, 255, 256, 257, 300]);
    assert_eq!(log.entries(), leaves(0..300));
    let point = opened(log.note().unwrap(), &key()).unwrap();
    for index in [0, 254, 255, 256, 299] {
        let proof = log.prove(index).unwrap();
        assert_eq!(Proof::parse(&proof.text()).unwrap().root(300), Some(point.root));
    }
    assert!(log.prove(300).is_none());
}

#[test]
fn nothing_is_appended_to_a_log_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("tile/entries/000.p/3", "is not what"),
        ("tile/0/000.p/3", "tile/0/000.p/3 is not what"),
        ("checkpoint", "not signed by this key"),
    ] {
        let folder = dir.path().join(text);
        grown(&folder, &[3]);
        let path = folder.join(path);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        postern_files::write_atomic(&path, &bytes).unwrap();
        let fault = open(&folder).err().unwrap().to_string();
        assert!(fault.contains(text), "{fault}");
        fs::remove_file(&path).unwrap();
        let missing = open(&folder).err().unwrap();
        assert!(matches!(missing, Fault::Changed(_) | Fault::NoCheckpoint), "{missing}");
    }
}

#[test]
fn a_log_that_was_cut_off_or_written_anew_is_a_fork_of_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, cut, other] = ["whole", "cut", "other"].map(|name| dir.path().join(name));
    let seen = grown(&whole, &[3]).note().unwrap().to_owned();
    let longer = grown(&cut, &[2]);
    assert!(matches!(longer.continues(&seen), Err(Fault::Fork { seen: 3, size: 2 })));
    let anew = open(&other).unwrap().append(leaves(5..9), &signer(1)).unwrap();
    assert!(matches!(anew.continues(&seen), Err(Fault::Fork { seen: 3, size: 4 })));
    let log = open(&whole).unwrap().append(leaves(3..9), &signer(1)).unwrap();
    assert!(log.continues(&seen).is_ok());
    assert!(matches!(log.continues("no note\n"), Err(Fault::Checkpoint)));
}

#[test]
fn one_writer_at_a_time_with_the_key_of_the_log_appends_leaves_that_fit() {
    let folder = tempfile::tempdir().unwrap();
    grown(folder.path(), &[1]);
    let append = |leaves, seed| open(folder.path()).unwrap().append(leaves, &signer(seed));
    assert!(matches!(append(leaves(1..2), 2), Err(Fault::OtherKey)));
    for leaf in [vec![], vec![0; LEAF + 1]] {
        assert!(matches!(append(vec![leaf], 1), Err(Fault::Leaf)));
    }
    let held = open(folder.path()).unwrap().lock().unwrap();
    assert!(matches!(append(leaves(1..2), 1), Err(Fault::Locked)));
    drop(held);
    // Two have read the same log: the second would fork it.
    let [one, two] = [(); 2].map(|()| open(folder.path()).unwrap());
    one.append(leaves(1..2), &signer(1)).unwrap();
    assert!(matches!(two.append(leaves(7..8), &signer(1)), Err(Fault::Locked)));
    assert_eq!(open(folder.path()).unwrap().entries(), leaves(0..2));
    assert!(append(vec![], 1).unwrap().size() == 2);
}

#[test]
fn files_without_their_checkpoint_are_overwritten_by_the_next_append() {
    let folder = tempfile::tempdir().unwrap();
    grown(folder.path(), &[2]);
    // A writer that ended before its checkpoint.
    let mut log = open(folder.path()).unwrap();
    log.entries.extend(leaves(5..6));
    log.write(2).unwrap();
    let log = open(folder.path()).unwrap();
    assert_eq!(log.entries(), leaves(0..2));
    log.append(leaves(2..3), &signer(1)).unwrap();
    assert_eq!(open(folder.path()).unwrap().entries(), leaves(0..3));
}
