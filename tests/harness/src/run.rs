//! Goes through the scenarios of a boundary and prints one line for each.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use postern_core::time::UnixMillis;
use postern_rig::gateway::{Config, Kind};
use serde_json::Value;

use crate::observation::Observation;
use crate::scenario::{Boundary, Named, load};
use crate::verdict::differences;
use crate::world::{CredentialSeed, World};
use crate::{core, gateway, root};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Start of the names.
    pub only: Option<String>,
    /// Print observations.
    pub show: bool,
    /// Write the differences that are found to the list of known ones.
    pub record: bool,
    /// Which part of them, where several processes share the work.
    pub part: Part,
}

/// One part of so many; by default all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counted from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Default for Part {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Part {
    /// Whether the scenarios with this number are in it. Where there are live checks, the last
    /// part has nothing but these: each begins where the one before it has ended.
    pub fn takes(self, number: usize, live: bool) -> bool {
        let sharing = self.of.saturating_sub(usize::from(live && self.of > 1)).max(1);
        number % sharing == self.index
    }

    /// Whether the live checks are in it.
    pub fn is_last(self) -> bool {
        self.index.saturating_add(1) == self.of
    }
}

impl Selection {
    /// Whether `name` is to run.
    pub fn has(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.starts_with(only.as_str()))
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Scenarios and checks that passed.
    pub passed: usize,
    /// Those that did not.
    pub failed: usize,
}

impl Count {
    /// Prints the line of one scenario or check and counts it.
    pub fn report(&mut self, name: &str, differences: &[String]) {
        if differences.is_empty() {
            self.passed += 1;
            println!("ok      {name}");
        } else {
            self.failed += 1;
            println!("FAILED  {name}");
            differences.iter().for_each(|line| println!("        {line}"));
        }
    }

    /// The last line. It does not begin as a group's does (`core: 12 passed`): who runs both
    /// and prints a sum of its own would say the same thing twice.
    pub fn closing(&self, boundary: &str) -> String {
        match self.failed {
            0 => format!("scenarios on {boundary}: {} passed", self.passed),
            failed => format!("scenarios on {boundary}: {} passed, {failed} failed", self.passed),
        }
    }
}

/// Where the scenario files are.
pub fn folder() -> PathBuf {
    root().join("tests/scenarios")
}

/// The configuration of a module as envoy/envoy.yaml ships it.
pub fn shipped(config: &Config, module: &str) -> Value {
    let mut document = Value::Null;
    config.clone().module(module, |found| document = found.clone());
    document
}

/// Now, for whatever starts in real time.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Runs everything selected on one boundary.
pub fn boundary(boundary: Boundary, selection: &Selection) -> Result<Count> {
    let scenarios = load(&folder())?;
    let chosen: Vec<Named> = scenarios
        .into_iter()
        .filter(|named| named.scenario.boundaries.contains(&boundary) && selection.has(&named.name))
        .collect();
    let mut count = Count::default();
    let kind = match boundary {
        Boundary::Core => None,
        Boundary::Host => Some(Kind::wasmtime(&root())?),
        Boundary::Envoy => Some(Kind::envoy(&root())),
        Boundary::Spin => Some(Kind::spin(&root())?),
    };
    match kind {
        Some(kind) => gateway::run((boundary, kind), &chosen, selection, &mut count)?,
        None => {
            let mut virtual_core = Core::new()?;
            for named in &chosen {
                let (differences, _) = virtual_core.judge(named, selection.show)?;
                count.report(&named.name, &differences);
            }
        }
    }
    println!("{}", count.closing(boundary.name()));
    Ok(count)
}

/// The core boundary with its world and its clock.
pub struct Core {
    world: Rc<World>,
    config: Config,
    clock: UnixMillis,
}

impl Core {
    /// A world of its own.
    pub fn new() -> Result<Self> {
        let config = Config::read(&root().join("envoy/envoy.yaml"))?;
        let clock = now();
        let world = World::new(&folder(), &|module| shipped(&config, module), clock)?;
        Ok(Self { world: Rc::new(world), config, clock })
    }

    /// Runs a scenario; its differences from what is wanted, and what was observed.
    pub fn judge(&mut self, named: &Named, show: bool) -> Result<(Vec<String>, Vec<Observation>)> {
        let shipped = |module: &str| shipped(&self.config, module);
        let (observations, end) = core::run(&self.world, named, &shipped, self.clock)?;
        // Longer than any cache lives.
        self.clock = end.after(std::time::Duration::from_secs(10));
        let lines = judged(&self.world, named, &observations, show)?;
        Ok((lines, observations))
    }
}

/// The differences of all steps, and any sight of a secret at the client.
pub fn judged(
    world: &World,
    named: &Named,
    observations: &[Observation],
    show: bool,
) -> Result<Vec<String>> {
    let names = world.names(named);
    let mut lines = Vec::new();
    for (index, (want, got)) in named.scenario.want.iter().zip(observations).enumerate() {
        if show {
            println!("{} step {}: {got:#?}", named.name, index + 1);
        }
        let found = differences(want, got, &names)?;
        let shown = format!("{:?}", got.answer);
        let shows = |seed: &CredentialSeed| seed.values().any(|(_, value)| shown.contains(value));
        let leaks = world.base.credentials.iter().filter(|(_, seed)| shows(seed));
        let leaks = leaks.map(|(name, _)| format!("the client sees the value of {name}"));
        lines.extend(
            found.into_iter().chain(leaks).map(|line| format!("step {}: {line}", index + 1)),
        );
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn the_last_line_is_told_from_the_sum_of_a_group() {
        let line = |failed| Count { passed: 12, failed }.closing("core");
        assert_eq!(line(0), "scenarios on core: 12 passed");
        assert_eq!(line(1), "scenarios on core: 12 passed, 1 failed");
    }
}
