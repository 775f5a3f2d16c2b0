//! Callers that go away, at each phase of a request.

use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::client::Client;
use postern_rig::upstream::{Answer, Instead};
use postern_rig::wait::until;
use serde_json::Value;

use super::{Caller, expect};
use crate::faults::{Exchange, Fault, Kind};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(10);

/// What a caller waits for before it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Its bytes are sent.
    Sent,
    /// The key service has been asked, and does not answer.
    Asked(Exchange),
    /// The upstream has the request, and does not answer.
    Forwarded,
    /// The first bytes of the answer are here, and no more come.
    Answering,
}

/// Name, bytes, when it goes, and decision and status of the record that it leaves.
type Row = (&'static str, &'static str, Until, Option<(&'static str, Option<u64>)>);

const GET: &str = "GET /api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n";
const POST: &str = "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 10\r\n\r\n";

const ROWS: &[Row] = &[
    ("says nothing", "", Until::Sent, None),
    ("half a request line", "GET /api", Until::Sent, Some(("none", None))),
    (
        "half a head",
        "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx-tap",
        Until::Sent,
        Some(("none", None)),
    ),
    ("a head whose content is outstanding", POST, Until::Sent, Some(("none", None))),
    (
        "half of the content",
        "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 10\r\n\r\nhello",
        Until::Sent,
        Some(("none", None)),
    ),
    (
        "in a chunk",
        "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\n5\r\nhe",
        Until::Sent,
        Some(("none", None)),
    ),
    ("while its key is looked up", GET, Until::Asked(Exchange::Directory), Some(("none", None))),
    ("while the value is asked for", GET, Until::Asked(Exchange::Release), Some(("allow", None))),
    ("while the upstream is waited for", GET, Until::Forwarded, Some(("allow", None))),
    ("while the answer streams", GET, Until::Answering, Some(("allow", Some(200)))),
];

/// Each row leaves the record that is wanted, and the next request is served.
pub fn at_each_phase(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    site.take_forwarded();
    site.world.take_records()?;
    for (number, row) in ROWS.iter().enumerate() {
        // A key of its own, which nobody has looked up before.
        let caller = Caller::new(site, &format!("gone_{number}"))?;
        let found = one(site, gateway, &caller, row).with_context(|| row.0)?;
        lines.extend(found.into_iter().map(|line| format!("{}: {line}", row.0)));
    }
    Ok(lines)
}

fn one(site: &Site, gateway: &Gateway, caller: &Caller, row: &Row) -> Result<Vec<String>> {
    let (_, bytes, when, record) = *row;
    site.world.backend.stand.take_asked();
    let forwarded = go_away(site, gateway, caller, bytes, when)?;
    let mut lines = Vec::new();
    // Whatever is forwarded later has been decided too, but here nothing is.
    let request = caller.request(site, "api.test", "/api/next", Some("slack"));
    expect(&mut lines, "the next request", 200, gateway.ask(&request)?.status());
    let rest = site.take_forwarded();
    let rest: Vec<String> = rest.iter().map(|request| request.word(1)).collect();
    expect(
        &mut lines,
        "forwarded",
        forwarded,
        when == Until::Forwarded || when == Until::Answering,
    );
    expect(&mut lines, "forwarded behind it", vec!["/api/next".to_owned()], rest);
    let want = record.iter().chain(&[("allow", Some(200))]);
    let want = want.map(|(decision, status)| format!("{decision} {}", Value::from(*status)));
    let want: Vec<String> = want.collect();
    let got = site.wait_for_records(want.len())?;
    expect(&mut lines, "records", want, got.iter().map(|record| said(record)).collect());
    Ok(lines)
}

/// Sends the bytes, waits for the moment and closes; whether an upstream got a request.
fn go_away(
    site: &Site,
    gateway: &Gateway,
    caller: &Caller,
    bytes: &str,
    when: Until,
) -> Result<bool> {
    let credential = if when == Until::Asked(Exchange::Release) { "maps" } else { "slack" };
    let auth = format!("x-tap-key: ${{key alice}}\r\nx-tap-credential: {credential}\r\n");
    let bytes = caller.expand(site, &bytes.replace("{}", &auth))?;
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello, here is some of it";
    let stalled = match when {
        Until::Forwarded => Some(Instead::Stall(Vec::new())),
        Until::Answering => Some(Instead::Stall(begun.to_vec())),
        Until::Sent | Until::Asked(_) => None,
    };
    let upstream = site.upstreams.get("api").context("no upstream")?;
    upstream.answer(Answer { instead: stalled, ..Answer::default() });
    let stand = &site.world.backend.stand;
    if let Until::Asked(exchange) = when {
        stand.set(Fault { is: Kind::Slow, to: vec![exchange], flaw: None });
    }
    let mut client = Client::connect(gateway.port(), PATIENCE)?;
    client.send(&bytes)?;
    let mut forwarded = false;
    match when {
        Until::Sent => {}
        Until::Asked(exchange) => {
            let asked = || stand.take_asked().contains(&exchange).then_some(());
            until(PATIENCE, asked).context("the key service was not asked")?;
        }
        Until::Forwarded | Until::Answering => {
            forwarded = upstream.wait_for(1, PATIENCE).len() == 1;
        }
    }
    if when == Until::Answering {
        client.wait()?;
    }
    drop(client);
    stand.set(Fault::default());
    upstream.answer(Answer::default());
    Ok(forwarded)
}

fn said(record: &[u8]) -> String {
    let record: Value = serde_json::from_slice(record).unwrap_or_default();
    format!("{} {}", record["decision"].as_str().unwrap_or_default(), record["status"])
}
