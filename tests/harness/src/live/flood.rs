//! Callers that send without end, and callers by the thousand that hardly send at all.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_rig::client::Client;
use postern_rig::wait::until;

use super::transfer::memory;
use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(30);
/// What nobody should keep of a head: far more than the file allows, and than sockets hold.
const ENDLESS: usize = 64 << 20;
/// What the sockets of both sides may take before the caller learns of its end.
const SOCKETS: usize = 16 << 20;

/// Name, what is sent once, what is then sent again and again, and the answer.
type Row = (&'static str, &'static str, &'static str, u16);

const HEAD: &str = "POST /api/a HTTP/1.1\r\nhost: api.test\r\n";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("a target without end", "GET /", "aaaaaaaaaaaaaaaa", 431),
    ("a field value without end", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx: ", "aaaaaaaaaaaaaaaa", 431),
    ("a field name without end", "GET /api/a HTTP/1.1\r\nhost: api.test\r\n", "aaaaaaaaaaaaaaaa", 431),
    ("fields without end", "GET /api/a HTTP/1.1\r\nhost: api.test\r\n", "a: b\r\n", 431),
    ("empty fields without end", "GET /api/a HTTP/1.1\r\nhost: api.test\r\n", "a:\r\n", 431),
    ("trailers without end", "{}transfer-encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", 431),
    ("content without end", "{}transfer-encoding: chunked\r\n\r\n", "400\r\nKIB\r\n", 413),
    ("chunks of one byte without end", "{}transfer-encoding: chunked\r\n\r\n", "1\r\na\r\n", 413),
];

/// Each row gets its answer while it still sends, and the gateway keeps little of it.
pub fn without_end(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let caller = Caller::new(site, "without_end")?;
    let auth = "x-tap-key: ${key alice}\r\nx-tap-credential: slack\r\n";
    let mut lines = Vec::new();
    site.take_forwarded();
    for (name, once, again, status) in ROWS {
        let head = once.strip_prefix("{}").map(|rest| format!("{HEAD}{auth}{rest}"));
        let once = caller.expand(site, &head.unwrap_or_else(|| (*once).to_owned()))?;
        let again = again.replace("KIB", &"y".repeat(1024)).repeat(1024);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client::over(stream.try_clone()?);
        stream.write_all(&once)?;
        let mut sent = 0;
        while sent < ENDLESS && stream.write_all(again.as_bytes()).is_ok() {
            sent += again.len();
        }
        let answer = client.answer(false).context(*name)?;
        expect(&mut lines, name, Some(*status), answer.map(|answer| answer.status()));
        let bounded = sent < SOCKETS;
        expect(&mut lines, &format!("{name}: {sent} bytes were taken"), true, bounded);
    }
    let after = caller.request(site, "api.test", "/api/after", Some("slack"));
    expect(&mut lines, "after all", 200, gateway.ask(&after)?.status());
    let seen: Vec<String> = site.take_forwarded().iter().map(|it| it.word(1)).collect();
    expect(&mut lines, "forwarded", vec!["/api/after".to_owned()], seen);
    Ok(lines)
}

/// Slow callers at once. Of ten, one stops in its content, three in their heads, and six say
/// nothing: a request that gets to the gate has a key to be looked up.
const SLOW: usize = 2000;
/// Descriptors for both sides of them, and some more.
const DESCRIPTORS: usize = SLOW + 500;
/// What each may cost the gateway: its buffers and its stream.
const COST: u64 = 40 * 1024;
/// Longest time of a normal request meanwhile, on a machine that is busy.
const PROMPT: Duration = Duration::from_secs(1);
const NORMAL: usize = 20;

/// Thousands of slow callers delay nobody and cost little memory, and all that they held is
/// given back.
pub fn slow_callers(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    raise_descriptors()?;
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    for timer in ["request_headers_timeout", "request_timeout", "stream_idle_timeout"] {
        hcm[timer] = "120s".into();
    }
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "thousands")?;
    let normal = caller.request(site, "api.test", "/api/normal", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "before", 200, gateway.ask(&normal)?.status());
    let before = memory(&gateway, "VmRSS")?;
    let auth = "x-tap-key: ${key alice}\r\nx-tap-credential: slack\r\n";
    let head = "POST /api/slow HTTP/1.1\r\nhost: api.test\r\nx-filler: ${repeat 4000 y}";
    let content = format!("{HEAD}{auth}content-length: 4000\r\n\r\n${{repeat 1000 y}}");
    let (head, content) = (caller.expand(site, head)?, caller.expand(site, &content)?);
    let mut slow = Vec::new();
    for number in 0..SLOW {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port()))?;
        match number % 10 {
            0 => stream.write_all(&content)?,
            1..=3 => stream.write_all(&head)?,
            _ => {}
        }
        slow.push(stream);
    }
    let held = || (active(&gateway)? >= SLOW as u64).then_some(());
    let taken = until(PATIENCE, held);
    taken.with_context(|| format!("the gateway holds {:?} of {SLOW} callers", active(&gateway)))?;
    let mut longest = Duration::ZERO;
    for turn in 0..NORMAL {
        let start = Instant::now();
        expect(&mut lines, &format!("turn {turn}"), 200, gateway.ask(&normal)?.status());
        longest = longest.max(start.elapsed());
    }
    let grown = memory(&gateway, "VmRSS")?.saturating_sub(before);
    let each = grown / SLOW as u64;
    expect(&mut lines, &format!("prompt: {longest:?}"), true, longest < PROMPT);
    expect(&mut lines, &format!("little memory: {each} bytes each"), true, each < COST);
    drop(slow);
    let gone = || (active(&gateway)? < 10).then_some(());
    expect(&mut lines, "all are gone", true, until(PATIENCE, gone).is_some());
    expect(&mut lines, "after", 200, gateway.ask(&normal)?.status());
    let forwarded = site.take_forwarded();
    expect(&mut lines, "forwarded", NORMAL + 2, forwarded.len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

fn active(gateway: &Gateway) -> Option<u64> {
    gateway.process.stat("http.ingress.downstream_cx_active")
}

/// Raises this process's soft limit, which the gateway inherits, where it is too low.
fn raise_descriptors() -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let mut words = line.context("no limit")?.split_whitespace().skip(3);
    let soft = words.next().and_then(|word| word.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let hard = words.next().unwrap_or("unlimited");
    if soft >= DESCRIPTORS {
        return Ok(());
    }
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={hard}:{hard}"));
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
    ensure!(status.success(), "{DESCRIPTORS} descriptors are needed: ulimit -n {DESCRIPTORS}");
    Ok(())
}
