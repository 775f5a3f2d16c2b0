//! Why a gateway does not start, sorted by who can do something about it.

use std::path::Path;

use postern_runtime::config::{Gateway, Problem};
use postern_runtime::proxy::launch::LaunchError;
use postern_runtime::serve::ServeError;
use serde_json::{Value, json};

use super::Facts;
use crate::failure::{Failure, Kind, Outcome, Sort};
use crate::output::Output;

/// Largest file.
const MAX_FILE: usize = 16 << 20;

/// Reads a file, or says everything that is wrong with it.
pub fn read(file: &Path, out: Output) -> Outcome<Gateway> {
    let bytes = postern_files::read_bounded(file, MAX_FILE).or_environment("cannot read")?;
    let text = String::from_utf8(bytes).or_found(file.display())?;
    let problems = match Gateway::parse(&text) {
        Ok(gateway) => return Ok(gateway),
        Err(problems) => problems.0,
    };
    let name = file.display();
    for problem in &problems {
        let Problem { path, message, .. } = problem;
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        out.note(&format!("{name}:{}: {path}{message}", line(problem)));
    }
    if out.json {
        out.result(&document(file, &problems), "")?;
    }
    Err(Failure::reported())
}

fn document(file: &Path, problems: &[Problem]) -> Value {
    let problems = problems.iter().map(
        |Problem { path, line, message }| json!({"line": line, "path": path, "message": message}),
    );
    json!({
        "good": false,
        "file": file.display().to_string(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

/// Its line; of what is no YAML, the one that the parser names in its message.
fn line(problem: &Problem) -> u64 {
    let named = problem.message.rsplit_once("at line ").filter(|_| problem.path.is_empty());
    let named = named.and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    named.unwrap_or(problem.line)
}

/// The gateway's error, with what helps where a variable is missing.
pub fn refused(error: &ServeError, facts: &Facts) -> Failure {
    let kind = kind(error);
    let hint = match error {
        ServeError::Launch(LaunchError::Start { .. }) if !facts.unset.is_empty() => {
            format!(" (not set: {}; see --env-file)", facts.unset.join(", "))
        }
        ServeError::Launch(LaunchError::Start { .. }) => " (the log says why)".to_owned(),
        ServeError::Launch(LaunchError::Read { .. }) => {
            " (names count from the current folder)".to_owned()
        }
        _ => String::new(),
    };
    Failure { kind, error: anyhow::anyhow!("the gateway does not start: {error}{hint}") }
}

/// What the file asks for and this gateway refuses is bad; what is missing around it is not
/// the file's fault.
fn kind(error: &ServeError) -> Kind {
    match error {
        ServeError::Launch(LaunchError::Program { .. } | LaunchError::Start { .. })
        | ServeError::Plain(_) => Kind::Found,
        ServeError::Launch(LaunchError::Read { .. })
        | ServeError::Engine(_)
        | ServeError::Bind { .. }
        | ServeError::Tls { .. }
        | ServeError::Thread(_) => Kind::Environment,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use postern_runtime::engine::StartError;

    use super::*;

    fn facts(unset: &[&str]) -> Facts {
        let mut facts = Facts::of(&Gateway::parse(crate::init::SHIPPED).unwrap(), &no_variables());
        facts.unset = unset.iter().map(|name| (*name).to_owned()).collect();
        facts
    }

    fn no_variables() -> super::super::Variables {
        super::super::Variables::default()
    }

    #[test]
    fn every_error_has_its_exit_code_and_a_hint() {
        let file = || "gate.wasm".to_owned();
        let start = || LaunchError::Start {
            file: file(),
            error: StartError::Configuration("gate".to_owned()),
        };
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let rows: [(ServeError, &[&str], Kind, &str); 5] = [
            (start().into(), &["POSTERN_GATE_KEY"], Kind::Found, "not set: POSTERN_GATE_KEY"),
            (start().into(), &[], Kind::Found, "refuses its configuration (the log says why)"),
            (
                LaunchError::Read { file: file(), error: io::ErrorKind::NotFound.into() }.into(),
                &[],
                Kind::Environment,
                "gate.wasm: entity not found (names count from the current folder)",
            ),
            (
                ServeError::Bind { what: "listener ingress".to_owned(), source: taken },
                &[],
                Kind::Environment,
                "listener ingress: address in use",
            ),
            (ServeError::Plain("ingress".to_owned()), &[], Kind::Found, "expected TLS"),
        ];
        for (error, unset, kind, says) in rows {
            let failure = refused(&error, &facts(unset));
            assert!(failure.kind == kind && failure.to_string().contains(says), "{failure}");
        }
    }
}
