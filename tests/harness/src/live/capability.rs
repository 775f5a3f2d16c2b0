//! Capability tokens where one process is not enough: two workers, and a client of other
//! libraries.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_rig::client::exchange;
use postern_rig::gateway::Launch;
use serde_json::{Value, json};

use super::{Caller, Seen, expect};
use crate::capability::{self, AUDIENCE, Block, ISSUER, KEY_ID, Spec};
use crate::gateway::{Gateway, Site, request};
use crate::root;
use crate::run::now;
use crate::scenario::RequestSpec;

const PATIENCE: Duration = Duration::from_secs(20);
const TIMES: usize = 24;

/// The gate believes the issuer of scenarios.
fn gateway(site: &Site) -> Result<Gateway> {
    let mut config = site.config(None)?;
    let key = capability::public(0);
    let issuers = json!([{"kid": KEY_ID, "issuer": ISSUER, "key": key}]);
    config.module("gate", |gate| {
        gate["authenticators"] =
            json!([{"capability": {"audience": AUDIENCE, "issuers": issuers}}]);
    });
    Gateway::launched(site, &Launch { workers: 2, ..site.launch() }, &config)
}

/// The same request on many connections at once: one of them is answered by the upstream.
pub fn replayed(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = gateway(site)?;
    let caller = Caller::new(site, "replayed")?;
    let scopes = ["documents:read".to_owned()];
    let claims = Block { scopes: Some(scopes.into()), ..Block::default() };
    let spec = Spec { claims, ..Spec::default() };
    let spec = RequestSpec { capability: Some(spec), ..RequestSpec::default() };
    let names = site.world.names(&caller.named);
    let mut lines = Vec::new();
    for round in 0..4 {
        let request = request(&capability::signed(&spec, &names, now())?, &names)?;
        site.world.take_records()?;
        let port = gateway.port();
        let statuses: Vec<Option<u16>> = std::thread::scope(|scope| {
            let ask = || exchange(port, &request, PATIENCE).ok().flatten().map(|a| a.status());
            let asking: Vec<_> = (0..TIMES).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|one| one.join().ok().flatten()).collect()
        });
        let with = |status| statuses.iter().filter(|one| **one == Some(status)).count();
        expect(&mut lines, &format!("round {round}: answers with 200"), 1, with(200));
        expect(&mut lines, &format!("round {round}: answers with 401"), TIMES - 1, with(401));
        expect(&mut lines, "requests at the upstream", 1, site.take_forwarded().len());
        let records = site.wait_for_records(TIMES)?;
        let records = records.iter().filter_map(|one| serde_json::from_slice::<Value>(one).ok());
        let replayed = records.filter(|record| record["reason"] == "replayed").count();
        expect(&mut lines, "records of replays", TIMES - 1, replayed);
    }
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A client that knows the specification and none of our code.
pub fn python(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = gateway(site)?;
    let python = root().join("target/tools/python/bin/python");
    ensure!(python.exists(), "no libraries for the client: run `cargo xtask test --only identity`");
    let seed: String = capability::key(0).to_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let mut command = Command::new(python);
    command.arg(root().join("tests/clients/python/capability.py"));
    command.args(["--gateway", &gateway.port().to_string(), "api.test", &seed]);
    let done = command.output().context("the client")?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let good = done.status.success() && text.contains("3 passed, 0 failed");
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    site.take_forwarded();
    site.world.take_records()?;
    seen.keep(site, gateway)?;
    Ok(if good { Vec::new() } else { vec![text, told] })
}
