//! `postern keys migrate|backup|restore`: the key service's database, beside the service.

use std::path::PathBuf;

use postern_keys::backup;
use postern_keys::store::schema::{self, Ask};
use serde_json::json;

use super::{ConfigArgs, runtime};
use crate::failure::{Outcome, Sort};
use crate::output::Output;
use crate::span;

/// Bring the schema of the database to another version.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys migrate --config keys.yaml --owner postern_owner
  PGPASSWORD=… postern keys migrate --config keys.yaml --owner postern_owner
  postern keys migrate --config keys.yaml --to 5

Forward is what SQLite does by itself when the service starts; PostgreSQL's schema belongs to a
role of its own, which this uses and the service does not. Afterwards the service's role (the
one of keys.yaml) has the rights that it needs, and no others. Back: stop the service first,
and start an older one then. What would lose rows is refused.")]
pub struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The version to end at; without it the newest that this program knows.
    #[arg(long, value_name = "N")]
    to: Option<i64>,
    /// Go back even where rows are lost.
    #[arg(long)]
    lose_data: bool,
    /// The role that owns PostgreSQL's schema.
    #[arg(long, value_name = "ROLE")]
    owner: Option<String>,
    /// File of mode 0600 with its password; without one PGPASSWORD, or none.
    #[arg(long, value_name = "FILE", requires = "owner")]
    password_file: Option<PathBuf>,
}

/// Runs `keys migrate`.
pub fn migrate(args: MigrateArgs, out: Output) -> Outcome {
    let config = args.config.load()?;
    let MigrateArgs { to, lose_data, owner, password_file, .. } = args;
    let ask = Ask { to, lose_data, owner: owner.map(|owner| (owner, password_file)) };
    let moved = runtime()?.block_on(schema::migrate(&config.database, &ask));
    let (from, to) = moved.or_environment("cannot migrate")?;
    let text = match from == to {
        true => format!("the schema is of version {to} already"),
        false => format!("the schema was of version {from} and is of {to}"),
    };
    out.result(&json!({ "from": from, "to": to }), &text)
}

/// Write a backup of a SQLite database.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys backup --config keys.yaml --out keys.backup

The service may run meanwhile. The backup holds what the database holds but the seeds of
epochs: what was sealed to an epoch that is over stays sealed. Keep kek.key, sim.key and the
folder checkpoints apart from it: the backup opens under that key alone. For PostgreSQL see
pg_dump in the key service's README.")]
pub struct BackupArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The file to write; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs `keys backup`.
pub fn backup(args: &BackupArgs, out: Output) -> Outcome {
    let config = args.config.load()?;
    let done = runtime()?.block_on(backup::backup(&config, &args.out));
    done.or_environment("cannot write a backup")?;
    let file = args.out.display().to_string();
    out.result(&json!({ "backup": file }), &format!("wrote {file}"))
}

/// Put a backup back, and make it fit to be served.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys restore --config keys.yaml --from keys.backup
  pg_restore … && postern keys restore --config keys.yaml     (PostgreSQL)

With the service stopped, and no database in its place. Rows that come back are older than what
gateways have seen: seeds of epochs are destroyed, gateways are made to forget what they keep,
join tokens and open invites are taken back, and the audit log says that it was restored.
What was revoked since the backup was made is not: revoke it again.")]
pub struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The backup; not for PostgreSQL, where pg_restore has put it back before.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Runs `keys restore`.
pub fn restore(args: &RestoreArgs, out: Output) -> Outcome {
    let config = args.config.load()?;
    let back = backup::restore(&config, args.from.as_deref(), span::now());
    let back = runtime()?.block_on(back).or_environment("cannot restore")?;
    let missing = back.known.map_or(0, |known| known.saturating_sub(back.events));
    let lost = match missing {
        0 => "no checkpoint speaks of more".to_owned(),
        _ => format!("{missing} more are spoken of by a checkpoint and lost"),
    };
    let text = format!(
        "restored {} audit events; {lost}\ntook back {} join tokens and invites\n\
         revoke again what was revoked since the backup was made",
        back.events, back.taken_back
    );
    let document =
        json!({ "events": back.events, "missing": missing, "taken_back": back.taken_back });
    out.result(&document, &text)
}
