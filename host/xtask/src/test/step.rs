//! How each step of a group is run.
//!
//! Invariant: a step that needs a part installs it first, or fails; a skipped one is counted.

use std::process::Command;

use anyhow::Result;

use super::count::{Count, counted};
use super::groups::Step;
use crate::built::{self, Built};
use crate::run::line;
use crate::{bench, guests, package, postgres, setup, tidy, workspace};

/// Scenarios on a gateway wait for clocks most of the time.
const PARTS: &str = "3";
/// Requests of a soak that takes some seconds.
const SHORT_SOAK: &str = "5000";

impl Step {
    /// Runs it.
    pub(super) fn run(&self) -> Result<Count> {
        match self {
            Self::Packages(names) => {
                if names.contains(&"postern-vaults") {
                    // AWS, as moto plays it.
                    setup::python()?;
                }
                packages(names)
            }
            Self::Named(name, filter) => of_host(name, Some(filter), &[]),
            Self::OnPostgres(name) => on_postgres(name),
            Self::Program(name, program) => program_of(name, program),
            Self::Folder(boundary, folder) => harness(&["--boundary", boundary, "--only", folder]),
            Self::Scenarios(boundary) => {
                if *boundary != "core" {
                    // Live checks have a client in Python and a provider for Node.js.
                    setup::python()?;
                    setup::oidc()?;
                }
                let parts = if *boundary == "core" { "1" } else { PARTS };
                harness(&["--boundary", boundary, "--parts", parts])
            }
            Self::Conformance => harness(&["--conformance"]),
            Self::Attacks => harness(&["--attacks"]),
            Self::AttacksOn(boundary) => harness(&["--attacks", "--boundary", boundary]),
            Self::PolicyTests => {
                let mut postern = Command::new(built::host()?.program("postern")?);
                counted(postern.args(["policy", "test", "policies"]).current_dir(workspace::root()))
            }
            Self::Policies => {
                let mut harness = Command::new(built::host()?.program("postern-harness")?);
                harness.env("POSTERN_OPA", setup::opa()?);
                // The same pairs in every run: new ones are for looking, with a seed of their own.
                counted(harness.args(["--policy", "--seed", "1"]).current_dir(workspace::root()))
            }
            Self::Soak => soak(),
            Self::Guard => counted(&mut bench::guard()?),
            Self::Tidy => {
                let report = tidy::examine()?;
                report.print();
                Ok(Count::of(report.held(), report.complaints()))
            }
            Self::PythonClient => python(&["tests/clients/python/crp.py", "plugins/crp/vectors"]),
            Self::SigningClient => {
                python(&["tests/clients/python/signing.py", "tests/vectors/signing"])
            }
            Self::AttestationClient => {
                python(&["tests/clients/python/attestation.py", "plugins/attest/vectors"])
            }
            Self::CapabilityClient => beside_postern(&[
                "tests/clients/python/capability.py",
                "plugins/capability/vectors",
            ]),
            Self::BundleClient => beside_postern(&["tests/clients/python/bundle.py", "check"]),
            Self::AuditClient => {
                python(&["tests/clients/python/audit.py", "check", "tests/vectors/audit"])
            }
            Self::AuditForms => python(&[
                "tests/clients/python/ocsf.py",
                "check",
                "host/cli/tests/data/audit-events.ocsf.golden.jsonl",
                "host/cli/tests/data/audit-events.cloudevents.golden.jsonl",
            ]),
            Self::LogClient => python(&["tests/clients/python/tlog.py", "plugins/tlog/vectors"]),
            Self::Package => checked(&package::check::rows(built::host()?.program("postern")?)?),
            Self::Browser => {
                setup::chromium(setup::is_root())?;
                setup::axe()?;
                packages(&["postern-browser"])
            }
            Self::Deployments => deployments(),
            Self::Way3 => way_3(),
            Self::Postern(words) => {
                let mut postern = Command::new(built::host()?.program("postern")?);
                ends_well(postern.args(*words).current_dir(workspace::root()))
            }
            Self::Ends(words) => ends_well(&mut cargo(words)),
        }
    }
}

fn harness(words: &[&str]) -> Result<Count> {
    let mut harness = Command::new(built::host()?.program("postern-harness")?);
    counted(harness.args(words).current_dir(workspace::root()))
}

/// A client in Python that is compared with the command `postern`, its last argument.
fn beside_postern(words: &[&str]) -> Result<Count> {
    let mut command = Command::new(setup::python()?);
    command.args(words).arg(built::host()?.program("postern")?);
    counted(command.current_dir(workspace::root()))
}

/// Packages of the host come from their one build, the others from cargo.
fn packages(names: &[&str]) -> Result<Count> {
    let (host, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| Built::holds(name));
    let mut sum = Count::default();
    if !others.is_empty() {
        let others = others.iter().flat_map(|name| ["-p", name]);
        sum.add(counted(cargo(&["test", "--quiet", "--no-fail-fast"]).args(others))?);
    }
    for name in host {
        sum.add(of_host(name, None, &[])?);
    }
    Ok(sum)
}

/// The tests of one package of the host's build; with a filter, those whose names hold it.
fn of_host(name: &str, filter: Option<&str>, environment: &[(&str, &str)]) -> Result<Count> {
    let mut sum = Count::default();
    for test in built::host()?.tests(name) {
        let mut command = Command::new(&test.program);
        command.arg("--quiet").args(filter).current_dir(&test.folder);
        command.envs(environment.iter().copied());
        sum.add(counted(command.env("CARGO_MANIFEST_DIR", &test.folder))?);
    }
    Ok(sum)
}

/// One test program of a package of the host's build.
fn program_of(name: &str, program: &str) -> Result<Count> {
    let mut sum = Count::default();
    for test in built::host()?.tests(name) {
        let file = test.program.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        // The build puts a hash behind the name.
        if file.rsplit_once('-').is_some_and(|(stem, _)| stem == program) {
            let mut command = Command::new(&test.program);
            command.arg("--quiet").current_dir(&test.folder);
            sum.add(counted(command.env("CARGO_MANIFEST_DIR", &test.folder))?);
        }
    }
    Ok(sum)
}

/// An independent client in Python, from the tree's root.
fn python(words: &[&str]) -> Result<Count> {
    let mut command = Command::new(setup::python()?);
    counted(command.args(words).current_dir(workspace::root()))
}

fn deployments() -> Result<Count> {
    let tools = setup::deploying()?;
    let mut command = Command::new(setup::python()?);
    command.args(["tests/clients/python/deploy.py", "check"]).arg(tools.npm);
    command.arg(tools.promtool).arg(built::host()?.program("postern")?).arg(setup::envoy()?);
    command.arg(postgres::programs()?);
    command.env("PYTHONPATH", tools.python).env("PYTHONDONTWRITEBYTECODE", "1");
    counted(command.current_dir(workspace::root()))
}

fn soak() -> Result<Count> {
    let mut bench = Command::new(built::host()?.program("postern-bench")?);
    bench.args(["soak", "--requests", SHORT_SOAK]).current_dir(workspace::root());
    counted(&mut bench)
}

/// The same with rows in PostgreSQL.
fn on_postgres(name: &str) -> Result<Count> {
    let programs = postgres::programs()?.display().to_string();
    let on = [(postgres::VARIABLE, programs.as_str()), ("POSTERN_STORE", "postgres")];
    of_host(name, None, &on)
}

/// One test a row, as the harness prints them.
fn checked(rows: &[package::check::Row]) -> Result<Count> {
    let mut failures = Vec::new();
    for (name, outcome) in rows {
        match outcome {
            Ok(()) => println!("ok      {name}"),
            Err(why) => {
                println!("FAILED  {name}\n        {why}");
                failures.push(format!("{name}: {why}"));
            }
        }
    }
    Ok(Count::of(rows.len().saturating_sub(failures.len()), failures))
}

fn ends_well(command: &mut Command) -> Result<Count> {
    let good = command.status().is_ok_and(|status| status.success());
    Ok(if good { Count::of(1, Vec::new()) } else { Count::of(0, vec![line(command)]) })
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(workspace::root());
    command
}

fn way_3() -> Result<Count> {
    if !setup::has_way_3() {
        println!("skipped: modules by Debian's toolchain: not installed, and not root to do so");
        return Ok(Count { skipped: 1, ..Count::default() });
    }
    let found = tidy::imports::differences(&guests::modules_by_debian()?)?;
    found.iter().for_each(|finding| println!("way 3: {finding}"));
    let failures = if found.is_empty() { Vec::new() } else { vec![found.join("\n")] };
    Ok(Count::of(usize::from(found.is_empty()), failures))
}
