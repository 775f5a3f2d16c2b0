//! Whether a request may leave for where it goes, before anything of it does.
//!
//! Invariant: where the gate cannot tell the region, or not every upstream that the request
//! may end at is in one that is allowed, residency refuses.

use crate::config::gate::Config;
use crate::denial::{Denial, RegionReason};
use crate::gate::outcome::Request;
use crate::upstreams::Upstream;

/// Upstreams that the request may end at: the one behind its cluster, or, where a rewrite by
/// the gate has the route chosen anew, every one of the authority that it was rewritten to.
fn upstreams<'a>(
    config: &'a Config,
    request: &'a Request,
) -> Box<dyn Iterator<Item = &'a Upstream> + 'a> {
    match (&request.target, &request.cluster) {
        (Some(target), _) => {
            let all = config.upstreams.iter().map(|(_, upstream)| upstream);
            Box::new(all.filter(|upstream| upstream.authority == target.authority))
        }
        (None, Some(cluster)) => Box::new(config.upstreams.find(cluster).into_iter()),
        (None, None) => Box::new(std::iter::empty()),
    }
}

/// The region that the request leaves for, where there is only one that it can be.
pub(super) fn region<'a>(config: &'a Config, request: &'a Request) -> Option<&'a str> {
    let mut regions = upstreams(config, request).map(|upstream| upstream.region.as_deref());
    let first = regions.next()??;
    regions.all(|region| region == Some(first)).then_some(first)
}

/// Refuses what would leave for a region that is not allowed.
pub(super) fn check(config: &Config, request: &Request) -> Result<(), Denial> {
    let Some(residency) = &config.residency else { return Ok(()) };
    let mut known = false;
    for upstream in upstreams(config, request) {
        known = true;
        residency.check(upstream.region.as_deref()).map_err(Denial::RegionDenied)?;
    }
    if known { Ok(()) } else { Err(Denial::RegionDenied(RegionReason::Unknown)) }
}
