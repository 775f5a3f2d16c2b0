//! `postern release log`: verifies and shows the log of releases and makes proofs of it; and
//! what `postern release authorise` appends to it.
//!
//! Owns the leaves and the file with the checkpoint that was seen last. Invariant: a release
//! is in the log before a set that authorises it leaves this command.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use postern_attest::note::Key;
use postern_attest::release_set::ReleaseSet;
use postern_core::hex;
use postern_keys::transparency::{Fault, Log};
use postern_tlog::release::{Leaf, State};
use serde_json::{Value, json};

use super::{MAX_FILE, signing_key};
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

/// The log of releases.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Check every file of a log.
    Verify(LogArgs),
    /// Show its releases.
    Show(LogArgs),
    /// Print the proof that one of them is in it.
    Prove(ProveArgs),
}

/// Check or show a log.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern release log verify releases --key log.example/releases+12345678+AbC… --seen seen.note
  postern release log show releases --key log.example/releases+12345678+AbC…

Exit code 1 when a file is not what the checkpoint was signed over, or the log does not
continue the checkpoint in --seen.")]
pub struct LogArgs {
    /// Folder with the log's files.
    folder: PathBuf,
    /// The log's key, `name+hash+key`; its name is the origin.
    #[arg(long, value_name = "VKEY")]
    key: String,
    /// A checkpoint of this log that was kept apart.
    #[arg(long, value_name = "FILE")]
    seen: Option<PathBuf>,
}

/// Make a proof.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  postern release log prove releases --key log.example/releases+12345678+AbC… --index 3 > 3.proof

On stdout: a C2SP tlog-proof with the checkpoint as the log has it. No witness is asked.")]
pub struct ProveArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Number of the release, from 0.
    #[arg(long)]
    index: u64,
}

/// What `authorise` appends to.
#[derive(clap::Args)]
pub struct Appending {
    /// Folder of the log of releases: each image that is not in it yet is appended first.
    #[arg(long, value_name = "DIR", requires_all = ["log_key", "log_origin", "seen"])]
    log: Option<PathBuf>,
    /// File with the Ed25519 seed of the log.
    #[arg(long, value_name = "FILE", requires = "log")]
    log_key: Option<PathBuf>,
    /// The log's origin.
    #[arg(long, value_name = "NAME", requires = "log")]
    log_origin: Option<String>,
    /// The checkpoint that was seen last, kept apart from the log; written anew afterwards.
    #[arg(long, value_name = "FILE", requires = "log")]
    seen: Option<PathBuf>,
    /// Launch measurement of the utility VM (96 hex digits); may be given again.
    #[arg(long, value_name = "HEX", requires = "log")]
    uvm: Vec<String>,
    /// Least reported_tcb (16 hex digits).
    #[arg(long, value_name = "HEX", requires = "log", default_value = "0000000000000000")]
    min_tcb: String,
}

/// Runs `release log`.
pub fn run(command: &Command, out: Output) -> Outcome {
    match command {
        Command::Verify(args) => {
            let log = args.open()?;
            let text = format!("good: {} releases", log.size());
            out.result(&json!({"good": true, "size": log.size(), "checkpoint": log.note()}), &text)
        }
        Command::Show(args) => show(&args.open()?, out),
        Command::Prove(args) => {
            let proof = args.log.open()?.prove(args.index);
            let missing = || Failure::found(format_args!("there is no release {}", args.index));
            let text = proof.ok_or_else(missing)?.text();
            out.result(&json!({"proof": text}), text.trim_end())
        }
    }
}

impl LogArgs {
    fn open(&self) -> Outcome<Log> {
        let key = Key::parse(&self.key);
        let key = key.ok_or_else(|| Failure::usage("--key: expected name+hash+key"))?;
        let log = Log::open(&self.folder, key).map_err(|why| failure(&self.folder, &why))?;
        continues(&log, &self.folder, self.seen.as_deref())?;
        Ok(log)
    }
}

/// Refuses a log that does not continue what is in the file, which has to be there.
fn continues(log: &Log, folder: &Path, seen: Option<&Path>) -> Outcome {
    let Some(path) = seen else { return Ok(()) };
    let note = postern_files::read_bounded(path, MAX_FILE).or_environment(path.display())?;
    let note = String::from_utf8(note).or_environment(path.display())?;
    log.continues(&note).map_err(|why| failure(folder, &why))
}

fn failure(folder: &Path, why: &Fault) -> Failure {
    let text = format!("{}: {why}", folder.display());
    match why {
        Fault::Files(_) | Fault::Locked => Failure::environment(text),
        Fault::OtherKey | Fault::Leaf => Failure::usage(text),
        _ => Failure::found(text),
    }
}

fn show(log: &Log, out: Output) -> Outcome {
    let mut lines = Vec::new();
    let mut releases: Vec<Value> = Vec::new();
    for (index, entry) in log.entries().iter().enumerate() {
        let text = String::from_utf8_lossy(entry);
        let leaf = Leaf::parse(&text);
        let leaf = leaf.ok_or_else(|| Failure::found(format_args!("{index} is no release")))?;
        lines.push(format!("{index} {text}"));
        let host_data = hex::lower(&leaf.host_data);
        releases.push(json!({"index": index, "host_data": host_data, "leaf": text}));
    }
    out.result(&json!({"size": log.size(), "releases": releases}), &lines.join("\n"))
}

impl Appending {
    /// Appends what the set authorises and the log does not have; the log afterwards.
    /// `None` when none was named.
    pub fn append(&self, set: &ReleaseSet) -> Outcome<Option<Log>> {
        let (Some(folder), Some(key), Some(origin)) = (&self.log, &self.log_key, &self.log_origin)
        else {
            return Ok(None);
        };
        let leaves = self.leaves(set)?;
        let key: SigningKey = signing_key(key)?;
        let public = Key::new(origin, key.verifying_key().as_bytes());
        let public = public.ok_or_else(|| Failure::usage("--log-origin: no spaces and no +"))?;
        let log = Log::open(folder, public).map_err(|why| failure(folder, &why))?;
        let seen = self.seen.as_deref();
        // Before the first release there is nothing that could have been seen.
        if log.size() > 0 || seen.is_some_and(Path::exists) {
            continues(&log, folder, seen)?;
        }
        let new = leaves.into_iter().filter(|leaf| !listed(&log, leaf));
        let new = new.map(|leaf| leaf.text().into_bytes()).collect();
        let log = log.append(new, &key).map_err(|why| failure(folder, &why))?;
        if let (Some(path), Some(note)) = (seen, log.note()) {
            postern_files::write_atomic(path, note.as_bytes()).or_environment(path.display())?;
        }
        Ok(Some(log))
    }

    fn leaves(&self, set: &ReleaseSet) -> Outcome<Vec<Leaf>> {
        let wrong = || Failure::usage("--uvm: expected 96 hex digits, 16 times at most");
        let measured = self.uvm.iter().map(|text| hex::read(text.as_bytes()));
        let mut measurements = measured.collect::<Option<Vec<[u8; 48]>>>().ok_or_else(wrong)?;
        measurements.sort_unstable();
        measurements.dedup();
        let tcb = hex::read(self.min_tcb.as_bytes());
        let least_tcb = tcb.ok_or_else(|| Failure::usage("--min-tcb: expected 16 hex digits"))?;
        let leaves = set.releases.iter().map(|release| Leaf {
            commit: release.commit.clone(),
            image: release.image,
            host_data: release.host_data,
            measurements: measurements.clone(),
            least_tcb,
            state: State::Authorised,
            sequence: set.sequence,
        });
        let leaves: Vec<Leaf> = leaves.collect();
        let good = leaves.iter().all(Leaf::is_canonical);
        good.then_some(leaves).ok_or_else(wrong)
    }
}

/// Whether the log has this release, under whichever set.
fn listed(log: &Log, leaf: &Leaf) -> bool {
    log.entries().iter().any(|entry| {
        let found = str::from_utf8(entry).ok().and_then(Leaf::parse);
        found.is_some_and(|found| Leaf { sequence: leaf.sequence, ..found } == *leaf)
    })
}
