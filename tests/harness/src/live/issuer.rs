//! The keys of an issuer where there are several workers, and signatures where the proxy does not
//! verify them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_rig::client::{Request, exchange};
use postern_rig::gateway::Launch;
use postern_rig::wait::until;
use serde_json::json;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site, plugins};
use crate::root;
use crate::run::judged;
use crate::scenario::{TokenSeed, load};

const PATIENCE: Duration = Duration::from_secs(20);
/// A source of its own: shared data of a process outlives a configuration.
const PATH: &str = "/issuer/keys?of=fetched_once";
/// Enough to meet every worker of a gateway.
const CALLERS: usize = 16;
/// Every worker has ticked since, twice.
const SETTLED: Duration = Duration::from_millis(2200);
/// Unknown ids, of which each would cause a fetch on each worker.
const ROUNDS: usize = 4;
/// Fetches that unknown ids may cause in a minute.
const MOST_WANTED: usize = 4;

/// Two workers fetch a set once, again for a key that is new, and whatever ids callers make up,
/// together no more often than one worker may.
pub fn fetched_once(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let by = |key: &str| TokenSeed { key: Some(key.to_owned()), ..TokenSeed::default() };
    let mut tokens = vec![("good".to_owned(), by("k1")), ("new".to_owned(), by("k2"))];
    tokens.extend((0..ROUNDS).map(|round| (format!("unknown {round}"), by(&format!("no{round}")))));
    let caller = Caller::with_tokens(site, "fetched_once", tokens.into_iter().collect())?;
    let mut scenario = caller.named.scenario.clone();
    let from = json!({"cluster": "key_service", "authority": "issuer.test", "path": PATH});
    let gate = json!({"authenticators": [{"jwt": {
        "issuer": "https://issuer.test", "audience": ["https://gateway.test"],
        "jwks": {"from": from},
    }}]});
    scenario.config.insert("gate".to_owned(), gate);
    let issuer = &site.world.backend.issuer;
    issuer.publish(vec!["k1".to_owned()]);
    let launch = Launch { workers: 2, ..site.launch() };
    let gateway = Gateway::launched(site, &launch, &site.config(Some(&scenario))?)?;
    let mut lines = Vec::new();
    let mut check = |token: &str, status: u16| -> Result<()> {
        let value = caller.token(site, token).context("token")?;
        expect(&mut lines, token, vec![Some(status); CALLERS], statuses(&gateway, &value));
        Ok(())
    };
    check("good", 200)?;
    settle();
    let first = issuer.asked(PATH);
    issuer.publish(vec!["k1".to_owned(), "k2".to_owned()]);
    check("new", 200)?;
    for round in 0..ROUNDS {
        check(&format!("unknown {round}"), 401)?;
    }
    settle();
    let last = issuer.asked(PATH);
    println!("        fetches: {first} at first, {last} in all");
    expect(&mut lines, "fetches before anybody needs another key", 1, first);
    expect(&mut lines, "fetches of all workers", 1 + MOST_WANTED, last);
    issuer.publish(crate::world::first_keys());
    site.take_forwarded();
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// What many callers at once are answered, each on a connection of its own.
fn statuses(gateway: &Gateway, token: &[u8]) -> Vec<Option<u16>> {
    let value = [b"Bearer ", token].concat();
    let request = Request::new("GET", "api.test", "/api/a").with("authorization", value);
    let port = gateway.port();
    std::thread::scope(|scope| {
        let ask = || exchange(port, &request, PATIENCE).ok().flatten().map(|a| a.status());
        let asking: Vec<_> = (0..CALLERS).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().ok().flatten()).collect()
    })
}

/// Nobody waits for a fetch any more.
fn settle() {
    let _ = until(SETTLED, || None::<()>);
}

/// Scenarios with signatures that the proxy can verify, good and bad.
const SIGNED: [&str; 2] = ["identity/jwt_signatures", "identity/dpop_good"];
/// The proxy's function, and a name as long that no proxy has.
const FUNCTION: (&[u8], &[u8]) = (b"verify_signature", b"verify_nothing__");

/// A proxy that does not have `verify_signature`: the same scenarios, the same answers.
pub fn without_the_proxy(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = site.world.folder.path().join("gate-without.wasm");
    postern_files::write_atomic(&module, &without(&std::fs::read(plugins().join("gate.wasm"))?)?)?;
    let scenarios = load(&root().join("tests/scenarios"))?;
    let scenarios: Vec<_> =
        scenarios.iter().filter(|one| SIGNED.contains(&one.name.as_str())).collect();
    let mut lines = Vec::new();
    expect(&mut lines, "scenarios", SIGNED.len(), scenarios.len());
    for named in scenarios {
        let mut config = site.config(Some(&named.scenario))?;
        config.plugin("gate", |plugin| {
            let file = &mut plugin["vm_config"]["code"]["local"]["filename"];
            *file = module.display().to_string().into();
        });
        let gateway = Gateway::fresh(site, &config)?;
        let observations = gateway.run(site, named)?;
        let found = judged(&site.world, named, &observations, false)?;
        lines.extend(found.into_iter().map(|line| format!("{}: {line}", named.name)));
        seen.keep(site, gateway)?;
    }
    Ok(lines)
}

/// The module, asking for a function that is not there.
fn without(module: &[u8]) -> Result<Vec<u8>> {
    let (name, other) = FUNCTION;
    let places: Vec<usize> =
        (0..module.len()).filter(|at| module[*at..].starts_with(name)).collect();
    let [at] = places[..] else { anyhow::bail!("{} names of the function", places.len()) };
    ensure!(name.len() == other.len(), "names of two lengths");
    Ok([&module[..at], other, &module[at + other.len()..]].concat())
}
