//! Many callers at once.

use std::time::Duration;

use anyhow::Result;
use postern_rig::client::exchange;
use postern_rig::gateway::Launch;
use serde_json::{Value, json};

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const CALLERS: usize = 8;
const EACH: usize = 12;
const PATIENCE: Duration = Duration::from_secs(20);

/// Two workers, eight callers: every answer is right and every request has its record.
pub fn many_at_once(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let config = site.config(None)?;
    let launch = Launch { workers: 2, ..site.launch() };
    let gateway = Gateway::launched(site, &launch, &config)?;
    let caller = Caller::new(site, "many")?;
    let request = caller.request(site, "api.test", "/api/a", Some("slack"));
    site.world.take_records()?;
    let port = gateway.port();
    let statuses: Vec<Option<u16>> = std::thread::scope(|scope| {
        let ask = || exchange(port, &request, PATIENCE).ok().flatten().map(|a| a.status());
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(move || (0..EACH).map(|_| ask()).collect::<Vec<_>>()))
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap_or_default()).collect()
    });
    let mut lines = Vec::new();
    let total = CALLERS * EACH;
    expect(
        &mut lines,
        "answers with 200",
        total,
        statuses.iter().filter(|s| **s == Some(200)).count(),
    );
    let want = format!("Bearer {}", caller.secret(site, "slack"));
    let forwarded = site.take_forwarded();
    let right = forwarded.iter().filter(|r| r.text("authorization").as_ref() == Some(&want));
    expect(&mut lines, "requests with the credential", total, right.count());
    let records = site.wait_for_records(total)?;
    let allowed = records.iter().filter_map(|record| serde_json::from_slice::<Value>(record).ok());
    let allowed = allowed.filter(|record| record["decision"] == "allow");
    expect(&mut lines, "records", total, allowed.count());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// Two workers, eight callers, and a budget of a third of their requests: exactly so many pass.
pub fn within_a_budget(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let total = CALLERS * EACH;
    let tokens = total / 3;
    let mut config = site.config(None)?;
    config.module("gate", |gate| {
        gate["budgets"] =
            json!([{"name": "live", "by": "agent", "tokens": tokens, "every": "24h"}]);
    });
    let launch = Launch { workers: 2, ..site.launch() };
    let gateway = Gateway::launched(site, &launch, &config)?;
    let caller = Caller::new(site, "budget")?;
    let request = caller.request(site, "api.test", "/api/a", None);
    site.world.take_records()?;
    let port = gateway.port();
    let statuses: Vec<Option<u16>> = std::thread::scope(|scope| {
        let ask = || exchange(port, &request, PATIENCE).ok().flatten().map(|a| a.status());
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(move || (0..EACH).map(|_| ask()).collect::<Vec<_>>()))
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap_or_default()).collect()
    });
    let mut lines = Vec::new();
    let with = |status| statuses.iter().filter(|one| **one == Some(status)).count();
    expect(&mut lines, "answers with 200", tokens, with(200));
    expect(&mut lines, "answers with 429", total - tokens, with(429));
    expect(&mut lines, "requests at the upstream", tokens, site.take_forwarded().len());
    let records = site.wait_for_records(total)?;
    let refused = records.iter().filter_map(|record| serde_json::from_slice::<Value>(record).ok());
    let refused = refused.filter(|record| record["reason"] == "budget_agent");
    expect(&mut lines, "records of refusals", total - tokens, refused.count());
    seen.keep(site, gateway)?;
    Ok(lines)
}
