//! `postern witness`: cosigns checkpoints of logs, as long as each continues the one before.
//!
//! Owns the arguments; what a witness remembers and decides is `postern-witness`'s.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_tlog::cosignature;
use postern_tlog::note::Key;
use postern_witness::{Witness, serve};
use serde_json::json;
use zeroize::Zeroizing;

use super::{audit, keys, release};
use crate::ending::Ending;
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::random;

/// The name of the key that signs the audit log's checkpoints.
const AUDIT: &str = "postern-audit";

/// A witness of logs.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a witness's key.
    Key(KeyArgs),
    /// Answer questions of logs until told to stop (Ctrl-C, SIGTERM).
    Serve(ServeArgs),
}

/// Make a witness's key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern witness key --name witness.example --out witness.key

On stdout: the key that others verify with, name+hash+key.")]
pub struct KeyArgs {
    /// What the witness is called, such as a host name of its owner.
    #[arg(long)]
    name: String,
    /// File to write, which must not be there: the Ed25519 seed in base64url.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Answer questions of logs.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern witness serve --name witness.example --key witness.key --state seen \\
    --audit-log audit.pub --listen 127.0.0.1:8844
  postern witness serve --name witness.example --key witness.key --state seen \\
    --log log.example/releases+c6bb885b+AYqI4910CfGV…

It is worth something where the log's owner cannot reach it. --state has what was seen last of each log; without it
the witness would sign any history. Plain HTTP: put a server with a certificate in front.")]
pub struct ServeArgs {
    /// What the witness is called.
    #[arg(long)]
    name: String,
    /// File with its Ed25519 seed (mode 0600).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder that remembers what was seen, of this witness alone.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// A log by its key, whose name is the log's origin; may be given again.
    #[arg(long = "log", value_name = "VKEY", required_unless_present = "audit_log")]
    logs: Vec<String>,
    /// The audit log of a key service, by its signing key (base64url, or a file that holds it).
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    audit_log: Option<String>,
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8844")]
    listen: SocketAddr,
    /// Stop when stdin ends, so that whoever started this cannot leave it behind.
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Runs `witness`.
pub fn run(command: &Command, out: Output) -> Outcome {
    match command {
        Command::Key(args) => key(args, out),
        Command::Serve(args) => keys::runtime()?.block_on(serving(args, out)),
    }
}

fn key(args: &KeyArgs, out: Output) -> Outcome {
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let public = SigningKey::from_bytes(&seed).verifying_key();
    let public = cosignature::Witness::new(&args.name, public.as_bytes());
    let public = public.ok_or_else(|| Failure::usage("--name: expected no spaces and no +"))?;
    postern_files::reserve(&args.out).or_environment(args.out.display())?;
    let text = Zeroizing::new(B64.encode(seed.as_slice()) + "\n");
    postern_files::write_private(&args.out, text.as_bytes()).or_environment(args.out.display())?;
    let document = json!({"key": public.vkey(), "file": args.out.display().to_string()});
    out.result(&document, &public.vkey())
}

async fn serving(args: &ServeArgs, out: Output) -> Outcome {
    let mut ending = Ending::watch(args.while_stdin)?;
    let key = release::signing_key(&args.key)?;
    let logs = args.logs.iter().map(|text| {
        let wrong = || Failure::usage(format_args!("--log {text}: expected name+hash+key"));
        Key::parse(text).ok_or_else(wrong)
    });
    let mut logs = logs.collect::<Outcome<Vec<Key>>>()?;
    if let Some(text) = &args.audit_log {
        let key = Key::new(AUDIT, audit::read_key(text)?.as_bytes());
        logs.push(key.ok_or_else(|| Failure::usage("--audit-log: this key is too weak to sign"))?);
    }
    let names: Vec<String> = logs.iter().map(|log| log.name().to_owned()).collect();
    let witness = Witness::open(&args.name, key, logs, &args.state);
    let witness = witness.or_environment("cannot witness")?;
    let vkey = witness.vkey();
    let listener = TcpListener::bind(args.listen).or_environment(args.listen)?;
    let running = serve(witness, listener).or_environment("cannot start")?;
    let url = format!("http://{}", running.address());
    let document = json!({"url": url, "key": vkey, "logs": names});
    out.result(
        &document,
        &format!("listening on {url}\n  key   {vkey}\n  logs  {}", names.join(", ")),
    )?;
    ending.asked().await;
    running.stop().await.or_environment("the server ended badly")
}
