//! What a step wants, what was seen, and whether they agree.
//!
//! Invariant: two things are wanted of every step whatever the table says: no form of the
//! secret in what the caller saw, and no API key in what an upstream got.

use postern_rig::message::Message;
use serde::Serialize;

use super::secret;
use super::stage::Stage;
use crate::failure::Outcome;
use crate::output::Output;

/// Longest text that a line shows.
const SHOWN: usize = 200;

/// One line of the demonstration.
pub struct Step {
    /// What is shown.
    pub name: &'static str,
    /// Does it.
    pub act: fn(&mut Stage) -> Outcome<Seen>,
    /// What must be seen.
    pub want: Want,
}

/// What must be seen.
pub struct Want {
    /// HTTP status, or a command's exit code.
    pub status: u16,
    /// Texts that the caller must see.
    pub says: &'static [&'static str],
    /// What the upstream must get.
    pub upstream: Arrives,
}

/// What an upstream must get.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arrives {
    /// Not one request.
    Nothing,
    /// One request, with the secret where the binding says and nowhere else.
    TheSecret,
    /// This line is not about a request.
    NotAsked,
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// HTTP status, or a command's exit code.
    pub status: u16,
    /// What the caller saw, as shown.
    pub text: String,
    /// Everything the caller saw.
    pub bytes: Vec<u8>,
    /// Of it, an answer's content.
    pub content: Vec<u8>,
    /// What upstreams got.
    pub upstream: Vec<Message>,
    /// What the step itself found wrong.
    pub problems: Vec<String>,
}

impl Seen {
    /// An answer to a caller.
    pub fn answer(answer: Message, upstream: Vec<Message>) -> Self {
        let mut problems = Vec::new();
        if !answer.complete {
            problems.push("the answer was cut".to_owned());
        }
        let content = String::from_utf8_lossy(&answer.content);
        let text = format!("{} {}", answer.status(), one_line(&content));
        let status = answer.status();
        Self { status, text, bytes: answer.raw, content: answer.content, upstream, problems }
    }

    /// The end of a command.
    pub fn command(ended: &super::commands::Ended) -> Self {
        let text = ended.text();
        let shown = one_line(&text);
        Self { status: ended.code, text: shown, bytes: text.into_bytes(), ..Self::default() }
    }
}

/// One line, as printed and as in `--json`.
#[derive(Serialize)]
pub struct Line {
    name: &'static str,
    good: bool,
    caller: String,
    upstream: String,
    problems: Vec<String>,
}

impl Step {
    /// Acts and judges.
    pub fn run(&self, stage: &mut Stage, out: Output) -> Outcome<Line> {
        let progress = out.progress(self.name);
        let seen = (self.act)(stage)?;
        drop(progress);
        let problems = self.want.judge(stage, &seen);
        Ok(Line {
            name: self.name,
            good: problems.is_empty(),
            caller: seen.text.chars().take(SHOWN).collect(),
            upstream: match self.want.upstream {
                Arrives::NotAsked => String::new(),
                _ => shown_upstream(&seen.upstream),
            },
            problems,
        })
    }
}

impl Want {
    fn judge(&self, stage: &Stage, seen: &Seen) -> Vec<String> {
        let mut problems = seen.problems.clone();
        if seen.status != self.status {
            problems.push(format!("expected status {}, got {}", self.status, seen.status));
        }
        let said = String::from_utf8_lossy(&seen.bytes);
        for text in self.says.iter().filter(|text| !said.contains(**text)) {
            problems.push(format!("the caller should have seen {text:?}"));
        }
        if let Some(form) = secret::found(&seen.bytes, &stage.secret) {
            problems.push(format!("the caller saw the secret, as {form:?}"));
        }
        problems.extend(self.upstream.judge(stage, &seen.upstream));
        problems
    }
}

impl Arrives {
    fn judge(self, stage: &Stage, requests: &[Message]) -> Vec<String> {
        let mut problems = Vec::new();
        let expected = usize::from(self == Self::TheSecret);
        if requests.len() != expected {
            problems.push(format!("expected {expected} requests upstream, got {}", requests.len()));
        }
        for request in requests {
            let fields: Vec<&[u8]> = request.all("authorization").collect();
            if fields != [format!("Bearer {}", stage.secret).as_bytes()] {
                problems.push("expected the secret in authorization, once".to_owned());
            }
            let raw = String::from_utf8_lossy(&request.raw);
            if raw.matches(&stage.secret).count() != 1 {
                problems.push("expected the secret once in the whole request".to_owned());
            }
            for key in [&stage.key, &stage.reader] {
                if !key.is_empty() && raw.contains(key.as_str()) {
                    problems.push("the upstream got the caller's API key".to_owned());
                }
            }
            if request.text("x-tap-credential").is_some() {
                problems.push("the upstream got x-tap-credential".to_owned());
            }
        }
        problems
    }
}

impl Line {
    /// Whether everything was as it should be.
    pub fn is_good(&self) -> bool {
        self.good
    }

    /// Three lines for a terminal, and one for each problem.
    pub fn text(&self) -> String {
        let mark = if self.good { "ok  " } else { "BAD " };
        let who = if self.upstream.is_empty() { "operator" } else { "caller  " };
        let mut text = format!("{mark} {}\n       {who}  {}", self.name, self.caller);
        if !self.upstream.is_empty() {
            text.push_str(&format!("\n       upstream  {}", self.upstream));
        }
        for problem in &self.problems {
            text.push_str(&format!("\n       !         {problem}"));
        }
        text
    }
}

fn shown_upstream(requests: &[Message]) -> String {
    let line = |request: &Message| {
        let authorization = request.text("authorization").unwrap_or_else(|| "none".to_owned());
        let (method, path) = (request.word(0), request.word(1));
        let host = request.text("host").unwrap_or_default();
        format!("{method} {host}{path}  authorization: {authorization}")
    };
    match requests {
        [] => "nothing".to_owned(),
        requests => requests.iter().map(line).collect::<Vec<_>>().join(" | "),
    }
}

fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(SHOWN).collect()
}
