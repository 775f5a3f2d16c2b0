//! `postern release`: makes and shows signed release sets, the log of releases, and verifies
//! packages of modules.
//!
//! Owns the files; the text and its checks are `postern-attest`'s. Invariant: a set is
//! written only in its one form, with a key read from a file that nobody else can read.

mod log;
mod package;

use postern_core::hex;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_attest::note::{self, Key};
use postern_attest::release_set::{LIFE, Pins, Release, ReleaseSet};
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::span;

/// Largest file that is read here.
const MAX_FILE: usize = 16 << 10;

/// Release sets.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Sign a set of images that may hold keys.
    Authorise(AuthoriseArgs),
    /// Show what a signed set authorises.
    Show(ShowArgs),
    /// The log of releases.
    #[command(subcommand)]
    Log(log::Command),
    /// Packages of modules.
    #[command(subcommand)]
    Package(package::Command),
}

/// Sign a set.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern release authorise --key release.key --name keys.example --origin keys.example/prod \\
    --seq 8 --days 7 --image HOSTDATA,IMAGE_SHA256,COMMIT > releases.note
  postern release authorise … --log releases --log-key log.key \\
    --log-origin log.example/releases --seen seen.note > releases.note

The key file (mode 0600) holds 32 bytes in base64url. Each set replaces the one before it;
--seq has to grow. On stdout: the note. The key that verifies it goes to stderr.")]
pub struct AuthoriseArgs {
    /// File with the Ed25519 seed of the release authority.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Name of the key in the note.
    #[arg(long)]
    name: String,
    /// Whose releases: what gateways have pinned.
    #[arg(long)]
    origin: String,
    /// Number of this set.
    #[arg(long)]
    seq: u64,
    /// Days until it ends, 1 to 7.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=7))]
    days: u64,
    /// An image: host data (64 hex digits), SHA-256 of its manifest (64), commit (40 or 64).
    #[arg(long = "image", value_name = "HOSTDATA,IMAGE,COMMIT", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    appending: log::Appending,
}

/// Show a set.
#[derive(clap::Args)]
pub struct ShowArgs {
    /// The signed note.
    file: PathBuf,
    /// Key that has to have signed it, `name+hash+key`; may be given again.
    #[arg(long = "key", value_name = "VKEY", required = true)]
    keys: Vec<String>,
    /// Origin that it has to be of.
    #[arg(long)]
    origin: String,
}

/// Runs `release`.
pub fn run(command: &Command, out: Output) -> Outcome {
    match command {
        Command::Authorise(args) => authorise(args, out),
        Command::Show(args) => show(args, out),
        Command::Log(command) => log::run(command, out),
        Command::Package(command) => package::run(command, out),
    }
}

fn authorise(args: &AuthoriseArgs, out: Output) -> Outcome {
    let mut releases = args.images.iter().map(|text| image(text)).collect::<Outcome<Vec<_>>>()?;
    releases.sort_by_key(|release| release.host_data);
    let life = args.days.saturating_mul(24 * 3600).min(LIFE);
    let not_after = span::now().seconds().saturating_add(life);
    let (origin, sequence) = (args.origin.clone(), args.seq);
    let set = ReleaseSet { origin, sequence, not_after, releases };
    if !set.is_canonical() {
        let text = "expected an origin without spaces and 1 to 16 images, each host data once";
        return Err(Failure::usage(text));
    }
    let key = signing_key(&args.key)?;
    let public = Key::new(&args.name, key.verifying_key().as_bytes());
    let public = public.ok_or_else(|| Failure::usage("--name: expected no spaces and no +"))?;
    let note = note::sign(&set.text(), &args.name, &[&key]);
    let note = note.ok_or_else(|| Failure::usage("--name"))?;
    let logged = args.appending.append(&set)?.map(|log| log.size());
    if let Some(size) = logged {
        out.note(&format!("the log of releases has {size}"));
    }
    out.note(&format!("verified by {}", public.vkey()));
    let document = json!({
        "note": note, "key": public.vkey(), "not_after": not_after, "log_size": logged,
    });
    out.result(&document, note.trim_end())
}

fn image(text: &str) -> Outcome<Release> {
    let wrong = || Failure::usage(format_args!("--image {text}: expected HOSTDATA,IMAGE,COMMIT"));
    let [host_data, image, commit] =
        <[&str; 3]>::try_from(text.split(',').collect::<Vec<_>>()).map_err(|_| wrong())?;
    let host_data = hex::read(host_data.as_bytes()).ok_or_else(wrong)?;
    let image = hex::read(image.as_bytes()).ok_or_else(wrong)?;
    let commit = Some(commit).filter(|it| postern_attest::release_set::is_commit(it));
    Ok(Release { host_data, image, commit: commit.ok_or_else(wrong)?.to_owned() })
}

pub(super) fn signing_key(path: &Path) -> Outcome<SigningKey> {
    let text = postern_files::read_private(path, MAX_FILE).or_environment(path.display())?;
    let text = Zeroizing::new(text);
    let seed = B64.decode(text.trim_ascii()).map(Zeroizing::new).ok();
    let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok().map(Zeroizing::new));
    let wrong =
        || Failure::environment(format_args!("{}: expected 32 bytes in base64url", path.display()));
    seed.map(|seed| SigningKey::from_bytes(&seed)).ok_or_else(wrong)
}

fn show(args: &ShowArgs, out: Output) -> Outcome {
    let keys = args.keys.iter().map(|text| Key::parse(text)).collect::<Option<Vec<_>>>();
    let keys = keys.ok_or_else(|| Failure::usage("--key: expected name+hash+key"))?;
    let pins = Pins { origin: args.origin.clone(), keys };
    let note =
        postern_files::read_bounded(&args.file, MAX_FILE).or_environment(args.file.display())?;
    // What is printed has no last line break; a note has one.
    let note = [note.trim_ascii_end(), b"\n"].concat();
    let authorised = pins.open(&note, 0, span::now().seconds(), &mut |_| ());
    let authorised = authorised.or_found("the release set is refused")?;
    let set = authorised.set();
    let images: Vec<_> = set
        .releases
        .iter()
        .map(|release| {
            let (host_data, image) = (hex::lower(&release.host_data), hex::lower(&release.image));
            json!({"host_data": host_data, "image": image, "commit": release.commit})
        })
        .collect();
    let document = json!({
        "origin": set.origin, "seq": set.sequence, "not_after": set.not_after, "images": images,
    });
    out.result(&document, set.text().trim_end())
}
