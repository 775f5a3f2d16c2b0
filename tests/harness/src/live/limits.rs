//! Envoy's own rate limits by what the gate writes to filter state, as `envoy/ratelimit.yaml`
//! shows it.

use anyhow::{Context, Result};
use postern_rig::gateway::{Config, merge};
use serde_json::{Value, json};

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};
use crate::root;
use crate::scenario::{KeySeed, Seed};

/// Requests that one caller has in these tests.
const ITS: usize = 3;
/// Requests that the organisation of guests has.
const GUESTS: usize = 4;

/// Each caller has a bucket of its own over all workers, a group of callers one together, and
/// what the gate refuses takes nothing.
pub fn by_caller(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = Gateway::with(site, &limited(site)?)?;
    let of = |name: &str, organisation: &str| {
        let key = KeySeed { organisation: organisation.to_owned(), ..KeySeed::default() };
        let keys = [("alice".to_owned(), key)].into();
        Caller::with_seed(site, &format!("limits_{name}"), Seed { keys, ..Seed::default() })
    };
    let (one, other) = (of("one", "acme")?, of("other", "acme")?);
    let guests = [of("guest", "guests")?, of("visitor", "guests")?];
    let mut lines = Vec::new();
    let ask = |caller: &Caller, path: &str| -> Result<u16> {
        Ok(gateway.ask(&caller.request(site, "api.test", path, None))?.status())
    };
    // What the gate refuses comes to no bucket.
    for _ in 0..ITS {
        expect(&mut lines, "refused by the gate", 403, ask(&one, "/nowhere")?);
    }
    let statuses = |caller: &Caller, count: usize| -> Result<Vec<u16>> {
        (0..count).map(|_| ask(caller, "/api/things")).collect()
    };
    let full = |allowed: usize| -> Vec<u16> {
        (0..=allowed).map(|at| if at < allowed { 200 } else { 429 }).collect()
    };
    expect(&mut lines, "one caller", full(ITS), statuses(&one, ITS + 1)?);
    expect(&mut lines, "another caller", full(ITS), statuses(&other, ITS + 1)?);
    let [first, second] = &guests;
    expect(&mut lines, "a guest", vec![200; ITS], statuses(first, ITS)?);
    let rest = GUESTS - ITS;
    expect(&mut lines, "guests together", full(rest), statuses(second, rest + 1)?);
    site.wait_for_records(3 * ITS + 2 + GUESTS + 1)?;
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// The base's configuration with the example's filter behind the gate, and small buckets.
fn limited(site: &Site) -> Result<Config> {
    let mut example = Config::read(&root().join("envoy/ratelimit.yaml"))?;
    let example = example.document();
    let mut filter = json!({"name": example["name"], "typed_config": example["typed_config"]});
    let bucket = |tokens: usize| json!({"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "3600s"});
    for (index, tokens) in [ITS, GUESTS].into_iter().enumerate() {
        let at = format!("/typed_config/descriptors/{index}/token_bucket");
        let place = filter.pointer_mut(&at).context("a bucket of the example")?;
        merge(place, &bucket(tokens));
    }
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = hcm["http_filters"].as_array_mut().context("filters")?;
    let router = |filter: &Value| filter["name"] == "envoy.filters.http.router";
    let at = filters.iter().position(router).context("a router")?;
    filters.insert(at, filter);
    Ok(config)
}
