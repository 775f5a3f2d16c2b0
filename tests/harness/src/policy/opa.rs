//! OPA itself, as a library of Python's: `tests/clients/python/opa.py`.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Answer, Pair};
use crate::root;

/// OPA's answers, in the order of the pairs. `POSTERN_OPA` names the folder that the
/// library was laid out in; `cargo xtask setup` does it below target/tools.
pub fn answers(pairs: &[Pair]) -> Result<Vec<Answer>> {
    let folder = std::env::var_os("POSTERN_OPA");
    let folder = folder.map_or_else(|| root().join("target/tools/opa"), Into::into);
    ensure!(folder.join("opa_bindings").exists(), "no OPA: run `cargo xtask setup`");
    let mut command = Command::new("python3");
    command.arg("tests/clients/python/opa.py").arg(folder).current_dir(root());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let cases: Vec<String> = pairs.iter().map(|pair| case(pair).to_string()).collect();
    let writer =
        std::thread::spawn(move || cases.iter().try_for_each(|case| writeln!(stdin, "{case}")));
    let output = child.wait_with_output()?;
    let written = writer.join().map_err(|_| anyhow::anyhow!("the writer ended early"))?;
    written.context("cannot hand pairs to OPA")?;
    let text = String::from_utf8(output.stdout)?;
    let answers: Vec<Answer> = text.lines().map(read).collect::<Result<_>>()?;
    ensure!(answers.len() == pairs.len(), "{} answers to {} pairs", answers.len(), pairs.len());
    Ok(answers)
}

fn case(pair: &Pair) -> Value {
    json!({
        "modules": pair.modules,
        "data": pair.data,
        "query": pair.query,
        "input": pair.input,
    })
}

/// The library has OPA raise the errors of builtins, which a deployed OPA takes for undefined
/// where they stand.
fn read(line: &str) -> Result<Answer> {
    let answer: Value = serde_json::from_str(line)?;
    if let Some(value) = answer.get("value") {
        return Ok(Answer::Value(value.clone()));
    }
    let message = answer["message"].as_str().unwrap_or_default();
    Ok(match answer["error"].as_str() {
        None => Answer::Undefined,
        Some(_) if message.contains("eval_conflict_error") => Answer::Conflict,
        Some(_) if message.contains("eval_builtin_error") => Answer::Raised,
        Some(_) => Answer::Failed(message.to_owned()),
    })
}
