//! `cargo xtask test`: every test there is, in groups.
//!
//! Invariant: a group that finds nothing to run fails, and so does a name that
//! selects nothing. Each group prints `NAME: N passed`; the sum comes last.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::built::{self, Built};
use crate::run::{Failure, line};
use crate::{guests, postgres, setup, tidy, workspace};

#[derive(Args)]
pub struct Options {
    /// Run only this group; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// One thing a group runs.
enum Step {
    /// The tests of these packages.
    Packages(&'static [&'static str]),
    /// The scenario harness on one boundary.
    Scenarios(&'static str),
    /// The scenarios of one folder on one boundary.
    Folder(&'static str, &'static str),
    /// The comparison of our own gateway with Envoy; one test a scenario.
    Conformance,
    /// The attacks on both gateways; one test a case on a boundary.
    Attacks,
    /// The attacks on one other boundary.
    AttacksOn(&'static str),
    /// A short soak of our own gateway; one test.
    Soak,
    /// The vectors of CRP/1, rebuilt by an independent client in Python; one test a file.
    PythonClient,
    /// Signatures of requests, recomputed by botocore and oauthlib; one test a case.
    SigningClient,
    /// Capability tokens, made and verified by an independent client in Python, from the vectors
    /// and live with the command; one test a case.
    CapabilityClient,
    /// Policies, here and in OPA; one test a pair.
    Policies,
    /// The tests of the policies that ship; one test a rule.
    PolicyTests,
    /// Evidence of hardware, judged a second time in Python.
    AttestationClient,
    /// One file of a package's folder `tests`.
    Program(&'static str, &'static str),
    /// The tests of a package whose names begin so.
    Named(&'static str, &'static str),
    /// The tests of a package with the key service's rows in PostgreSQL.
    OnPostgres(&'static str),
    /// Exports of the audit log, verified a second time in Python; one test a vector.
    AuditClient,
    AuditForms,
    /// Bundles of policies, read and made a second time in Python; one test a case.
    BundleClient,
    /// The pages of the key service in a real Chromium.
    Browser,
    /// The checks of the tidy command, each counted.
    Tidy,
    /// The modules built by Debian's toolchain have the same imports and exports; one test.
    Way3,
    /// A command of `postern` that has to end well; one test.
    Postern(&'static [&'static str]),
    /// A command of cargo that has to end well; one test.
    Ends(&'static [&'static str]),
}

struct Group {
    name: &'static str,
    steps: &'static [Step],
}

/// The shipped envoy.yaml is for development: simulated evidence, one plain loopback cluster.
const CHECK_EXAMPLE: &[&str] =
    &["check", "--allow-simulated", "--allow-plain-upstream", "envoy/envoy.yaml"];
const CHECK_TOKENS: &[&str] =
    &["check", "--module", "gate", "--allow-simulated", "examples/access-tokens.yaml"];
const CHECK_SPIN: &[&str] = &["check", "--allow-simulated", "spin/spin.toml"];
/// Requests of a soak that takes some seconds.
const SHORT_SOAK: &str = "5000";
const DEMO: &[&str] = &["xtask", "demo", "--once"];
const DEMO_ON_SPIN: &[&str] = &["xtask", "demo", "--once", "--gateway", "spin"];
const DEMO_ON_ENVOY: &[&str] = &["xtask", "demo", "--once", "--gateway", "envoy"];

const GROUPS: &[Group] = &[
    Group {
        name: "core",
        steps: &[
            Step::Packages(&["postern-core", "postern-crp", "postern-scrub", "postern-proxy-wasm"]),
            Step::Packages(&["postern-fuzz", "postern-bench-scrub"]),
            Step::PythonClient,
            Step::SigningClient,
            Step::Scenarios("core"),
        ],
    },
    Group {
        name: "identity",
        steps: &[
            Step::Packages(&[
                "postern-attest",
                "postern-capability",
                "postern-identity",
                "postern-jose",
                "postern-bench-identity",
            ]),
            Step::CapabilityClient,
            Step::AttestationClient,
        ],
    },
    Group {
        name: "policy",
        steps: &[
            Step::Packages(&["postern-rego"]),
            Step::PolicyTests,
            Step::Policies,
            Step::BundleClient,
        ],
    },
    Group {
        name: "audit",
        steps: &[Step::Named("postern-keys", "audit::"), Step::AuditClient, Step::AuditForms],
    },
    Group {
        name: "keys",
        steps: &[
            Step::Packages(&["postern-azure", "postern-files", "postern-keys", "postern-vault"]),
            Step::OnPostgres("postern-keys"),
        ],
    },
    Group {
        name: "operators",
        steps: &[Step::Packages(&["postern-cli", "postern-rig", "postern-harness", "xtask"])],
    },
    Group {
        name: "host",
        steps: &[
            Step::Packages(&["postern-runtime", "postern-bench"]),
            Step::Scenarios("host"),
            Step::Conformance,
            Step::Soak,
        ],
    },
    Group { name: "envoy", steps: &[Step::Scenarios("envoy")] },
    Group {
        name: "spin",
        steps: &[
            Step::Packages(&["postern-spin", "postern-spin-host"]),
            Step::Scenarios("spin"),
            Step::AttacksOn("spin"),
            Step::Ends(DEMO_ON_SPIN),
        ],
    },
    Group { name: "attacks", steps: &[Step::Packages(&["postern-attack"]), Step::Attacks] },
    Group {
        name: "examples",
        steps: &[
            Step::Packages(&["postern-example-plugin-test"]),
            Step::Postern(CHECK_EXAMPLE),
            Step::Postern(CHECK_TOKENS),
            Step::Postern(CHECK_SPIN),
            Step::Ends(DEMO),
            Step::Ends(DEMO_ON_ENVOY),
        ],
    },
    Group {
        name: "people",
        steps: &[
            Step::Program("postern-keys", "approvals"),
            Step::Program("postern-keys", "approvals_used"),
            Step::Program("postern-cli", "approvals"),
            Step::Named("postern-cli", "approval::"),
            Step::Folder("core", "people/"),
            Step::Folder("host", "people/"),
            Step::Folder("envoy", "people/"),
            Step::Folder("spin", "people/"),
            Step::Named("postern-keys", "pages::"),
            Step::Named("postern-keys", "people::"),
            Step::Named("postern-keys", "notify::"),
            Step::Browser,
        ],
    },
    Group { name: "tidy", steps: &[Step::Tidy, Step::Way3] },
];

/// `cargo xtask test`.
pub fn run(options: &Options) -> Result<()> {
    let groups = select(&options.only)?;
    if groups.iter().any(|group| group.needs_envoy()) {
        setup::envoy()?;
    }
    if groups.iter().any(|group| group.needs_nginx()) {
        setup::nginx()?;
    }
    guests::modules()?;
    let mut sum = Count::default();
    for group in groups {
        let start = Instant::now();
        let mut count = group.run()?;
        println!("{}: {} passed", group.name, count.passed);
        eprintln!("{}: {:.0} s", group.name, start.elapsed().as_secs_f32());
        count.failed += usize::from(count.passed == 0);
        sum.add(&count);
    }
    let Count { passed, failed, skipped } = sum;
    println!("total: {passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { Ok(()) } else { Err(Failure::found("tests failed")) }
}

fn select(only: &[String]) -> Result<Vec<&'static Group>> {
    let known = || GROUPS.iter().map(|group| group.name).collect::<Vec<_>>().join(" ");
    for name in only {
        if !GROUPS.iter().any(|group| group.name == name) {
            return Err(Failure::usage(format!("no group {name}; there are: {}", known())));
        }
    }
    let wanted = |group: &&Group| only.is_empty() || only.iter().any(|name| name == group.name);
    Ok(GROUPS.iter().filter(wanted).collect())
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    /// Cannot run on this machine; the reason was printed.
    skipped: usize,
}

impl Count {
    fn one(good: bool) -> Self {
        Self { passed: usize::from(good), failed: usize::from(!good), skipped: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Group {
    fn needs_nginx(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Conformance))
    }

    fn needs_envoy(&self) -> bool {
        let needs = |step: &Step| match step {
            Step::Scenarios(boundary) | Step::Folder(boundary, _) => *boundary == "envoy",
            Step::Ends(words) => *words == DEMO_ON_ENVOY,
            Step::Conformance | Step::Attacks => true,
            _ => false,
        };
        self.steps.iter().any(needs)
    }

    fn run(&self) -> Result<Count> {
        let mut sum = Count::default();
        for step in self.steps {
            sum.add(&step.run()?);
        }
        Ok(sum)
    }
}

impl Step {
    fn run(&self) -> Result<Count> {
        match self {
            Self::Packages(names) => packages(names),
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
                let mut harness = Command::new(built::host()?.program("postern-harness")?);
                counted(harness.args(["--boundary", boundary]).current_dir(workspace::root()))
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
            Self::Tidy => {
                let report = tidy::examine()?;
                report.print();
                Ok(Count { passed: report.held(), failed: report.broken(), skipped: 0 })
            }
            Self::PythonClient => {
                let mut command = Command::new(setup::python()?);
                let words = ["tests/clients/python/crp.py", "plugins/crp/vectors"];
                counted(command.args(words).current_dir(workspace::root()))
            }
            Self::SigningClient => {
                let mut command = Command::new(setup::python()?);
                let words = ["tests/clients/python/signing.py", "tests/vectors/signing"];
                counted(command.args(words).current_dir(workspace::root()))
            }
            Self::AttestationClient => {
                let mut command = Command::new(setup::python()?);
                let words = ["tests/clients/python/attestation.py", "plugins/attest/vectors"];
                counted(command.args(words).current_dir(workspace::root()))
            }
            Self::CapabilityClient => {
                let mut command = Command::new(setup::python()?);
                command.args(["tests/clients/python/capability.py", "plugins/capability/vectors"]);
                command.arg(built::host()?.program("postern")?);
                counted(command.current_dir(workspace::root()))
            }
            Self::BundleClient => {
                let mut command = Command::new(setup::python()?);
                command.args(["tests/clients/python/bundle.py", "check"]);
                command.arg(built::host()?.program("postern")?);
                counted(command.current_dir(workspace::root()))
            }
            Self::AuditClient => {
                python(&["tests/clients/python/audit.py", "check", "tests/vectors/audit"])
            }
            Self::AuditForms => python(&[
                "tests/clients/python/ocsf.py",
                "check",
                "host/cli/tests/data/audit-events.ocsf.golden.jsonl",
                "host/cli/tests/data/audit-events.cloudevents.golden.jsonl",
            ]),
            Self::Browser => {
                setup::chromium(setup::is_root())?;
                setup::axe()?;
                packages(&["postern-browser"])
            }
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

/// Packages of the host come from their one build, the others from cargo.
fn packages(names: &[&str]) -> Result<Count> {
    let (host, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| Built::holds(name));
    let mut sum = Count::default();
    if !others.is_empty() {
        let others = others.iter().flat_map(|name| ["-p", name]);
        sum.add(&counted(cargo(&["test", "--quiet", "--no-fail-fast"]).args(others))?);
    }
    for name in host {
        sum.add(&of_host(name, None, &[])?);
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
        sum.add(&counted(command.env("CARGO_MANIFEST_DIR", &test.folder))?);
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
            sum.add(&counted(command.env("CARGO_MANIFEST_DIR", &test.folder))?);
        }
    }
    Ok(sum)
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

fn ends_well(command: &mut Command) -> Result<Count> {
    let good = command.status().is_ok_and(|status| status.success());
    if !good {
        eprintln!("failed: {}", line(command));
    }
    Ok(Count::one(good))
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
    Ok(Count::one(found.is_empty()))
}

/// An independent client in Python, from the tree's root.
fn python(words: &[&str]) -> Result<Count> {
    let mut command = Command::new(setup::python()?);
    counted(command.args(words).current_dir(workspace::root()))
}

/// Runs a test command, shows what it prints as it comes and adds up its closing lines.
fn counted(command: &mut Command) -> Result<Count> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut count = Count::default();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line?;
        println!("{line}");
        count.add(&closing_line(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        eprintln!("failed: {} ended with {status}", line(command));
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 12 passed; 0 failed; …` or `scenarios on core: 12 passed, 1 failed`.
fn closing_line(line: &str) -> Option<Count> {
    let start = line.starts_with("test result:") || line.contains(": ") && line.contains(" passed");
    let number_before = |word: &str| {
        let words: Vec<&str> = line.split([' ', ';', ',']).filter(|w| !w.is_empty()).collect();
        let at = words.iter().position(|w| *w == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    if !start {
        return None;
    }
    let (passed, failed) = (number_before("passed")?, number_before("failed").unwrap_or(0));
    Some(Count { passed, failed, skipped: 0 })
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    fn counts(line: &str) -> Option<(usize, usize)> {
        closing_line(line).map(|count| (count.passed, count.failed))
    }

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        let cargo = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!(counts(cargo), Some((12, 3)));
        assert_eq!(counts("scenarios on envoy: 41 passed"), Some((41, 0)));
        assert_eq!(counts("scenarios on envoy: 40 passed, 1 failed"), Some((40, 1)));
        assert_eq!(counts("scenario: passed"), None);
    }
}
