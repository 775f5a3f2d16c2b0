//! One gateway with its upstreams, and a scenario played on it.
//!
//! A request to the listener `fence` ends each stretch of the log: its plugin writes a line when
//! everything before it on the gateway's one worker has been written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_rig::client::{Request, exchange};
use postern_rig::gateway::{Gateway, Kind, Launch};
use postern_rig::message::Message;
use postern_rig::nginx::Nginx;
use postern_rig::upstream::{Answer, Framing, Instead, Upstream};
use postern_rig::wait::until;

use super::bases::{Bases, Ports};
use super::caller::{self, Sent};
use super::grpc::Service;
use super::observation::{HIDDEN, Observation, message_lines, probe_lines};
use super::scenario::Scenario;
use crate::root;

const FENCE: &str = "fence";
/// What nginx serves.
const FILES: &[(&str, &[u8])] =
    &[("small", b"a small file\n"), ("empty", b""), ("large", &[b'x'; 300_000])];
const LOCATIONS: &str = r#"
    location = /echo { return 200 "$request_method $request_uri $http_x_a\n"; }
    location = /moved { return 301 /small; }
    location = /hints { add_header link "</a>" always; return 404 "no\n"; }
    location = /limited { client_max_body_size 4; proxy_pass http://127.0.0.1:1; }
"#;
const LIMIT: Duration = Duration::from_secs(5);
/// How long the ends of streams may take.
const ENDS: Duration = Duration::from_millis(500);

/// A gateway with everything round it.
pub struct Side {
    gateway: Gateway,
    ports: BTreeMap<String, u16>,
    upstream: Upstream,
    calls: Upstream,
    /// A server of another make.
    _nginx: Nginx,
    /// How much of the log has been read.
    read: u64,
    /// Probe lines that have been read and not been taken.
    lines: Vec<String>,
    fences: usize,
}

impl Side {
    /// Starts a gateway that has every base.
    pub fn start(kind: Kind, bases: &Bases) -> Result<Self> {
        let (upstream, calls) = (Upstream::start(None)?, Upstream::start(None)?);
        calls.script(call_answer);
        let nginx = Nginx::start(&Nginx::binary(&root())?, FILES, LOCATIONS)?;
        let ports = Ports {
            upstream: upstream.port(),
            calls: calls.port(),
            nginx: nginx.port(),
            grpc: Service::start()?.port(),
        };
        let config = bases.config(ports)?;
        let environment = [("PROBE_GIVEN".to_owned(), "given".to_owned())];
        let gateway = Launch::new(kind).start(&config, &environment)?;
        let ports =
            bases.names().filter_map(|name| Some((name.to_owned(), gateway.port(name).ok()?)));
        let ports = ports.collect();
        let (read, lines, fences) = (0, Vec::new(), 0);
        let _nginx = nginx;
        let mut side = Self { gateway, ports, upstream, calls, _nginx, read, lines, fences };
        side.fence()?;
        side.lines.clear();
        Ok(side)
    }

    /// Plays a scenario and tells what came of it so far.
    pub fn play(&mut self, scenario: &Scenario) -> Result<Observation> {
        self.fence()?;
        self.lines.clear();
        self.upstream.take();
        self.calls.take();
        let before: Vec<_> = scenario.stats.iter().map(|name| self.gateway.stat(name)).collect();
        let mut seen = Observation { open: scenario.open, ..Observation::default() };
        let mut held: Vec<Sent> = Vec::new();
        for (base, step) in scenario.steps() {
            let Some(port) = self.ports.get(base).copied() else {
                seen.caller.push(format!("no listener {base}"));
                continue;
            };
            self.upstream.answer(step.upstream.build());
            match caller::send(port, step)? {
                Some(sent) if step.hold => held.push(sent),
                Some(sent) => seen.caller.extend(sent.answer()),
                None => {}
            }
        }
        for sent in held {
            seen.caller.extend(sent.answer());
        }
        caller::pause(scenario.wait);
        self.more(&mut seen)?;
        let _ = until(ENDS, || (self.more(&mut seen).is_err() || seen.is_over()).then_some(()));
        seen.stats = scenario.stats.iter().zip(before).map(|it| self.stat(it)).collect();
        Ok(seen)
    }

    /// Adds what has come since.
    pub fn more(&mut self, seen: &mut Observation) -> Result<()> {
        self.fence()?;
        seen.probes.append(&mut self.lines);
        seen.upstream.extend(self.upstream.take().iter().flat_map(|m| asked("upstream", m)));
        seen.calls.extend(self.calls.take().iter().map(|m| asked("call-out", m)));
        Ok(())
    }

    /// By how much a value has grown in the scenario.
    fn stat(&self, (name, before): (&String, Option<u64>)) -> String {
        match self.gateway.stat(name) {
            Some(value) => {
                format!("stat {name}: {:+}", i128::from(value) - i128::from(before.unwrap_or(0)))
            }
            None => format!("stat {name}: absent"),
        }
    }

    /// Reads the log up to the line of a new fence.
    fn fence(&mut self) -> Result<()> {
        let port = self.ports.get(FENCE).copied().context("no listener fence")?;
        let answer = exchange(port, &Request::new("GET", FENCE, "/"), LIMIT)?;
        ensure!(answer.is_some_and(|answer| answer.status() == 200), "the fence does not answer");
        self.fences += 1;
        let found = until(LIMIT, || {
            self.read_log();
            let end = format!("{FENCE} delete()");
            let passed = self.lines.iter().filter(|line| **line == end).count();
            (passed >= 1).then_some(())
        });
        ensure!(found.is_some(), "the plugin of the fence has written nothing");
        self.lines.retain(|line| !line.starts_with(FENCE));
        Ok(())
    }

    fn read_log(&mut self) {
        let mut log = self.gateway.log_from(self.read);
        // A line that is being written is read when it is whole.
        log.truncate(log.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        self.read += log.len() as u64;
        self.lines.extend(probe_lines(&String::from_utf8_lossy(&log)));
    }
}

fn asked(who: &str, message: &Message) -> Vec<String> {
    message_lines(message, &HIDDEN).into_iter().map(|line| format!("{who}: {line}")).collect()
}

/// What a call-out is answered, by its path.
fn call_answer(request: &Message) -> Answer {
    let answer = Answer { chunks: vec![b"called".to_vec()], ..Answer::default() };
    let close = |bytes: &[u8]| Some(Instead::Close(bytes.to_vec()));
    match request.word(1).as_str() {
        "/500" => Answer { status: 500, ..answer },
        "/204" => Answer { status: 204, chunks: Vec::new(), framing: Framing::None, ..answer },
        "/close" => Answer { instead: close(b""), ..answer },
        "/cut" => {
            Answer { instead: close(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), ..answer }
        }
        "/garbage" => Answer { instead: close(b"garbage\r\n\r\n"), ..answer },
        "/silent" => Answer { instead: Some(Instead::Stall(Vec::new())), ..answer },
        "/slow" => slow(answer, 150),
        "/slower" => slow(answer, 300),
        "/big" => Answer { chunks: vec![vec![b'x'; 300_000]], ..answer },
        "/trailers" => Answer {
            framing: Framing::Chunked,
            trailers: vec![(b"x-end".to_vec(), b"yes".to_vec())],
            ..answer
        },
        "/fields" => Answer {
            fields: [("x-two", "1"), ("x-two", "2"), ("X-Upper", "Case")]
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .to_vec(),
            ..answer
        },
        "/echo" => Answer { chunks: vec![request.content.clone()], ..answer },
        _ => answer,
    }
}

/// Content that comes late; a call-out is answered when all of it is there.
fn slow(answer: Answer, milliseconds: u64) -> Answer {
    Answer { pace: Duration::from_millis(milliseconds), ..answer }
}
