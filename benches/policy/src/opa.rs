//! The Open Policy Agent as a library of Python's, in a process that stays: `opa.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;

/// The process.
pub struct Opa {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// One turn.
pub struct Turn {
    /// Whether each input is allowed.
    pub allowed: Vec<bool>,
    /// Microseconds of a decision.
    pub us: f64,
    /// Microseconds of a call that decides nothing, which are not in it.
    pub call: f64,
}

impl Opa {
    /// With the library that was laid out in `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        ensure!(folder.join("opa_bindings").exists(), "no OPA: run `cargo xtask setup`");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("opa.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start python3")?;
        let to = child.stdin.take().context("stdin")?;
        let from = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, to, from })
    }

    /// Decides about all inputs of `case` for this long.
    pub fn turn(&mut self, case: &Case, length: Duration) -> Result<Turn> {
        let question = json!({
            "modules": case.modules, "data": case.data, "query": case.query,
            "inputs": case.inputs, "seconds": length.as_secs_f64(),
        });
        writeln!(self.to, "{question}")?;
        let mut line = String::new();
        ensure!(self.from.read_line(&mut line)? > 0, "OPA ended at {}", case.name);
        let answer: Value = serde_json::from_str(&line)?;
        let values = answer["values"].as_array().context("values")?;
        let figure = |name: &str| answer[name].as_f64().context("figure");
        Ok(Turn {
            allowed: values.iter().map(allows).collect(),
            us: figure("us")?,
            call: figure("call")?,
        })
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A decision is `true`, or an object that says so.
fn allows(value: &Value) -> bool {
    *value == true || value["allowed"] == true
}
