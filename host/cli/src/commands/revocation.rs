//! `postern revocation` and `postern agent`: what gateways refuse from now on.
//!
//! Keys and gateways are ended by their own commands, which raise a revocation too.

use std::time::Duration;

use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};
use crate::span;

const PATH: &str = "/api/v1/revocations";

/// Revocations.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Have every gateway refuse something, within seconds.
    Add(AddArgs),
    /// List what is revoked.
    List(ListArgs),
    /// Take a revocation back.
    Remove(NameArgs),
}

/// Agents.
#[derive(clap::Subcommand)]
pub enum Agent {
    /// Have every gateway refuse an agent, whatever it presents.
    Revoke(AgentArgs),
    /// Let an agent in again.
    Restore(AgentArgs),
}

/// Have every gateway refuse something.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern revocation add user ada
  postern revocation add token 0f9c2c6e --until 2h
  postern revocation add issuer-key idp-2026-11
  postern revocation add tenant          everything of this operator's tenant

API keys, gateways and agents have commands of their own: postern apikey revoke,
postern agent revoke. An approval is named by its id, and takes its grant along. Sessions and
measurements are refused: nothing would enforce them. Revoke the user, or take the image out of the release set
(postern release authorise without it). A token is named for 24 hours when --until does not say when it ends;
everything else until postern revocation remove.")]
pub struct AddArgs {
    #[command(flatten)]
    name: NameArgs,
    /// When a token would have ended by itself.
    #[arg(long, value_parser = span::parse)]
    until: Option<Duration>,
}

/// What is meant.
#[derive(clap::Args)]
pub struct NameArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Kind of thing.
    #[arg(value_parser = ["user", "agent", "credential", "token", "session", "issuer-key", "tenant", "measurement", "approval"])]
    kind: String,
    /// Its name or id; nothing for the tenant.
    #[arg(default_value = "", hide_default_value = true)]
    id: String,
}

/// List what is revoked.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern revocation list")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// An agent.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern agent revoke triage-bot
  postern agent restore triage-bot")]
pub struct AgentArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name, as in `postern apikey create --agent`.
    name: String,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Add(args) => {
            let end = args.until.map(|span| span::now().after(span));
            let NameArgs { operator, kind, id } = &args.name;
            add(operator, kind, id, end, out)
        }
        Command::List(args) => list(&args, out),
        Command::Remove(NameArgs { operator, kind, id }) => remove(&operator, &kind, &id, out),
    }
}

/// Runs one of them.
pub fn agent(command: Agent, out: Output) -> Outcome {
    match command {
        Agent::Revoke(AgentArgs { operator, name }) => add(&operator, "agent", &name, None, out),
        Agent::Restore(AgentArgs { operator, name }) => remove(&operator, "agent", &name, out),
    }
}

fn add(
    args: &OperatorArgs,
    kind: &str,
    id: &str,
    until: Option<UnixMillis>,
    out: Output,
) -> Outcome {
    let mut named = json!({"kind": kind, "id": id});
    if let Some(end) = until {
        named["until"] = json!(end.0);
    }
    let operator = Operator::load(args)?;
    operator.service()?.signed(&operator, "POST", PATH, Some(&named))?;
    let text = format!("revoked {kind} {id}; every gateway refuses it within seconds");
    out.result(&json!({"revoked": named}), &text)
}

fn remove(args: &OperatorArgs, kind: &str, id: &str, out: Output) -> Outcome {
    let named = json!({"kind": kind, "id": id});
    let operator = Operator::load(args)?;
    operator.service()?.signed(&operator, "DELETE", PATH, Some(&named))?;
    out.result(&json!({"restored": named}), &format!("{kind} {id} is no longer revoked"))
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = operator.service()?.signed(&operator, "GET", PATH, None)?;
    let all = document.get("revocations").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows = vec![["kind", "id", "from", "until"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|one| {
        let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let time = |name: &str| {
            let at = one.get(name).and_then(Value::as_u64);
            at.map_or_else(|| "-".to_owned(), |at| span::shown(UnixMillis(at)))
        };
        vec![text("kind"), text("id"), time("from"), time("until")]
    }));
    out.result(&document, &table(&rows))
}
