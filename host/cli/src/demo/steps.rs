//! What the demonstration shows: a table of steps, each with what must be seen.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_rig::client::Request;
use postern_rig::message::Message;
use postern_rig::upstream::{Answer, Framing};
use postern_rig::wait::until;
use serde_json::Value;

use super::stage::Stage;
use super::verdict::{Arrives, Seen, Step, Want};
use super::{person, secret};
use crate::failure::{Failure, Outcome, Sort};

/// A revoked key must be refused within this time.
const REVOKED: Duration = Duration::from_secs(5);
/// Values and directory answers are kept for three seconds.
const OUTAGE: Duration = Duration::from_secs(8);
/// The gateway's last records must be in the chain within this time.
const COLLECTED: Duration = Duration::from_secs(20);
/// Between two tries of the same request.
const BETWEEN: Duration = Duration::from_millis(200);
/// Fewest records of requests that the chain must hold by then.
const RECORDS: usize = 12;

const fn want(status: u16, says: &'static [&'static str], upstream: Arrives) -> Want {
    Want { status, says, upstream }
}

/// Every line, in order.
pub const STEPS: &[Step] = &[
    Step {
        name: "key service up, with SIMULATED evidence; gateway enrolled and started",
        act: start,
        want: want(0, &["SIMULATED"], Arrives::NotAsked),
    },
    Step {
        name: "the configuration passes postern check",
        act: check,
        want: want(0, &["good"], Arrives::NotAsked),
    },
    Step {
        name: "credential slack stored from stdin, sealed to the attested key",
        act: put,
        want: want(0, &["stored slack, version 1, sealed"], Arrives::NotAsked),
    },
    Step {
        name: "API keys created: only id, salt and hash are stored",
        act: create_keys,
        want: want(0, &[], Arrives::NotAsked),
    },
    Step {
        name: "a call with X-TAP-Credential: slack",
        act: |stage| stage.ask(&call(stage, "GET").with("X-TAP-Credential", "slack")),
        want: want(200, &["ok"], Arrives::TheSecret),
    },
    Step {
        name: "a call with the placeholder in Authorization",
        act: |stage| {
            stage.ask(&call(stage, "GET").with("Authorization", "Bearer <CREDENTIAL:slack>"))
        },
        want: want(200, &["ok"], Arrives::TheSecret),
    },
    Step {
        name: "an upstream that echoes every header, and the value in base64 and percent form",
        act: echoing,
        want: want(200, &["[REDACTED]", "base64", "percent"], Arrives::TheSecret),
    },
    Step {
        name: "a streamed answer with the secret split between chunks",
        act: streaming,
        want: want(200, &["data: token=[REDACTED]", "data: done"], Arrives::TheSecret),
    },
    Step {
        name: "a placeholder in a JSON body",
        act: misplaced,
        want: want(400, &["placeholder_misplaced"], Arrives::Nothing),
    },
    Step {
        name: "the same credential to another host",
        act: |stage| {
            let request = Request::new("GET", "local.test", "/api/conversations.list");
            let request = request.with("X-TAP-Key", &stage.key).with("X-TAP-Credential", "slack");
            stage.ask(&request)
        },
        want: want(403, &["credential_not_allowed"], Arrives::Nothing),
    },
    Step {
        name: "a key without the scope",
        act: |stage| {
            let request = Request::new("POST", "slack.com", "/api/chat.postMessage");
            let request = request.with("X-TAP-Key", &stage.reader);
            stage.ask(&request.with("X-TAP-Credential", "slack").sized("{}"))
        },
        want: want(403, &["insufficient_scope", "documents:write"], Arrives::Nothing),
    },
    Step {
        name: "a write waits for a person",
        act: person::waits,
        want: want(428, &["approval_required", "pending"], Arrives::Nothing),
    },
    Step {
        name: "approved by command; the same request again",
        act: person::decided,
        want: want(200, &["ok"], Arrives::TheSecret),
    },
    Step {
        name: "a second time with the same approval",
        act: person::again,
        want: want(409, &["approval_used"], Arrives::Nothing),
    },
    Step {
        name: "a revoked key, within 5 s",
        act: revoked,
        want: want(401, &["invalid_token"], Arrives::Nothing),
    },
    Step {
        name: "the key service stopped",
        act: outage,
        want: want(503, &["unavailable"], Arrives::Nothing),
    },
    Step {
        name: "the key service back; audit exported and verified offline",
        act: audit,
        want: want(0, &["good: "], Arrives::NotAsked),
    },
    Step {
        name: "one byte of the export changed: the break is named",
        act: tampered,
        want: want(1, &["broken: ", "was changed"], Arrives::NotAsked),
    },
    Step {
        name: "logs, admin interface, database and audit searched for secret and keys",
        act: search,
        want: want(0, &["found nothing"], Arrives::NotAsked),
    },
];

fn start(stage: &mut Stage) -> Outcome<Seen> {
    stage.start_keys()?;
    stage.start_gateway()?;
    let log = stage.keys_log();
    let said = stage.read("keys.out")?;
    let text = said.lines().next().unwrap_or_default().to_owned();
    Ok(Seen { text, bytes: format!("{said}{log}").into_bytes(), ..Seen::default() })
}

fn check(stage: &mut Stage) -> Outcome<Seen> {
    let args = ["check", "--allow-simulated", "--allow-plain-upstream", "envoy.json"];
    let ended = stage.commands.run(&args, b"")?;
    let mut seen = Seen::command(&ended);
    seen.text = ended.stdout.lines().last().unwrap_or_default().to_owned();
    Ok(seen)
}

fn put(stage: &mut Stage) -> Outcome<Seen> {
    let args = [
        "credential",
        "put",
        "slack",
        "--authority",
        "slack.com",
        "--method",
        "GET,POST",
        "--path",
        "/api/**",
        "--header",
        "Authorization",
        "--style",
        "bearer",
    ];
    let ended = stage.commands.run(&args, stage.secret.as_bytes())?;
    let mut seen = Seen::command(&ended);
    seen.text = ended.stdout.trim().to_owned();
    Ok(seen)
}

fn create_keys(stage: &mut Stage) -> Outcome<Seen> {
    let both = ["--scope", "documents:read", "--scope", "documents:write"];
    stage.key = create_key(stage, "triage-bot", &both)?;
    stage.reader = create_key(stage, "reader-bot", &[])?;
    let shown = |key: &str| format!("{}_…", key.get(..11).unwrap_or_default());
    let text = format!("{} {}", shown(&stage.key), shown(&stage.reader));
    let list = stage.commands.run(&["apikey", "list"], b"")?.good("apikey list")?;
    let mut problems = Vec::new();
    for key in [&stage.key, &stage.reader] {
        if list.text().contains(key.as_str()) {
            problems.push("apikey list shows a whole key".to_owned());
        }
    }
    Ok(Seen { text, problems, ..Seen::default() })
}

fn create_key(stage: &Stage, agent: &str, scopes: &[&str]) -> Outcome<String> {
    let args = ["apikey", "create", "--user", "ada", "--organisation", "acme", "--agent", agent];
    let ended = stage.commands.run(&[&args[..], scopes].concat(), b"")?.good("apikey create")?;
    Ok(ended.stdout.trim().to_owned())
}

/// A call to the API by the agent that may read and write.
pub fn call(stage: &Stage, method: &str) -> Request {
    Request::new(method, "slack.com", "/api/conversations.list").with("X-TAP-Key", &stage.key)
}

fn echoing(stage: &mut Stage) -> Outcome<Seen> {
    stage.slack.script(echo);
    let seen = stage.ask(&call(stage, "GET").with("X-TAP-Credential", "slack"))?;
    stage.slack.answer(Answer::default());
    Ok(seen)
}

/// Every field back in content and in a header, and the value in two more forms.
pub fn echo(request: &Message) -> Answer {
    let authorization = request.text("authorization").unwrap_or_default();
    let value = authorization.strip_prefix("Bearer ").unwrap_or(&authorization);
    let mut content =
        format!("base64 {}\npercent {}\n", secret::base64(value), secret::percent(value));
    for (name, value) in &request.fields {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        content.push_str(&format!("{name}: {value}\n"));
    }
    let mut answer = Answer { chunks: vec![content.into_bytes()], ..Answer::default() };
    answer.fields.push((b"x-echo".to_vec(), authorization.into_bytes()));
    answer
}

fn streaming(stage: &mut Stage) -> Outcome<Seen> {
    stage.slack.script(|request| {
        let value = request.text("authorization").unwrap_or_default();
        let value = value.strip_prefix("Bearer ").unwrap_or(&value).to_owned();
        let (head, tail) = value.split_at(value.len() / 2);
        let chunks =
            [format!("data: token={head}"), format!("{tail}\n\n"), "data: done\n\n".into()];
        Answer {
            fields: vec![(b"content-type".to_vec(), b"text/event-stream".to_vec())],
            chunks: chunks.map(String::into_bytes).to_vec(),
            framing: Framing::Chunked,
            pace: Duration::from_millis(50),
            ..Answer::default()
        }
    });
    let seen = stage.ask(&call(stage, "GET").with("X-TAP-Credential", "slack"))?;
    stage.slack.answer(Answer::default());
    Ok(seen)
}

fn misplaced(stage: &mut Stage) -> Outcome<Seen> {
    let request = call(stage, "POST").with("Content-Type", "application/json");
    stage.ask(&request.sized(r#"{"text":"my token is <CREDENTIAL:slack>"}"#))
}

fn revoked(stage: &mut Stage) -> Outcome<Seen> {
    let request = call(stage, "GET").with("X-TAP-Credential", "slack");
    let request = with_key(request, &stage.reader);
    stage.ask(&request)?;
    let id = stage.reader.get(3..11).unwrap_or_default();
    stage.commands.run(&["apikey", "revoke", id], b"")?.good("apikey revoke")?;
    until_refused(stage, &request, REVOKED)
}

/// Asks again until the answer is not 200; says how long that took.
fn until_refused(stage: &Stage, request: &Request, limit: Duration) -> Outcome<Seen> {
    let start = Instant::now();
    let refused = until(limit, || {
        let asked = stage.ask(request);
        if asked.as_ref().is_ok_and(|seen| seen.status == 200) {
            std::thread::park_timeout(BETWEEN);
            return None;
        }
        Some(asked)
    });
    let mut seen = refused.unwrap_or_else(|| stage.ask(request))?;
    seen.text = format!("{} (after {:.1} s)", seen.text, start.elapsed().as_secs_f32());
    Ok(seen)
}

fn with_key(mut request: Request, key: &str) -> Request {
    request.fields.retain(|(name, _)| name != b"X-TAP-Key");
    request.with("X-TAP-Key", key)
}

/// What is kept serves for three more seconds; then nothing leaves.
fn outage(stage: &mut Stage) -> Outcome<Seen> {
    stage.stop_keys();
    let request = call(stage, "GET").with("X-TAP-Credential", "slack");
    until_refused(stage, &request, OUTAGE)
}

fn audit(stage: &mut Stage) -> Outcome<Seen> {
    stage.start_keys()?;
    let mut last = Ok(0);
    let collected = until(COLLECTED, || {
        last = export(stage);
        last.as_ref().is_ok_and(|records| *records >= RECORDS).then_some(())
    });
    let records = last?;
    let ended =
        stage.commands.run(&["audit", "verify", "audit.jsonl", "--key", "audit.pub"], b"")?;
    let mut seen = Seen::command(&ended);
    seen.text = format!("{records} requests recorded; {}", seen.text);
    if collected.is_none() {
        seen.problems.push(format!("expected {RECORDS} records of requests, found {records}"));
    }
    Ok(seen)
}

/// Exports the chain; how many records of requests it holds.
fn export(stage: &Stage) -> Outcome<usize> {
    let args = ["audit", "export", "--out", "audit.jsonl", "--key-out", "audit.pub"];
    stage.commands.run(&args, b"")?.good("audit export")?;
    let text = stage.read("audit.jsonl")?;
    Ok(text.lines().skip(1).filter(|line| is_request_record(line)).count())
}

fn is_request_record(line: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    let bytes = line["bytes"].as_str().and_then(|text| B64.decode(text).ok()).unwrap_or_default();
    let event: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    event["kind"] == "request"
}

fn tampered(stage: &mut Stage) -> Outcome<Seen> {
    let text = stage.read("audit.jsonl")?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let n = lines.len() / 2;
    let line = lines.get_mut(n).ok_or_else(|| Failure::bug("the export is empty"))?;
    let mut event: Value = serde_json::from_str(line).or_bug("audit export")?;
    let mut bytes =
        event["bytes"].as_str().and_then(|text| B64.decode(text).ok()).unwrap_or_default();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    event["bytes"] = Value::String(B64.encode(bytes));
    *line = event.to_string();
    stage.write("tampered.jsonl", lines.join("\n").as_bytes())?;
    let args = ["audit", "verify", "tampered.jsonl", "--key", "audit.pub"];
    let mut seen = Seen::command(&stage.commands.run(&args, b"")?);
    if !seen.text.contains(&format!("event {n} was changed")) {
        seen.problems.push(format!("expected event {n} to be named"));
    }
    Ok(seen)
}

fn search(stage: &mut Stage) -> Outcome<Seen> {
    let places = stage.places()?;
    let mut problems = Vec::new();
    for (place, bytes) in &places {
        for value in [&stage.secret, &stage.key, &stage.reader] {
            if secret::found(bytes, value).is_some() {
                problems.push(format!("{place} holds a secret or a key"));
            }
        }
    }
    let text = match problems.len() {
        0 => format!("searched {} places, found nothing", places.len()),
        n => format!("searched {} places, found {n}", places.len()),
    };
    Ok(Seen { bytes: text.clone().into_bytes(), text, problems, ..Seen::default() })
}
