//! Tokens that an endpoint is asked about, by several callers at once.

use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::client::{Client, Request, exchange};
use postern_rig::wait::until;
use serde_json::json;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};
use crate::scenario::TokenSeed;

const PATIENCE: Duration = Duration::from_secs(20);
const CALLERS: usize = 12;

/// A gateway whose endpoint takes its time, and a request with an opaque token.
fn stage(site: &Site, check: &str) -> Result<(Gateway, Request)> {
    let seed = TokenSeed { opaque: true, ..TokenSeed::default() };
    let caller = Caller::with_tokens(site, check, [("opaque".to_owned(), seed)].into())?;
    let mut scenario = caller.named.scenario.clone();
    let gate = json!({"authenticators": [{"introspected": {
        "issuer": "https://issuer.test",
        "audience": ["https://gateway.test"],
        "endpoint": {
            "cluster": "key_service", "authority": "issuer.test", "path": "/issuer/introspect/late",
        },
        "client": {"id": "gateway"},
    }}]});
    scenario.config.insert("gate".to_owned(), gate);
    let gateway = Gateway::start(site, Some(&scenario))?;
    let token = caller.token(site, "opaque").context("token")?;
    let value = [b"Bearer ", token.as_slice()].concat();
    Ok((gateway, Request::new("GET", "api.test", "/api/a").with("authorization", value)))
}

/// Callers with one token at one worker: the endpoint is asked once, and all are served.
pub fn asked_once(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let (gateway, request) = stage(site, "asked_once")?;
    let port = gateway.port();
    let statuses: Vec<Option<u16>> = std::thread::scope(|scope| {
        let ask = || exchange(port, &request, PATIENCE).ok().flatten().map(|a| a.status());
        let asking: Vec<_> = (0..CALLERS).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().ok().flatten()).collect()
    });
    let mut lines = Vec::new();
    let good = statuses.iter().filter(|status| **status == Some(200)).count();
    expect(&mut lines, "answers with 200", CALLERS, good);
    expect(&mut lines, "questions", 1, site.world.backend.introspection.take_asked());
    expect(&mut lines, "requests at the upstream", CALLERS, site.take_forwarded().len());
    site.wait_for_records(CALLERS)?;
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// The caller whose request has asked goes away: who waits is served all the same.
pub fn asker_gone(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let (gateway, request) = stage(site, "asker_gone")?;
    let introspection = &site.world.backend.introspection;
    let mut first = Client::connect(gateway.port(), PATIENCE)?;
    for piece in request.pieces() {
        first.send(&piece)?;
    }
    let mut questions = 0;
    let asked = until(PATIENCE, || {
        questions += introspection.take_asked();
        (questions > 0).then_some(())
    });
    let port = gateway.port();
    let status = std::thread::scope(|scope| -> Result<Option<u16>> {
        let other = scope.spawn(|| exchange(port, &request, PATIENCE).ok().flatten());
        // The second one is at the gateway before the first one goes.
        let _ = until(Duration::from_millis(100), || None::<()>);
        drop(first);
        Ok(other.join().ok().flatten().map(|answer| answer.status()))
    })?;
    let mut lines = Vec::new();
    expect(&mut lines, "the first one has asked", Some(()), asked);
    expect(&mut lines, "the one that waits", Some(200), status);
    questions += introspection.take_asked();
    expect(&mut lines, "questions", 2, questions);
    site.wait_for_records(2)?;
    site.take_forwarded();
    seen.keep(site, gateway)?;
    Ok(lines)
}
