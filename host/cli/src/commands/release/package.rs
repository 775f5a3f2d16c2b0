//! `postern release package`: holds a folder of packaged modules to the list that was signed.
//!
//! Owns the walk over the folder; the texts are `postern-tlog`'s. Invariant: a package is good
//! only when a key that was named signed its list, and the folder has what is on the list and
//! nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use postern_attest::note::Key;
use postern_tlog::note;
use postern_tlog::package::{LENGTH, NOTE, Package, SUMS, Sums};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

/// Most files and folders that are looked at.
const ENTRIES: usize = 1024;

/// Packages of modules.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Hold a folder to its signed list of files.
    Verify(VerifyArgs),
}

/// Verify a package.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern release package verify package --key postern.package+12345678+AbC…
  postern release package verify package --key … --revision 4f1c… --json

The folder is what `cargo xtask package --sign` wrote. An older package that was signed is as
good as a new one: --revision says which one is wanted.

Exit code 1 when no key named here signed the list, or a file is changed, missing or not on
the list; each is named.")]
pub struct VerifyArgs {
    /// The folder.
    folder: PathBuf,
    /// Key that has to have signed it, `name+hash+key`; may be given again.
    #[arg(long = "key", value_name = "VKEY", required = true)]
    keys: Vec<String>,
    /// Commit that the modules have to be of.
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
}

/// Runs `release package`.
pub fn run(command: &Command, out: Output) -> Outcome {
    match command {
        Command::Verify(args) => verify(args, out),
    }
}

fn verify(args: &VerifyArgs, out: Output) -> Outcome {
    let keys = args.keys.iter().map(|text| Key::parse(text)).collect::<Option<Vec<_>>>();
    let keys = keys.ok_or_else(|| Failure::usage("--key: expected name+hash+key"))?;
    let (package, sums) = opened(&args.folder, &keys)?;
    let mut problems = Vec::new();
    if args.revision.as_ref().is_some_and(|wanted| *wanted != package.revision) {
        problems.push(format!("it is of another revision: {}", package.revision));
    }
    let there = files(&args.folder).or_environment(args.folder.display())?;
    problems.extend(differences(&sums, &there));
    let good = problems.is_empty();
    let Package { version, revision, .. } = package;
    let document = json!({
        "good": good, "version": version, "revision": revision,
        "files": sums.0.len(), "problems": problems,
    });
    let text = if good {
        format!("good: {} files of version {version}, revision {revision}", sums.0.len())
    } else {
        problems.join("\n")
    };
    out.result(&document, &text)?;
    if good { Ok(()) } else { Err(Failure::reported()) }
}

/// The signed list.
fn opened(folder: &Path, keys: &[Key]) -> Outcome<(Package, Sums)> {
    let read = |name: &str, limit| {
        let path = folder.join(name);
        let bytes = match postern_files::read_bounded(&path, limit) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && folder.is_dir() => {
                return Err(Failure::found(format_args!("{name} is missing")));
            }
            read => read.or_environment(path.display())?,
        };
        String::from_utf8(bytes).or_found(path.display())
    };
    let note = read(NOTE, note::LENGTH)?;
    let list = read(SUMS, LENGTH)?;
    let package = Package::open(&note, keys, list.as_bytes()).or_found("the package is refused")?;
    let sums = Sums::parse(&list);
    let wrong = || Failure::found(format_args!("{SUMS}: signed, but no list of files"));
    Ok((package, sums.ok_or_else(wrong)?))
}

/// What the folder has, by name; no sum for what is no ordinary file.
type There = BTreeMap<String, Option<[u8; 32]>>;

fn differences(sums: &Sums, there: &There) -> Vec<String> {
    let listed = sums.0.iter().filter_map(|(name, sum)| match there.get(name) {
        None => Some(format!("{name}: missing")),
        Some(None) => Some(format!("{name}: not an ordinary file")),
        Some(Some(found)) => (found != sum).then(|| format!("{name}: changed")),
    });
    let known = |name: &str| sums.0.contains_key(name) || name == SUMS || name == NOTE;
    let extra = there.keys().filter(|name| !known(name));
    listed.chain(extra.map(|name| format!("{name}: not on the list"))).collect()
}

/// Links are not followed: what they lead to is not in the package.
fn files(folder: &Path) -> io::Result<There> {
    let mut there = There::new();
    let (mut folders, mut seen) = (vec![PathBuf::new()], 0_usize);
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            seen = seen.saturating_add(1);
            if seen > ENTRIES {
                return Err(io::Error::other(format!("expected at most {ENTRIES} files")));
            }
            let name = below.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(name);
                continue;
            }
            let sum = kind.is_file().then(|| sum(&entry.path())).transpose()?;
            there.insert(name.to_string_lossy().into_owned(), sum);
        }
    }
    Ok(there)
}

fn sum(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}
