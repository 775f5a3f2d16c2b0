//! `cargo xtask test`: every test there is, in groups.
//!
//! Invariant: a group that finds nothing to run fails, and so does a name that
//! selects nothing. Each group prints `NAME: N passed`; what failed and the sum come last.

mod count;
mod groups;
mod step;

use std::time::Instant;

use anyhow::Result;
use clap::Args;

use self::count::Count;
use self::groups::{DEMO_ON_ENVOY, GROUPS, Group, Step};
use crate::run::Failure;
use crate::{guests, setup};

#[derive(Args)]
pub struct Options {
    /// Run only this group; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

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
        let mut count = group.run(!options.only.is_empty())?;
        println!("{}: {} passed", group.name, count.passed);
        eprintln!("{}: {:.0} s", group.name, start.elapsed().as_secs_f32());
        if count.passed == 0 {
            count.add(Count::of(0, vec![format!("{} ran nothing that passes", group.name)]));
        }
        sum.add(count);
    }
    let Count { passed, failed, skipped, failures } = sum;
    failures.iter().for_each(|line| println!("failed: {line}"));
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
        self.steps.iter().chain(self.also).any(needs)
    }

    /// A group that is named runs what others run as well.
    fn run(&self, named: bool) -> Result<Count> {
        let mut sum = Count::default();
        let also = if named { self.also } else { &[] };
        for step in self.steps.iter().chain(also) {
            sum.add(step.run()?);
        }
        Ok(sum)
    }
}
