//! Callers that are slow on purpose, each kind ended by one of the file's timers.
//!
//! Content counts as progress for the timer of silence, and nothing else does; the other timers
//! run whatever comes.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postern_rig::client::{Client, Request};
use postern_rig::upstream::Answer;
use postern_rig::wait::until;
use serde_json::json;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(10);
/// Between two steps of a slow caller; shorter than every timer.
const STEP: Duration = Duration::from_millis(100);
/// What a busy machine may add to a timer.
const SLACK: Duration = Duration::from_secs(3);

const HEADERS: Duration = Duration::from_millis(1000);
const REQUEST: Duration = Duration::from_millis(3000);
const IDLE: Duration = Duration::from_millis(1500);

/// Name, what is sent at once, whether bytes follow one by one, the timer that ends it.
type Row = (&'static str, &'static str, bool, Duration);

const ROWS: &[Row] = &[
    ("a head byte by byte", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx-slow: ", true, HEADERS),
    ("a request line that stops", "GET /api", false, HEADERS),
    (
        "content byte by byte",
        "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 1000\r\n\r\n",
        true,
        REQUEST,
    ),
    (
        "chunks byte by byte",
        "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\nfff\r\n",
        true,
        REQUEST,
    ),
    (
        "content that stops",
        "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 1000\r\n\r\nabc",
        false,
        IDLE,
    ),
    (
        "an extension byte by byte",
        "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\n1;",
        true,
        IDLE,
    ),
];

/// Each slow caller gets 408 when its timer has run, no sooner and not much later, and
/// nothing of it reaches an upstream.
pub fn ended_by_timers(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = impatient(site)?;
    let caller = Caller::new(site, "slow")?;
    let request = caller.request(site, "api.test", "/api/slow", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "before", 200, gateway.ask(&request)?.status());
    site.take_forwarded();
    let auth = "x-tap-key: ${key alice}\r\nx-tap-credential: slack\r\n";
    for (name, bytes, steps, timer) in ROWS {
        let bytes = caller.expand(site, &bytes.replace("{}", auth))?;
        let (status, took) = one(&gateway, &bytes, *steps).with_context(|| *name)?;
        expect(&mut lines, name, Some(408), status);
        let in_time = (*timer..*timer + SLACK).contains(&(took + STEP));
        expect(&mut lines, &format!("{name}: {took:?} of {timer:?}"), true, in_time);
        expect(&mut lines, &format!("{name}: forwarded"), 0, site.take_forwarded().len());
    }
    reader(site, &gateway, &request, &mut lines)?;
    expect(&mut lines, "after", 200, gateway.ask(&request)?.status());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// The shipped file with short timers.
fn impatient(site: &Site) -> Result<Gateway> {
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    let text = |time: Duration| json!(format!("{}s", time.as_secs_f64()));
    hcm["request_headers_timeout"] = text(HEADERS);
    hcm["request_timeout"] = text(REQUEST);
    hcm["stream_idle_timeout"] = text(IDLE);
    Gateway::with(site, &config)
}

/// Sends, and steps until an answer comes; its status and when it came.
fn one(gateway: &Gateway, bytes: &[u8], steps: bool) -> Result<(Option<u16>, Duration)> {
    let mut client = Client::connect(gateway.port(), if steps { STEP } else { PATIENCE })?;
    client.send(bytes)?;
    let start = Instant::now();
    while steps && start.elapsed() < PATIENCE {
        // An answer ends the waiting, and so does a close.
        match client.wait() {
            Ok(_) => break,
            Err(_) => client.send(b"a").unwrap_or(()),
        }
    }
    let took = start.elapsed();
    let answer = client.answer(false)?;
    let took = if steps { took } else { start.elapsed() };
    Ok((answer.map(|answer| answer.status()), took))
}

/// An answer that is far larger than sockets hold, read byte by byte: the stream ends when
/// nothing has moved for long enough, and leaves its record.
fn reader(
    site: &Site,
    gateway: &Gateway,
    request: &Request,
    lines: &mut Vec<String>,
) -> Result<()> {
    let api = site.upstreams.get("api").context("no upstream")?;
    api.answer(Answer { chunks: vec![vec![b'y'; 64 * 1024]; 512], ..Answer::default() });
    site.world.take_records()?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut client = Client::over(stream.try_clone()?);
    client.send(&request.pieces().concat())?;
    let start = Instant::now();
    let mut records = 0;
    while records == 0 && start.elapsed() < PATIENCE {
        let _ = stream.read(&mut [0])?;
        let _ = until(STEP, || None::<()>);
        records = site.world.take_records()?.len();
    }
    let took = start.elapsed();
    expect(lines, &format!("an answer read byte by byte: a record after {took:?}"), 1, records);
    let active =
        || (gateway.process.stat("http.ingress.downstream_cx_active") == Some(0)).then_some(());
    let closed = until(IDLE + SLACK, active).is_some();
    expect(lines, "its connection is closed", true, closed);
    api.answer(Answer::default());
    site.take_forwarded();
    Ok(())
}
