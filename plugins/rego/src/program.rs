//! From modules to bytecode, and to the interpreter that tests and tools use.

use std::collections::BTreeSet;
use std::sync::Arc;

use regorus::languages::rego::compiler::Compiler;
use regorus::{Engine, PolicyLengthConfig, Value};

use crate::admit;
use crate::builtins::{self, Context, Shared};
use crate::finding::Finding;
use crate::machine::Fault;
use crate::names::{Names, Path};
use crate::reads::Reads;
use crate::rewrite;
use crate::source::{self, LONGEST_LINE};

/// An admitted policy, compiled.
pub struct Program {
    pub(crate) code: Arc<regorus::rvm::Program>,
    pub(crate) data: Value,
    /// What it reads of `input`.
    pub reads: Reads,
}

/// Loads a policy: parse, admit, rewrite, compile.
pub fn load(
    modules: &[(String, String)],
    data: &serde_json::Value,
    query: &str,
) -> Result<Program, Vec<Finding>> {
    let parsed = source::parse(modules)?;
    let names = Names::new(&parsed)?;
    let path: Path = query.split('.').map(str::to_owned).collect();
    let reads = admit::admit(&parsed, &names, data, &path)?;
    let written = rewrite::rewrite(&parsed, &names, true);
    let code = compile(&written, query).map_err(|finding| vec![finding])?;
    Ok(Program { code, data: Value::from(data.clone()), reads })
}

/// Whether a gate could load these modules, with any of the rules that make a value as the
/// one that decides.
pub fn check(modules: &[(String, String)], data: &serde_json::Value) -> Result<(), Vec<Finding>> {
    let parsed = source::parse(modules)?;
    let names = Names::new(&parsed)?;
    admit::every_rule(&parsed, &names, data)?;
    let written = rewrite::rewrite(&parsed, &names, true);
    let compiled = names.entries().map(|path| compile(&written, &path.join(".")));
    let mut found: Vec<Finding> = compiled.filter_map(Result::err).collect();
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn compile(
    modules: &[(String, String)],
    query: &str,
) -> Result<Arc<regorus::rvm::Program>, Finding> {
    let mut engine = engine(modules, &Shared::default())?;
    let wrong = |error: &dyn std::fmt::Display| Finding::of(&error.to_string(), "");
    let policy = engine.compile_with_entrypoint(&query.into()).map_err(|error| wrong(&error))?;
    let supplied: Vec<(&str, usize)> =
        builtins::SUPPLIED.iter().map(|one| (one.name, one.arity)).collect();
    Compiler::compile_from_policy_with_host_await(&policy, &[query], &supplied)
        .map_err(|error| wrong(&error))
}

fn engine(modules: &[(String, String)], shared: &Shared) -> Result<Engine, Finding> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: LONGEST_LINE,
        ..PolicyLengthConfig::default()
    });
    for builtin in builtins::SUPPLIED {
        let shared = shared.clone();
        let call = move |args: Vec<Value>| Ok(shared.call(builtin, &args));
        let arity = u8::try_from(builtin.arity).unwrap_or(u8::MAX);
        let added = engine.add_extension(builtin.name.to_owned(), arity, Box::new(call));
        added.map_err(|error| Finding::whole(error.to_string()))?;
    }
    for (name, text) in modules {
        let added = engine.add_policy(name.clone(), text.clone());
        added.map_err(|error| Finding::of(&error.to_string(), name))?;
    }
    Ok(engine)
}

/// Modules for the interpreter: all of Rego that it knows, `with` included, and no limit.
/// For tests of policies and tools, not for requests.
pub struct Rules {
    engine: Engine,
    shared: Shared,
    paths: BTreeSet<String>,
}

impl Rules {
    /// Takes modules as they are written.
    pub fn new(
        modules: &[(String, String)],
        data: &serde_json::Value,
    ) -> Result<Self, Vec<Finding>> {
        let parsed = source::parse(modules)?;
        let names = Names::new(&parsed)?;
        admit::recursion_only(&names)?;
        let paths = names.rules.keys().map(|path| path.join(".")).collect();
        let shared = Shared::default();
        let one = |finding| vec![finding];
        let written = rewrite::rewrite(&parsed, &names, false);
        let mut engine = engine(&written, &shared).map_err(one)?;
        let added = engine.add_data(Value::from(data.clone()));
        added.map_err(|error| one(Finding::of(&error.to_string(), "")))?;
        Ok(Self { engine, shared, paths })
    }

    /// Every rule whose name starts with `test_`, by path.
    pub fn tests(&self) -> impl Iterator<Item = &String> {
        let is_test =
            |path: &str| path.rsplit('.').next().is_some_and(|it| it.starts_with("test_"));
        self.paths.iter().filter(move |path| is_test(path))
    }

    /// Whether there is a rule of this path.
    pub fn has(&self, rule: &str) -> bool {
        self.paths.contains(rule)
    }

    /// The value of a rule for this input, at this time in milliseconds since the epoch.
    pub fn value(&mut self, rule: &str, input: Value, now: u64) -> Result<Value, Fault> {
        self.shared.begin(Context::at(now));
        self.engine.set_input(input);
        let value = self.engine.eval_rule(rule.to_owned());
        if let Some(fault) = self.shared.fault() {
            return Err(fault);
        }
        value.map_err(|error| Fault::of_interpreter(&error.to_string()))
    }
}

/// Which lines of a module were evaluated; lines without a rule are in neither list.
#[cfg(feature = "coverage")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The module's name.
    pub file: String,
    /// Lines that were, counted from 1.
    pub reached: Vec<u32>,
    /// Lines that were not.
    pub missed: Vec<u32>,
}

#[cfg(feature = "coverage")]
impl Rules {
    /// Notes from now on which lines are evaluated.
    pub fn watch(&mut self) {
        self.engine.set_enable_coverage(true);
    }

    /// What was noted, by module.
    pub fn coverage(&self) -> Result<Vec<Coverage>, Finding> {
        let report = self.engine.get_coverage_report();
        let report = report.map_err(|error| Finding::whole(error.to_string()))?;
        let of = |file: regorus::coverage::File| Coverage {
            file: file.path,
            reached: file.covered.into_iter().collect(),
            missed: file.not_covered.into_iter().collect(),
        };
        Ok(report.files.into_iter().map(of).collect())
    }
}
