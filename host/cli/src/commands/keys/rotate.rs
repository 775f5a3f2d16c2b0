//! `postern keys rotate`: new keys for what is stored, while it is served.

use postern_keys::rotation;
use serde_json::json;

use super::{ConfigArgs, identity, runtime};
use crate::failure::{Outcome, Sort};
use crate::output::Output;
use crate::span;

/// New keys for what is stored.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Wrap every data key by a new key-encryption key.
    Kek(KekArgs),
    /// Seal every value of a tenant by a new data key.
    Dek(DekArgs),
    /// Give a gateway's modules new keys, by the word of the ones in use.
    Identity(identity::Args),
}

/// Wrap every data key by a new key-encryption key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys rotate kek --config keys.yaml
  postern keys rotate kek --config keys.yaml --prepare    (several replicas: first)

The service goes on. With several replicas: --prepare makes kek.next.key; copy it into the
data_dir of each replica; then rotate on the one, and move kek.next.key to kek.key on the others
before they are started again. kek.previous.key opens older backups; keep it with them, and
away from here.")]
pub struct KekArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only make the file of the next key.
    #[arg(long)]
    prepare: bool,
}

/// Seal every value of a tenant by a new data key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys rotate dek --config keys.yaml --tenant acme

The service goes on; other writes wait while this tenant's values are sealed anew.")]
pub struct DekArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The tenant.
    #[arg(long, value_name = "NAME")]
    tenant: String,
}

/// Runs `keys rotate`.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Kek(args) if args.prepare => {
            let config = args.config.load()?;
            rotation::prepare_kek(&config).or_environment("cannot make the next key")?;
            let text = "kek.next.key is there: copy it to every replica, then rotate";
            out.result(&json!({ "prepared": true }), text)
        }
        Command::Kek(args) => {
            let config = args.config.load()?;
            let done = runtime()?.block_on(rotation::kek(&config, span::now()));
            let keys = done.or_environment("cannot rotate")?.keys;
            let text = format!("{keys} data keys are wrapped by the new key-encryption key");
            out.result(&json!({ "keys": keys }), &text)
        }
        Command::Identity(args) => identity::run(&args, out),
        Command::Dek(args) => {
            let config = args.config.load()?;
            let done = runtime()?.block_on(rotation::dek(&config, &args.tenant, span::now()));
            let values = done.or_environment("cannot rotate")?.values;
            let text = format!("{values} values of {} are sealed by a new data key", args.tenant);
            out.result(&json!({ "values": values }), &text)
        }
    }
}
