//! `postern attack`: the conformance runner against anyone's gateway.
//!
//! Owns the command line and the score table; cases, sending and judging are `postern-attack`.
//! Invariant: no key and no canary is printed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use postern_attack::caller::{Target, TargetError};
use postern_attack::case::Case;
use postern_attack::{Engine, Error, Options, Outcome, Profile, Run, Verdict, library, profile};
use serde_json::json;

use crate::failure::{Failure, Outcome as Ended, Sort};
use crate::output::{self, Output};

/// Most bytes of a profile.
const MAX_PROFILE: usize = 256 << 10;

/// Attack a gateway.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern attack --list
  postern attack --print-profile > mine.yaml
  POSTERN_API_KEY=pk_… postern attack --target http://127.0.0.1:10000 \\
      --upstream-listen 127.0.0.1:9000
  postern attack --target https://gateway.example --ca ca.pem --profile mine.yaml \\
      --upstream-listen 127.0.0.1:9000 --only R5 --only S6/base64

It is the caller of the gateway and the upstream behind it at once: it sends what an attacker
would send, answers what a hostile service would answer, and looks on both sides for what must
not be there. The gateway's route has to lead to --upstream-listen, in plain HTTP/1.1.

The profile says how the gateway is used. Without one it is that of a folder of `postern init`;
--print-profile shows it, and its first lines say which canary and which key it needs. Attack
only gateways that are yours, and store nothing real in them: the canary is sent in every form.

A case that needs what the profile lacks is `not applicable`, with the reason, never passed.

Exit codes: 0 all passed, 1 something failed, 2 called wrongly, 3 cannot reach the gateway,
cannot listen, or a good request does not get through")]
pub struct Args {
    /// The gateway: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL", required_unless_present_any = ["list", "print_profile"])]
    target: Option<String>,
    /// Where the upstream of the gateway's route listens.
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["list", "print_profile"])]
    upstream_listen: Option<SocketAddr>,
    /// How the gateway is used (YAML).
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Run the cases of this folder instead of those in the program.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Certificates to trust for https (PEM); the system's by default.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Only this row (R5) or the cases whose name starts so (S6/base64); may be given several
    /// times.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Cases at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    at_once: usize,
    /// Count known failures (pending) as failures.
    #[arg(long)]
    strict: bool,
    /// Show the cases and send nothing.
    #[arg(long)]
    list: bool,
    /// Print the default profile and send nothing.
    #[arg(long, conflicts_with = "list")]
    print_profile: bool,
}

/// Attacks.
pub fn run(args: &Args, out: Output) -> Ended {
    if args.print_profile {
        return out.result(&json!({"profile": profile::INIT}), profile::INIT);
    }
    let cases = chosen(args)?;
    if args.list {
        return list(&cases, out);
    }
    let (Some(url), Some(listen)) = (&args.target, args.upstream_listen) else {
        return Err(Failure::usage("expected --target and --upstream-listen"));
    };
    let profile = read(args.profile.as_deref())?;
    let target = Target::parse(url, args.ca.as_deref()).map_err(|error| match error {
        TargetError::Url(_) => Failure::usage(error),
        TargetError::Unreachable(_) => Failure::environment(error),
    })?;
    let engine = Engine::start(profile, Options { target, listen, at_once: args.at_once });
    let engine = engine.map_err(sorted)?;
    let count = cases.len();
    out.note(&format!("{count} cases; the upstream listens on {}", engine.listens()));
    let run = {
        let _progress = out.progress("attacking");
        engine.probe().map_err(sorted)?;
        engine.run(cases, &|done| {
            if done % 100 == 0 {
                out.note(&format!("{done} of {count}"));
            }
        })
    };
    out.result(&run.document(), &report(&run))?;
    if run.is_good(args.strict) { Ok(()) } else { Err(Failure::reported()) }
}

fn sorted(error: Error) -> Failure {
    Failure::environment(error)
}

fn read(file: Option<&Path>) -> Ended<Profile> {
    let Some(file) = file else {
        return Profile::read(profile::INIT).or_usage("the profile of postern init");
    };
    let bytes = postern_files::read_bounded(file, MAX_PROFILE).or_environment("cannot read")?;
    let text = String::from_utf8(bytes).or_usage(file.display())?;
    Profile::read(&text).or_usage(file.display())
}

/// A row is the whole row; anything else is how a name starts.
fn chosen(args: &Args) -> Ended<Vec<Case>> {
    let cases = match &args.cases {
        Some(folder) => library::folder(folder).or_usage("--cases")?,
        None => library::cases().or_bug("the cases")?,
    };
    let is = |case: &Case, only: &str| {
        case.row == only || case.name.starts_with(only) && only.contains('/')
    };
    let lost = args.only.iter().find(|only| !cases.iter().any(|case| is(case, only)));
    if let Some(only) = lost {
        return Err(Failure::usage(format_args!("--only {only}: no such row or case; see --list")));
    }
    let wanted = |case: &Case| args.only.is_empty() || args.only.iter().any(|only| is(case, only));
    Ok(cases.into_iter().filter(wanted).collect())
}

fn list(cases: &[Case], out: Output) -> Ended {
    let each = cases.iter().map(|case| json!({"name": case.name, "note": case.note}));
    let lines = cases.iter().map(|case| vec![case.name.clone(), case.note.clone()]);
    let head = vec!["case".to_owned(), "note".to_owned()];
    let table: Vec<_> = std::iter::once(head).chain(lines).collect();
    let text = format!("{}\n\n{} cases", output::table(&table), cases.len());
    out.result(&json!({"cases": each.collect::<Vec<_>>()}), &text)
}

fn report(run: &Run) -> String {
    let mut text: String = run.outcomes.iter().filter_map(lines).collect();
    for stray in &run.strays {
        text += &format!("the upstream got a request of nobody: {stray}\n");
    }
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for outcome in &run.outcomes {
        if let Verdict::NotApplicable(why) = &outcome.verdict {
            match reasons.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, count)) => *count += 1,
                None => reasons.push((why, 1)),
            }
        }
    }
    for (reason, count) in reasons {
        text += &format!("not applicable ({count}): {reason}\n");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text + &output::table(&run.table())
}

fn lines(outcome: &Outcome) -> Option<String> {
    let (word, why, lines) = match &outcome.verdict {
        Verdict::Passed | Verdict::NotApplicable(_) => return None,
        Verdict::Failed(lines) => ("FAILED", String::new(), lines),
        Verdict::Pending(reason, lines) => ("pending", format!(" ({reason})"), lines),
    };
    let head = format!("{word}  {}: {}{why}\n", outcome.case.name, outcome.case.note);
    Some(head + &lines.iter().map(|line| format!("        {line}\n")).collect::<String>())
}
