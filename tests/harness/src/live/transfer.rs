//! Many requests on one connection, and content that is larger than what is kept of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_rig::client::{Client, Content, Request};
use postern_rig::upstream::Answer;
use postern_rig::wait::until;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(30);
/// Requests on one connection, one after another.
const MANY: usize = 200;
/// Far more than sockets and buffers hold.
const PIECES: usize = 384;
const PIECE: usize = 64 * 1024;
/// What a gateway may need for it: the buffers of both connections, and the pool of both.
const MEMORY: u64 = 8 << 20;

/// Pipelined, one after another, and with content that waits for `100 Continue`: answers
/// come in order, each with its record.
pub fn one_connection(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let caller = Caller::new(site, "one_connection")?;
    let request = |path: &str| caller.request(site, "api.test", path, Some("slack"));
    let mut lines = Vec::new();
    site.world.take_records()?;
    let mut client = Client::connect(gateway.port(), PATIENCE)?;
    let at_once = [
        (request("/api/1"), 200),
        (Request::new("GET", "api.test", "/api/2"), 401),
        (Request { method: "HEAD".into(), ..request("/api/3") }, 200),
        (Request { method: "POST".into(), ..request("/api/4") }.sized("a=b"), 200),
        (caller.request(site, "nowhere.test", "/api/5", None), 404),
        (request("/api/6"), 200),
    ];
    client.send(&at_once.iter().flat_map(|(r, _)| r.pieces().concat()).collect::<Vec<_>>())?;
    for (request, status) in &at_once {
        let answer = client.answer(request.method == "HEAD")?.context("no answer")?;
        let target = String::from_utf8_lossy(&request.target).into_owned();
        expect(&mut lines, &target, *status, answer.status());
    }
    let paths: Vec<String> = site.take_forwarded().iter().map(|r| r.word(1)).collect();
    expect(&mut lines, "forwarded", vec!["/api/1", "/api/3", "/api/4", "/api/6"], {
        paths.iter().map(String::as_str).collect()
    });
    for turn in 0..MANY {
        client.send(&request("/api/kept").pieces().concat())?;
        let answer = client.answer(false)?.with_context(|| format!("turn {turn}"))?;
        expect(&mut lines, &format!("turn {turn}"), 200, answer.status());
    }
    expect(&mut lines, "forwarded one by one", MANY, site.take_forwarded().len());
    let waits = Request { method: "POST".into(), ..request("/api/waits") };
    let pieces = waits.with("expect", "100-continue").with("content-length", "3").pieces();
    client.send(&pieces.concat())?;
    let interim = client.next_answer()?.context("no interim answer")?;
    expect(&mut lines, "the interim answer", 100, interim.status());
    client.send(b"a=b")?;
    expect(&mut lines, "after it", Some(200), client.answer(false)?.map(|answer| answer.status()));
    let content = site.take_forwarded().first().map(|request| request.content.clone());
    expect(&mut lines, "its content", Some(b"a=b".to_vec()), content);
    let records = at_once.len() + MANY + 1;
    expect(&mut lines, "records", records, site.wait_for_records(records)?.len());
    Ok(lines)
}

/// Both ways, with a credential: what does not fit into the buffers waits with its sender.
pub fn large(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.module("gate", |document| document["body"] = "stream".into());
    let gateway = Gateway::fresh(site, &config)?;
    let caller = Caller::new(site, "large")?;
    let request = caller.request(site, "api.test", "/api/large", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "small", 200, gateway.ask(&request)?.status());
    site.take_forwarded();
    let before = memory(&gateway, "VmRSS")?;
    let piece = vec![b'y'; PIECE];
    let api = site.upstreams.get("api").context("no upstream")?;

    let chunks = vec![piece.clone(); PIECES];
    api.answer(Answer { chunks, ..Answer::default() });
    let mut client = Client::connect(gateway.port(), PATIENCE)?;
    client.send(&request.pieces().concat())?;
    client.wait()?;
    // A reader that takes nothing for a while.
    let _ = until(Duration::from_millis(500), || None::<()>);
    let answer = client.answer(false)?.context("no answer")?;
    let whole = (answer.status(), answer.complete, answer.content.len());
    expect(&mut lines, "a large answer", (200, true, PIECES * PIECE), whole);
    api.answer(Answer::default());
    site.take_forwarded();

    let content = Content::Chunked(vec![piece; PIECES], Vec::new());
    let upload = Request { method: "POST".into(), content, ..request };
    expect(&mut lines, "a large upload", 200, gateway.ask(&upload)?.status());
    let sizes: Vec<usize> = site.take_forwarded().iter().map(|r| r.content.len()).collect();
    expect(&mut lines, "its content", vec![PIECES * PIECE], sizes);

    let grown = memory(&gateway, "VmHWM")?.saturating_sub(before);
    if grown > MEMORY {
        lines.push(format!("the gateway has grown by {grown} bytes, more than {MEMORY}"));
    }
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// What the system says of the memory of the process, in bytes (proc(5)).
pub fn memory(gateway: &Gateway, what: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such line")?;
    let bytes = kib.trim().parse::<u64>()?.saturating_mul(1024);
    ensure!(bytes > 0, "{what} is 0");
    Ok(bytes)
}
