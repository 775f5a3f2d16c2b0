//! Policies against OPA: the same answers by the interpreter, by bytecode in this process, by
//! bytecode in the gateway's module, and by OPA itself.
//!
//! Owns the pairs: expressions of `tests/policy/expressions.txt`, policies with their inputs
//! in `tests/policy/envoy`, the library, and generated expressions and policies. Invariant: a pair whose expression is
//! refused at load fails here, unless its file says that it has to be refused.

mod answer;
mod generate;
mod opa;
mod rules;
mod wasm;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::root;
use crate::run::{Count, Selection};

use answer::Answer;

/// How many expressions are generated, and how many whole policies.
const GENERATED: usize = 500;
/// Most generated policies of a thousand in which one engine alone may see a contradiction.
const ALONE: usize = 4;
/// The time of every decision here.
const NOW: u64 = 1_750_000_000_000;
const INSTRUCTIONS: u32 = 1_000_000;

/// One pair of policy and input.
#[derive(Clone, Debug)]
pub struct Pair {
    name: String,
    modules: Vec<(String, String)>,
    data: Value,
    query: String,
    input: Value,
    /// The expression, where the policy is only one.
    expression: Option<String>,
}

impl Pair {
    /// Whether it is a generated policy, rather than one expression or a written one.
    fn is_policy(&self) -> bool {
        self.name.starts_with("generated/policy/")
    }

    /// Whether it is an expression with a body of its own: what is undefined in it need not make
    /// the whole undefined.
    fn has_body(&self) -> bool {
        self.expression.as_ref().is_some_and(|text| text.contains(" | "))
    }

    /// Enough to try it by hand.
    fn shown(&self) -> String {
        let texts: Vec<&str> = self.modules.iter().map(|(_, text)| text.as_str()).collect();
        match &self.expression {
            Some(expression) => expression.clone(),
            None => format!("{}\ninput {}\ndata {}", texts.join("\n"), self.input, self.data),
        }
    }
}

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seed of the generated pairs.
    pub seed: u64,
    /// How many expressions.
    pub pairs: usize,
    /// How many whole policies.
    pub policies: usize,
}

impl Default for Options {
    fn default() -> Self {
        let seed = crate::run::now().0;
        Self { seed, pairs: GENERATED, policies: GENERATED }
    }
}

/// Runs every pair everywhere.
pub fn run(selection: &Selection, options: Options) -> Result<Count> {
    println!("seed {}", options.seed);
    let mut pairs = expressions()?;
    let written = pairs.len();
    ensure!(written >= 200, "{written} expressions, expected at least 200");
    pairs.extend(generate::pairs(options.seed, options.pairs, &document()?));
    pairs.extend(rules::pairs(options.seed, options.policies, &document()?));
    pairs.extend(policies()?);
    pairs.extend(library()?);
    pairs.retain(|pair| selection.has(&pair.name));
    let mut count = Count::default();
    compare(&pairs, selection, &mut count)?;
    refusals(selection, &mut count)?;
    denials(selection, &mut count)?;
    wasm::compare(&pairs, selection, &mut count)?;
    println!("{}", count.closing("policies"));
    Ok(count)
}

fn folder() -> PathBuf {
    root().join("tests/policy")
}

fn document() -> Result<Value> {
    let text = std::fs::read_to_string(folder().join("input.json")).context("input.json")?;
    Ok(serde_json::from_str(&text)?)
}

/// Lines of a file that are neither empty nor comments.
fn lines(file: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(folder().join(file)).context(file.to_owned())?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// A pair that is one expression.
fn pair(name: String, expression: &str, input: &Value) -> Pair {
    let text = format!("package t\n\nanswer := {expression}\n");
    Pair {
        name,
        modules: vec![("expression.rego".to_owned(), text)],
        data: json!({}),
        query: "data.t.answer".to_owned(),
        input: input.clone(),
        expression: Some(expression.to_owned()),
    }
}

fn expressions() -> Result<Vec<Pair>> {
    let input = document()?;
    let mut pairs = Vec::new();
    for (kind, file) in [("expression", "expressions.txt"), ("token", "tokens.txt")] {
        let lines = lines(file)?.into_iter().enumerate();
        pairs.extend(lines.map(|(index, line)| pair(format!("{kind}/{index}"), &line, &input)));
    }
    Ok(pairs)
}

/// Policies in the style of Envoy's OPA plugin: `NAME.rego` and the inputs of `NAME.json`,
/// a list of documents with `data`, `query` and `inputs`.
fn policies() -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder().join("envoy"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "rego"));
    files.sort();
    ensure!(files.len() >= 10, "{} policies, expected at least 10", files.len());
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file)?;
        let cases = std::fs::read_to_string(file.with_extension("json")).context(name.clone())?;
        let cases: Value = serde_json::from_str(&cases).context(name.clone())?;
        let inputs = cases["inputs"].as_array().context("inputs")?;
        for (index, input) in inputs.iter().enumerate() {
            pairs.push(Pair {
                name: format!("envoy/{name}/{index}"),
                modules: vec![(format!("{name}.rego"), text.clone())],
                data: cases.get("data").cloned().unwrap_or_else(|| json!({})),
                query: cases["query"].as_str().context("query")?.to_owned(),
                input: input.clone(),
                expression: None,
            });
        }
    }
    Ok(pairs)
}

/// Policies of the library with their own data: `tests/policy/library/NAME.json` has the query
/// and the inputs for the modules of `policies/NAME`.
fn library() -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for entry in std::fs::read_dir(folder().join("library"))? {
        let file = entry?.path();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let cases: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let of = root().join("policies").join(&name);
        let text =
            std::fs::read_to_string(of.join(format!("{name}.rego"))).context(name.clone())?;
        let data: Value = serde_json::from_str(&std::fs::read_to_string(of.join("data.json"))?)?;
        for (index, input) in cases["inputs"].as_array().context("inputs")?.iter().enumerate() {
            pairs.push(Pair {
                name: format!("library/{name}/{index}"),
                modules: vec![(format!("{name}.rego"), text.clone())],
                data: data.clone(),
                query: cases["query"].as_str().context("query")?.to_owned(),
                input: input.clone(),
                expression: None,
            });
        }
    }
    ensure!(pairs.len() >= 300, "{} inputs of the library, expected at least 300", pairs.len());
    pairs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pairs)
}

/// OPA, bytecode and interpreter in this process.
fn compare(pairs: &[Pair], selection: &Selection, count: &mut Count) -> Result<()> {
    let opa = opa::answers(pairs)?;
    let (mut same, mut alike, mut alone, mut untold) = (0, 0, 0, 0);
    for (pair, opa) in pairs.iter().zip(&opa) {
        let ours = answer::bytecode(pair);
        let interpreted = answer::interpreter(pair);
        let mut found = Vec::new();
        if pair.is_policy() && sees_alone(&ours, &interpreted, opa) {
            alone += 1;
            count.passed += 1;
            continue;
        }
        // What a deployed OPA makes of it the library does not tell; both of ours have to agree.
        let told = !(*opa == Answer::Raised && pair.has_body());
        if !told && !ours.is(&interpreted) {
            found.push(format!("bytecode {ours:?}, interpreter {interpreted:?}"));
        }
        if told && !ours.is(opa) {
            found.push(format!("bytecode {ours:?}, OPA {opa:?}"));
        }
        if told && !interpreted.is(opa) {
            found.push(format!("interpreter {interpreted:?}, OPA {opa:?}"));
        }
        if found.is_empty() {
            same += usize::from(told);
            untold += usize::from(!told);
            alike += usize::from(matches!(opa, Answer::Value(_)));
            count.passed += 1;
            if selection.show {
                println!("ok      {}: {opa:?}", pair.name);
            }
            continue;
        }
        found.push(pair.shown());
        count.report(&pair.name, &found);
    }
    println!(
        "{same} of {} pairs as OPA answers them, {alike} with a value; of {untold} it does not tell",
        pairs.len()
    );
    let policies = pairs.iter().filter(|pair| pair.is_policy()).count();
    if policies > 0 {
        println!(
            "contradictions that not all see, refused, failed in tests: {alone} of {policies}"
        );
        let wrong = (alone * 1000 > policies * ALONE).then(|| format!("more than {ALONE} in 1000"));
        count.report("generated/contradictions", &wrong.into_iter().collect::<Vec<_>>());
    }
    Ok(())
}

/// Where a contradiction is seen by some and not by others (`policies/DIFFERENCES.md`): each engine
/// leaves out other parts of a policy once they cannot change the value. A policy that is refused
/// at load, and one that the interpreter of tests fails on, are told where they are met.
fn sees_alone(bytecode: &Answer, interpreted: &Answer, opa: &Answer) -> bool {
    let failed = matches!(interpreted, Answer::Failed(_));
    if matches!(bytecode, Answer::Refused(_)) || failed && bytecode.is(opa) {
        return true;
    }
    let all = [bytecode, interpreted, opa];
    let values: Vec<&Answer> = all.into_iter().filter(|one| **one != Answer::Conflict).collect();
    let alike = values.iter().zip(values.iter().skip(1)).all(|(one, next)| one.is(next));
    (1..all.len()).contains(&values.len()) && alike
}

/// Expressions that OPA answers and this engine must refuse, each with a part of the message.
fn refusals(selection: &Selection, count: &mut Count) -> Result<()> {
    for (index, line) in lines("refused.txt")?.iter().enumerate() {
        let name = format!("refused/{index}");
        if !selection.has(&name) {
            continue;
        }
        let (expression, message) =
            line.split_once(" ## ").context("expected ## in refused.txt")?;
        let pair = pair(name.clone(), expression, &json!({}));
        let found = match answer::bytecode(&pair) {
            Answer::Refused(text) if text.contains(message) => Vec::new(),
            other => vec![format!("{expression}: expected {message:?}, got {other:?}")],
        };
        count.report(&name, &found);
    }
    Ok(())
}

/// Expressions that are a fault, which denies, by bytecode and by the interpreter.
fn denials(selection: &Selection, count: &mut Count) -> Result<()> {
    let input = document()?;
    for (index, line) in lines("denied.txt")?.iter().enumerate() {
        let name = format!("denied/{index}");
        if !selection.has(&name) {
            continue;
        }
        let pair = pair(name.clone(), line, &input);
        let answers = [answer::bytecode(&pair), answer::interpreter(&pair)];
        let wrong = answers.iter().filter(|answer| !matches!(answer, Answer::Failed(_)));
        let found: Vec<String> =
            wrong.map(|answer| format!("{line}: expected a fault, got {answer:?}")).collect();
        count.report(&name, &found);
    }
    Ok(())
}
