//! Approvals where many come at once.

use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::client::{Content, Request, exchange};
use postern_rig::gateway::Launch;
use postern_rig::message::Message;
use serde_json::{Value, json};

use super::{Caller, Seen, code, expect};
use crate::gateway::{Gateway, Site};
use crate::run::now;

const PATIENCE: Duration = Duration::from_secs(20);
const AT_ONCE: usize = 100;
/// Callers; each asks for the next as soon as it has an answer.
const CALLERS: usize = 10;

/// A hundred requests ask for one approval, and a hundred use it, on two workers, many at once.
pub fn at_once(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.module("gate", |gate| gate["approvals"] = json!({}));
    let launch = Launch { workers: 2, ..site.launch() };
    let gateway = Gateway::launched(site, &launch, &config)?;
    let caller = Caller::new(site, "approvals_at_once")?;
    let write = |approval: &str| {
        let path = "/api/things";
        let mut request = caller.request(site, "api.test", path, Some("slack"));
        request.method = "POST".to_owned();
        request.content = Content::Sized(b"a write".to_vec());
        request.with("postern-approval", approval)
    };
    let mut lines = Vec::new();
    let port = gateway.port();
    let asked = together(port, &write("new"));
    let ids: Vec<String> = asked.iter().filter_map(id).collect();
    let first = ids.first().context("no approval")?;
    expect(&mut lines, "one approval for all", true, ids.iter().all(|id| id == first));
    site.world.approve(first, now())?;
    let went = together(port, &write(first));
    let with = |status| went.iter().filter(|one| one.status() == status).count();
    // On a machine that is busy with other things, answers come too late for some, or for all:
    // an approval that was used for one of these is used.
    if with(503) == 0 {
        expect(&mut lines, "requests that went on", 1, with(200));
    }
    expect(&mut lines, "answers", AT_ONCE, with(200) + with(409) + with(503));
    let used = |one: &&Message| one.status() == 409 && code(one) != "approval_used";
    expect(&mut lines, "409 for another reason", 0, went.iter().filter(used).count());
    println!(
        "        {} asked, {} refused, {} had to wait too long",
        ids.len(),
        with(409),
        with(503)
    );
    site.wait_for_records(2 * AT_ONCE)?;
    expect(&mut lines, "requests at the upstream", with(200), site.take_forwarded().len());
    expect(&mut lines, "one at most", true, with(200) <= 1);
    seen.keep(site, gateway)?;
    Ok(lines)
}

fn together(port: u16, request: &Request) -> Vec<Message> {
    std::thread::scope(|scope| {
        let ask = move |_| exchange(port, request, PATIENCE).ok().flatten();
        let caller = move || (0..AT_ONCE / CALLERS).filter_map(ask).collect::<Vec<_>>();
        let asking: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        asking.into_iter().filter_map(|one| one.join().ok()).flatten().collect()
    })
}

fn id(answer: &Message) -> Option<String> {
    let problem: Value = serde_json::from_slice(&answer.content).ok()?;
    problem["approval"].as_str().map(str::to_owned)
}
