//! The committed corpus, and inputs near it: what runs of the targets without their engine.
//!
//! An input in the corpus has found something once, and is named for it, or is a start for
//! the engine.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postern_fuzz::{TARGETS, Target};

/// For changed inputs of all targets together.
const TIME: Duration = Duration::from_secs(10);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder().join(target.name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Says which input it was, should the target panic.
fn run(target: &Target, bytes: &[u8]) {
    let held = std::panic::catch_unwind(|| (target.run)(bytes)).is_ok();
    assert!(held, "{}: {}", target.name, bytes.escape_ascii());
}

#[test]
fn every_target_has_a_corpus_and_the_corpus_no_other() {
    let entries = std::fs::read_dir(folder()).unwrap();
    let folders: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names);
    for target in TARGETS {
        assert!(!inputs(target).is_empty(), "{}", target.name);
    }
}

#[test]
fn every_input_of_the_corpus_and_every_beginning_of_it_holds() {
    for target in TARGETS {
        for bytes in inputs(target) {
            let step = bytes.len() / 64 + 1;
            (0..bytes.len()).step_by(step).for_each(|end| run(target, &bytes[..end]));
            run(target, &bytes);
        }
    }
}

/// A small sequence that is the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % count
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        match self.below(5) {
            0 => bytes.insert(at, self.below(256) as u8),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_slice(&other[self.below(other.len() + 1)..]),
            3 => drop(bytes.splice(at..at, other[..self.below(other.len() + 1)].iter().copied())),
            _ => {
                let byte = self.below(256) as u8;
                bytes.get_mut(at).into_iter().for_each(|old| *old = byte);
            }
        }
    }
}

#[test]
fn inputs_near_the_corpus_hold() {
    let share = TIME / TARGETS.len() as u32;
    for target in TARGETS {
        let corpus = inputs(target);
        let (start, mut dice) = (Instant::now(), Dice(0x9e37_79b9_7f4a_7c15));
        while start.elapsed() < share {
            let mut bytes = corpus[dice.below(corpus.len())].clone();
            for _ in 0..=dice.below(4) {
                let other = &corpus[dice.below(corpus.len())];
                dice.change(&mut bytes, other);
            }
            bytes.truncate(4096);
            run(target, &bytes);
        }
    }
}
