//! How long a revoked key goes on working: two gateways, callers that never stop.

use std::time::{Duration, Instant};

use anyhow::Result;
use postern_rig::wait::until;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};
use crate::run::now;

/// What is promised.
const WITHIN: Duration = Duration::from_secs(5);
/// Enough to meet every worker of a gateway.
const AFTERWARDS: usize = 20;
/// Heads come before the key is taken back.
const SETTLING: Duration = Duration::from_secs(4);

/// A key and an agent are taken back while both gateways answer from their caches.
pub fn within_five_seconds(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let config = site.config(None)?;
    let gateways = [Gateway::with(site, &config)?, Gateway::with(site, &config)?];
    let mut lines = Vec::new();
    for round in 0..3 {
        let caller = Caller::new(site, &format!("revoked_key_{round}"))?;
        let statuses = || -> Result<Vec<u16>> {
            let request = caller.request(site, "api.test", "/api/things", None);
            gateways.iter().map(|gateway| Ok(gateway.ask(&request)?.status())).collect()
        };
        let start = Instant::now();
        while start.elapsed() < SETTLING {
            pause();
            expect(&mut lines, "before", vec![200, 200], statuses()?);
        }
        let revoked = Instant::now();
        site.world.revoke(&caller.named, "alice", now())?;
        let mut last = [Duration::ZERO; 2];
        while revoked.elapsed() < WITHIN {
            pause();
            for (last, status) in last.iter_mut().zip(statuses()?) {
                if status == 200 {
                    *last = revoked.elapsed();
                }
            }
        }
        for _ in 0..AFTERWARDS {
            expect(&mut lines, "five seconds later", vec![401, 401], statuses()?);
        }
        println!("        last answer to a revoked key after {last:?}");
    }
    site.take_forwarded();
    let [first, second] = gateways;
    seen.keep(site, first)?;
    seen.keep(site, second)?;
    Ok(lines)
}

/// Between two requests, so that the collector keeps up.
fn pause() {
    let _ = until(Duration::from_millis(30), || None::<()>);
}
