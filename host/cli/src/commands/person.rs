//! `postern person`: people who may decide about requests, and their passkeys.
//!
//! Invariant: an operator makes a link and never a passkey; the link is shown once.

use std::time::Duration;

use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};
use crate::span;

/// Roles on the pages.
const ROLES: [&str; 3] = postern_keys::people::PEOPLE;

/// People.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Add a person and print the link by which a passkey is registered, once.
    Add(AddArgs),
    /// List people: roles, passkeys, how many sessions.
    List(ListArgs),
    /// Remove a person with all passkeys and sessions.
    Remove(NamedArgs),
    /// End all sessions of a person.
    SignOut(NamedArgs),
    /// Passkeys of a person.
    #[command(subcommand)]
    Passkey(Passkey),
}

/// Passkeys of a person.
#[derive(clap::Subcommand)]
pub enum Passkey {
    /// Print a link by which another passkey is registered, once: also when all are lost.
    Link(LinkArgs),
    /// Remove a passkey, and end all sessions of its owner.
    Remove(RemoveArgs),
}

/// Add a person.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern person add ana --organisation acme
  postern person add olga --organisation acme --role PLATFORM --link-life 1h
  postern person add ines --organisation acme --role AUDITOR

The name is the one that API keys and tokens name the user by: nobody decides about requests of
his own. An ADMIN decides about requests of the organisation, PLATFORM about those of all. An
AUDITOR reads the tenant's audit log and decides nothing. Other roles may not: an agent is no
person, and a developer owns the agents that ask. The pages have to be configured (people.origin in keys.yaml).")]
pub struct AddArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name of the user.
    person: String,
    /// Organisation in which the role holds.
    #[arg(long, value_name = "NAME")]
    organisation: String,
    /// Role in the organisation.
    #[arg(long, default_value = "ADMIN", value_parser = ROLES)]
    role: String,
    /// Life of the link, at most a day.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "10m")]
    link_life: Duration,
}

/// List people.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern person list
  postern person list --json | jq '.people[] | select(.passkeys == [])'")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// A person.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern person remove ana
  postern person sign-out ana")]
pub struct NamedArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name of the user.
    person: String,
}

/// A link for a person.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern person passkey link ana
  postern person passkey link ana --link-life 1h

A link that was made before and not used is no good any more.")]
pub struct LinkArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name of the user.
    person: String,
    /// Life of the link, at most a day.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "10m")]
    link_life: Duration,
}

/// Remove a passkey.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern person passkey remove ana 0123456789abcdef")]
pub struct RemoveArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name of the user.
    person: String,
    /// Id of the passkey, as the list shows it.
    #[arg(value_parser = passkey_id)]
    passkey: String,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Add(args) => add(&args, out),
        Command::List(args) => list(&args, out),
        Command::Remove(args) => remove(&args, out),
        Command::SignOut(args) => sign_out(&args, out),
        Command::Passkey(Passkey::Link(args)) => link(&args, out),
        Command::Passkey(Passkey::Remove(args)) => remove_passkey(&args, out),
    }
}

fn add(args: &AddArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let new = json!({
        "person": args.person, "organisation": args.organisation, "role": args.role,
        "link_seconds": args.link_life.as_secs(),
    });
    let made = operator.service()?.signed(&operator, "POST", "/api/v1/people", Some(&new))?;
    linked(&made, out)
}

fn link(args: &LinkArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = format!("{}/link", path_of(&operator, &args.person)?);
    let new = json!({ "link_seconds": args.link_life.as_secs() });
    let made = operator.service()?.signed(&operator, "POST", &path, Some(&new))?;
    linked(&made, out)
}

fn linked(made: &Value, out: Output) -> Outcome {
    let ends = made.get("ends").and_then(Value::as_u64).unwrap_or_default();
    out.note(&format!(
        "good once, until {}; give it to {} alone, by a way that others do not read",
        span::shown(UnixMillis(ends)),
        made.get("person").and_then(Value::as_str).unwrap_or("the person")
    ));
    out.result(made, made.get("link").and_then(Value::as_str).unwrap_or_default())
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = operator.service()?.signed(&operator, "GET", "/api/v1/people", None)?;
    let header = ["person", "organisation", "role", "sessions", "passkeys"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(people(&document).iter().map(row));
    out.result(&document, &table(&rows))
}

fn row(person: &Value) -> Vec<String> {
    let text = |name: &str| person.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let sessions = person.get("sessions").and_then(Value::as_u64).unwrap_or_default();
    let passkeys = person.get("passkeys").and_then(Value::as_array);
    let of = |passkey: &Value| {
        let text = |name: &str| passkey.get(name).and_then(Value::as_str).unwrap_or("-");
        format!("{} ({})", text("id"), text("label"))
    };
    let passkeys: Vec<String> = passkeys.into_iter().flatten().map(of).collect();
    let mut row = ["person", "organisation", "role"].map(text).to_vec();
    let passkeys = if passkeys.is_empty() { "none".to_owned() } else { passkeys.join(", ") };
    row.extend([sessions.to_string(), passkeys]);
    row
}

fn remove(args: &NamedArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = path_of(&operator, &args.person)?;
    operator.service()?.signed(&operator, "DELETE", &path, None)?;
    out.result(&json!({"removed": args.person}), &format!("removed {}", args.person))
}

fn sign_out(args: &NamedArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = format!("{}/sign-out", path_of(&operator, &args.person)?);
    let answer = operator.service()?.signed(&operator, "POST", &path, None)?;
    let ended = answer.get("sessions").and_then(Value::as_u64).unwrap_or_default();
    let text = format!("{}: {ended} sessions ended", args.person);
    out.result(&json!({"person": args.person, "sessions": ended}), &text)
}

fn remove_passkey(args: &RemoveArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = format!("{}/passkeys/{}", path_of(&operator, &args.person)?, args.passkey);
    operator.service()?.signed(&operator, "DELETE", &path, None)?;
    let text =
        format!("removed passkey {} of {}; signed out everywhere", args.passkey, args.person);
    out.result(&json!({"removed": args.passkey, "person": args.person}), &text)
}

fn people(document: &Value) -> Vec<Value> {
    document.get("people").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Where the person with this name is.
fn path_of(operator: &Operator, name: &str) -> Outcome<String> {
    let document = operator.service()?.signed(operator, "GET", "/api/v1/people", None)?;
    let text = |person: &Value, member: &str| {
        person.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let people = people(&document);
    let found = people.iter().find(|person| text(person, "person") == name);
    let found = found.ok_or_else(|| Failure::found(format_args!("there is no person {name}")))?;
    Ok(format!("/api/v1/people/{}", text(found, "id")))
}

fn passkey_id(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let good = text.len() == 16 && digits;
    good.then(|| text.to_owned()).ok_or_else(|| "expected 16 hexadecimal digits".to_owned())
}
