//! moto as a process, and what makes secrets in it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// moto. Ends with this.
pub struct Site {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
    about: Value,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn line(hear: &mut BufReader<ChildStdout>) -> Value {
    let mut text = String::new();
    hear.read_line(&mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("moto said {text:?}"))
}

impl Site {
    pub fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target/tools/python/bin/python");
        assert!(python.exists(), "no libraries for moto: run `cargo xtask setup`");
        let mut command = Command::new(python);
        command.arg(root.join("host/vaults/tests/aws/site.py"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let say = process.stdin.take().unwrap();
        let mut hear = BufReader::new(process.stdout.take().unwrap());
        let about = line(&mut hear);
        Self { process, say, hear, about }
    }

    /// One call of botocore's; the version that it made.
    pub fn does(&mut self, call: &str, with: &Value) -> String {
        writeln!(self.say, "{}", json!({"call": call, "with": with})).unwrap();
        line(&mut self.hear)["version"].as_str().unwrap_or_default().to_owned()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.about["port"])
    }

    /// Access key id and secret access key of a user.
    pub fn keys(&self, user: &str) -> (String, String) {
        let text = |at: usize| self.about["keys"][user][at].as_str().unwrap().to_owned();
        (text(0), text(1))
    }
}
