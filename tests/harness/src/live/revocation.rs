//! How long what was revoked goes on working: two gateways, callers that never stop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postern_rig::gateway::Config;
use postern_rig::wait::until;
use serde_json::json;

use super::{Caller, Seen, expect};
use crate::capability::{self, AUDIENCE, Block, ISSUER, KEY_ID, Spec};
use crate::gateway::{Gateway, Site, request};
use crate::run::now;
use crate::scenario::{KeySeed, RequestSpec, Seed, TokenSeed};

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

/// What is taken back, what is refused then, and how.
struct Row {
    /// As [`crate::world::World::revoke`] has it.
    revoke: &'static str,
    request: RequestSpec,
    status: u16,
}

fn row(revoke: &'static str, status: u16, request: RequestSpec) -> Row {
    Row { revoke, request, status }
}

/// One of each kind that a gateway can see, those that end nobody else together.
fn rows() -> [Vec<Row>; 3] {
    let usual = RequestSpec::default;
    let key = |name: &str| RequestSpec { key: Some(name.to_owned()), ..usual() };
    let field = |name: &str, value: &str| vec![[(name.to_owned(), value.to_owned())].into()];
    let token = |name: &str| RequestSpec {
        fields: field("authorization", &format!("Bearer ${{token {name}}}")),
        ..usual()
    };
    let block = |cti| Block {
        cti: Some(cti),
        scopes: Some(["documents:read".to_owned()].into()),
        ..Block::default()
    };
    let chain = |first, second| RequestSpec {
        capability: Some(Spec {
            claims: block(first),
            further: vec![Block { sub: Some("helper".into()), ..block(second) }],
            ..Spec::default()
        }),
        ..usual()
    };
    let credential = RequestSpec { fields: field("x-tap-credential", "slack"), ..key("carol") };
    [
        vec![
            row("alice", 401, key("alice")),
            row("agent:condemned", 401, key("bob")),
            row("credential:slack", 403, credential),
            row("token:condemned-token", 401, token("one")),
            row("token:c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2", 401, chain(0xc1, 0xc2)),
            row("issuer-key:leaked", 401, token("leaked")),
        ],
        vec![
            row("user:live/each_kind", 401, key("carol")),
            row("issuer-key:issuer-1", 401, chain(0xc3, 0xc4)),
        ],
        vec![row("tenant:", 403, token("other"))],
    ]
}

/// A gate for callers of every kind.
fn config_for_all(site: &Site) -> Result<Config> {
    let mut config = site.config(None)?;
    config.module("gate", |gate| {
        let issuers = json!([{"kid": KEY_ID, "issuer": ISSUER, "key": capability::public(0)}]);
        let from =
            json!({"cluster": "key_service", "authority": "issuer.test", "path": "/issuer/keys"});
        gate["authenticators"] = json!([
            {"capability": {"audience": AUDIENCE, "issuers": issuers}},
            {"api_key": {"header": "x-tap-key", "prefixes": ["pk_"]}},
            {"jwt": {"issuer": ISSUER, "audience": [AUDIENCE], "jwks": {"from": from}}},
        ]);
    });
    Ok(config)
}

/// Their keys and tokens.
fn seed_for_all() -> Seed {
    let named = |key: &str, jti: &str| TokenSeed {
        key: Some(key.to_owned()),
        claims: json!({"jti": jti}),
        ..TokenSeed::default()
    };
    let condemned = KeySeed { agent: "condemned".to_owned(), ..KeySeed::default() };
    let keys = [("bob".to_owned(), condemned), ("carol".to_owned(), KeySeed::default())];
    let tokens = [
        ("one".to_owned(), named("k1", "condemned-token")),
        ("leaked".to_owned(), named("leaked", "a-token")),
        ("other".to_owned(), named("k1", "another-token")),
    ];
    Seed { keys: keys.into(), tokens: tokens.into(), ..Seed::default() }
}

/// Every kind that a gateway can see is taken back, and the gateway itself at last.
pub fn each_kind(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    // Nobody else wants such a world.
    let site = &Site::new(site.boundary, site.kind.clone())?;
    let config = config_for_all(site)?;
    let caller = Caller::with_seed(site, "each_kind", seed_for_all())?;
    site.world.backend.issuer.publish(vec!["leaked".to_owned(), "k1".to_owned()]);
    let gateways = [Gateway::with(site, &config)?, Gateway::with(site, &config)?];
    let mut lines = Vec::new();
    for rows in rows() {
        let before = |row: &Row| vec![(row.revoke, [200, 200])];
        for row in &rows {
            let settled = until(SETTLING, || {
                (statuses(site, &caller, &gateways, row).ok()? == [200, 200]).then_some(())
            });
            if settled.is_none() {
                let got = vec![(row.revoke, statuses(site, &caller, &gateways, row)?)];
                expect(&mut lines, "before", before(row), got);
            }
        }
        for row in &rows {
            site.world.revoke(&caller.named, row.revoke, now())?;
        }
        let revoked = Instant::now();
        for row in &rows {
            let refused = until(WITHIN, || {
                let got = statuses(site, &caller, &gateways, row).ok()?;
                (got == [row.status; 2]).then(|| revoked.elapsed())
            });
            let last = refused.filter(|after| *after <= WITHIN);
            println!("        {} refused everywhere after {last:?}", row.revoke);
            let got = statuses(site, &caller, &gateways, row)?;
            let want = (row.revoke, [row.status; 2], true);
            expect(&mut lines, "five seconds later", want, (row.revoke, got, last.is_some()));
        }
    }
    // Let in again, and then the gateway itself.
    site.world.restore("tenant", "", now())?;
    let [_, _, last] = rows();
    let row = last.first().context("a row")?;
    let again = until(WITHIN * 2, || {
        (statuses(site, &caller, &gateways, row).ok()? == [200, 200]).then_some(())
    });
    expect(&mut lines, "restored", true, again.is_some());
    site.world.revoke_gateway(now())?;
    let revoked = Instant::now();
    let refused = until(WITHIN, || {
        (statuses(site, &caller, &gateways, row).ok()? == [403, 403]).then(|| revoked.elapsed())
    });
    println!("        the gateway refuses everywhere after {refused:?}");
    expect(&mut lines, "gateway", true, refused.is_some_and(|after| after <= WITHIN));
    site.take_forwarded();
    let [first, second] = gateways;
    seen.keep(site, first)?;
    seen.keep(site, second)?;
    Ok(lines)
}

/// What both gateways answer now.
fn statuses(site: &Site, caller: &Caller, gateways: &[Gateway; 2], row: &Row) -> Result<[u16; 2]> {
    let names = site.world.names(&caller.named);
    let mut got = [0; 2];
    for (got, gateway) in got.iter_mut().zip(gateways) {
        let signed = capability::signed(&row.request, &names, now())?;
        *got = gateway.ask(&request(&signed, &names)?)?.status();
    }
    pause();
    Ok(got)
}

/// Between two requests, so that the collector keeps up.
fn pause() {
    let _ = until(Duration::from_millis(30), || None::<()>);
}
