//! `postern`: one command for operators.
//!
//! Owns the command line: arguments in, a report and an exit code out. What a command
//! does lives in the crates it calls. Invariant: a credential value comes from stdin or a
//! prompt and from nowhere else, and nothing here prints one.
//!
//! Exit codes: 0 done or good, 1 found bad, 2 called wrongly, 3 the environment, 4 our bug.
#![forbid(unsafe_code)]

mod check;
mod commands;
mod demo;
mod doctor;
mod ending;
mod evidence;
mod failure;
mod gateway;
mod init;
mod logging;
mod operator;
mod output;
mod random;
mod service;
mod span;

use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde_json::json;

use commands::{
    apikey, approval, attack, attest, audit, check as check_command, completions, credential,
    demo as demo_command, doctor as doctor_command, enrol, framework, gateway as gateway_command,
    gateway_set, init as init_command, invite, keys, man, person, policy, release, replay,
    revocation, token, upstream, witness,
};
use failure::{Failure, Kind, Outcome};
use output::Output;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or good
  1  found bad (check, verify, denied)
  2  called wrongly
  3  the environment: cannot reach, cannot read, missing tool
  4  a bug in postern";

/// The credential gateway: agents call APIs without ever holding a secret.
#[derive(Parser)]
#[command(name = "postern", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    /// Print one JSON document on stdout; messages go to stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a working folder: configurations, identities, and what to run next.
    Init(init_command::Args),
    /// The attested key service.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Run the gateway: the envoy.yaml and the modules that Envoy runs, on wasmtime.
    Gateway(gateway_command::Args),
    /// Run a recording of a gateway again, with other builds of its plugins.
    Replay(replay::Args),
    /// Run a small upstream that answers with what it got, to try a gateway.
    Upstream(upstream::Args),
    /// Make the identities of a gateway and of its operator.
    Enrol(enrol::Args),
    /// Credentials: stored sealed, never shown again.
    #[command(subcommand)]
    Credential(credential::Command),
    /// API keys for agents, scripts and people.
    #[command(subcommand)]
    Apikey(apikey::Command),
    /// Agents: refused everywhere, or let in again.
    #[command(subcommand)]
    Agent(revocation::Agent),
    /// Classification frameworks: levels in order.
    #[command(subcommand)]
    Framework(framework::Command),
    /// Give a section of a document a level.
    Classify(framework::ClassifyArgs),
    /// What agents are cleared for.
    #[command(subcommand)]
    Clearance(framework::Clearance),
    /// What every gateway refuses: users, tokens, keys that sign tokens.
    #[command(subcommand)]
    Revocation(revocation::Command),
    /// Capability tokens: made, narrowed and verified offline.
    #[command(subcommand)]
    Token(token::Command),
    /// Invites to a document, each exchanged once for a capability token.
    #[command(subcommand)]
    Invite(invite::Command),
    /// People who decide about requests, and their passkeys.
    #[command(subcommand)]
    Person(person::Command),
    /// Requests that wait for a person.
    #[command(subcommand)]
    Approval(approval::Command),
    /// Evidence of a key service.
    #[command(subcommand)]
    Attest(attest::Command),
    /// What gateways may run: modules, policy and bindings.
    #[command(subcommand)]
    GatewaySet(gateway_set::Command),
    /// Release sets, which say which images may hold keys; packages of modules.
    #[command(subcommand)]
    Release(release::Command),
    /// The audit chain.
    #[command(subcommand)]
    Audit(audit::Command),
    /// A witness of logs: signs what continues what it saw.
    #[command(subcommand)]
    Witness(witness::Command),
    /// Look for mistakes in an envoy.yaml or a module's configuration.
    Check(check_command::Args),
    /// Look at a running system, and say what to do.
    Doctor(doctor_command::Args),
    /// Policies in Rego: check, test and evaluate them.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Attack a gateway, as its caller and its upstream at once.
    Attack(attack::Args),
    /// See it work: key service, gateway, upstream and real requests, on this machine.
    Demo(demo_command::Args),
    /// Print shell completions.
    Completions(completions::Args),
    /// Write the manual pages.
    Man(man::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let out = Output { json: cli.json };
    let outcome = catch_unwind(|| run(cli.command, out)).unwrap_or_else(|_| {
        // The panic hook has already written where and why.
        Err(Failure::bug("this should not have happened; please report it"))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, out),
    }
}

/// Help and version are no errors; what clap says of the others goes to stderr as it is.
fn misused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let json = std::env::args_os().any(|arg| arg == "--json");
    if error.exit_code() == 0 || !json {
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Kind::Usage.code()));
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let document = json!({"error": {"kind": Kind::Usage.name(), "message": first}});
    match (Output { json }).result(&document, "") {
        Ok(()) => ExitCode::from(Kind::Usage.code()),
        Err(failure) => ExitCode::from(failure.kind.code()),
    }
}

fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Init(args) => init_command::run(&args, out),
        Command::Keys(command) => keys::run(command, out),
        Command::Gateway(args) => gateway_command::run(&args, out),
        Command::Replay(args) => replay::run(&args, out),
        Command::Upstream(args) => upstream::run(&args, out),
        Command::Enrol(args) => enrol::run(&args, out),
        Command::Credential(command) => credential::run(command, out),
        Command::Apikey(command) => apikey::run(command, out),
        Command::Agent(command) => revocation::agent(command, out),
        Command::Framework(command) => framework::run(command, out),
        Command::Classify(args) => framework::classify(args, out),
        Command::Clearance(command) => framework::clearance(command, out),
        Command::Revocation(command) => revocation::run(command, out),
        Command::Token(command) => token::run(command, out),
        Command::Invite(command) => invite::run(command, out),
        Command::Person(command) => person::run(command, out),
        Command::Approval(command) => approval::run(command, out),
        Command::Attest(command) => attest::run(&command, out),
        Command::GatewaySet(command) => gateway_set::run(command, out),
        Command::Release(command) => release::run(&command, out),
        Command::Audit(command) => audit::run(command, out),
        Command::Witness(command) => witness::run(&command, out),
        Command::Check(args) => check_command::run(&args, out),
        Command::Doctor(args) => doctor_command::run(&args, out),
        Command::Policy(command) => policy::run(command, out),
        Command::Attack(args) => attack::run(&args, out),
        Command::Demo(args) => demo_command::run(&args, out),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command(), out),
    }
}

/// Says what went wrong, unless the command's own report has said it.
fn report(failure: &Failure, out: Output) -> ExitCode {
    let text = failure.to_string();
    if !text.is_empty() {
        out.note(&format!("postern: {text}"));
        let document = json!({"error": {"kind": failure.kind.name(), "message": text}});
        if out.json && out.result(&document, "").is_err() {
            return ExitCode::from(Kind::Environment.code());
        }
    }
    ExitCode::from(failure.kind.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
