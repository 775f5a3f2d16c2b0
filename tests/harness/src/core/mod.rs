//! The core boundary: both pipelines and the ledger in this process, in virtual time.
//!
//! This plays the proxy: it routes by authority, rewrites the authority as the routes of
//! the base do, holds content and performs effects literally. It uses the parsers, the key
//! service and the protocol client that the modules use.

mod exchange;
mod host;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_core::commons::{Commons, Found, Seal};
use postern_core::config;
use postern_core::key_service::Background;
use postern_core::ledger::{Ledger, Logged, Output};
use postern_core::mac::MacKeys;
use postern_core::nonces::{MEMORY, Met, Nonces, Table};
use postern_core::receipt::{Sequence, SharedData};
use postern_core::revocation::Feed;
use postern_core::tally::{self, Change, Tallies, Updated};
use postern_core::time::UnixMillis;
use postern_core::{credential, gate, keyring, record};
use postern_crp::Role;
use postern_crp::client::{Client, Settings};
use postern_crp::evidence::Trust;
use serde_json::Value;

use crate::certificates::Connection;
use crate::faults::Fault;
use crate::observation::{Observation, comparable};
use crate::scenario::{Named, duration};
use crate::signature::settle;
use crate::world::{OFTEN, Said, World};

/// Longer than the ledger waits between two attempts after a single fault.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often modules are told the time.
const TICK: Duration = Duration::from_secs(1);

/// The modules of one scenario.
pub struct Modules {
    world: Rc<World>,
    gate: Rc<gate::Pipeline>,
    background: Vec<Rc<dyn Background>>,
    credential: Rc<credential::Pipeline>,
    ledger: Ledger,
    shared: Shared,
    shared_keys: postern_core::mac::MacKeys,
    sequence: Sequence,
    feeds: Vec<Rc<dyn Feed>>,
    now: Rc<Cell<UnixMillis>>,
}

/// Runs one scenario; one observation a step.
pub fn run(
    world: &Rc<World>,
    named: &Named,
    shipped: &dyn Fn(&str) -> Value,
    start: UnixMillis,
) -> Result<(Vec<Observation>, UnixMillis)> {
    // At the beginning of a second, so that tokens of two steps in a row are the same.
    let now = Rc::new(Cell::new(UnixMillis(start.0.div_ceil(1000).saturating_mul(1000))));
    world.seed(named, start)?;
    world.backend.issuer.publish(crate::world::first_keys());
    world.backend.policies.publish(&named.name, named.scenario.bundle_at_start());
    world.backend.stand.set(named.scenario.at_start());
    let mut modules = Modules::new(world, named, shipped, Rc::clone(&now))?;
    let mut observations = Vec::new();
    for (index, step) in named.scenario.steps.iter().enumerate() {
        let step_name = || format!("{} step {}", named.name, index + 1);
        if let Some(key) = &step.revoke {
            world.revoke(named, key, now.get())?;
        }
        if let Some(sets) = &step.authorised {
            world.authorise(named, sets, now.get())?;
        }
        if let Some(ruling) = &step.decide {
            world.decide(ruling, now.get())?;
        }
        if let Some(said) = step.bundle {
            modules.polled(&named.name, said)?;
        }
        if let Some(feed) = step.feed {
            world.backend.stand.set_feed(feed);
        }
        if let Some(span) = &step.advance {
            modules.pass(duration(span)?);
        }
        observations.push(modules.step(named, index).with_context(step_name)?);
    }
    Ok((observations, now.get()))
}

/// What the gate's authenticators have of this boundary.
fn services(
    keys: &Rc<Client>,
    [shared, commons]: [MacKeys; 2],
    environment: BTreeMap<String, String>,
) -> postern_identity::Services {
    postern_identity::Services {
        directory: Rc::clone(keys) as _,
        exchanges: Rc::clone(keys) as _,
        nonces: Rc::new(Nonced {
            table: RefCell::new(Table::new(shared, MEMORY)),
            shared: RefCell::default(),
        }),
        commons: Rc::new(InCommon { seal: Seal::new(commons), shared: RefCell::default() }),
        signatures: Rc::new(postern_jose::Pure),
        variable: Rc::new(move |name| environment.get(name).cloned()),
    }
}

impl Modules {
    fn new(
        world: &Rc<World>,
        named: &Named,
        shipped: &dyn Fn(&str) -> Value,
        now: Rc<Cell<UnixMillis>>,
    ) -> Result<Self> {
        let document = |module: &str| {
            let overlay = named.scenario.config.get(module);
            world.module(module, shipped(module), overlay).to_string().into_bytes()
        };
        let gate = config::gate::Config::parse(&document("gate"))?;
        let credential = config::credential::Config::parse(&document("credential"))?;
        let audit = config::audit::Config::parse(&document("audit"))?;
        let environment: BTreeMap<_, _> = world.environment.iter().cloned().collect();
        let variable = |name: &str| environment.get(name).map(String::as_str);
        let client =
            |role: Role, service: &config::key_service::KeyService| -> Result<Rc<Client>> {
                let name = format!("POSTERN_{}_KEY", role.name().to_uppercase());
                Ok(Rc::new(Client::new(Settings {
                    gateway_id: service.gateway_id,
                    tenant: gate.tenant.clone(),
                    role,
                    seed: keyring::identity_seed(variable(&name))?,
                    trust: Trust::of(&service.evidence)?,
                    service: [0; 32],
                    revocation: service.revocation,
                    cache_ttl: credential.cache_ttl,
                    cache_entries: credential.cache_entries,
                    modules: credential.modules,
                })?))
            };
        let keys = client(Role::Gate, &gate.key_service)?;
        let shared = || keyring::shared_keys(variable("POSTERN_SHARED_KEY"));
        let tallies: Rc<dyn Tallies> = Rc::new(Tallied {
            table: RefCell::new(tally::Table::new(shared()?)),
            shared: RefCell::default(),
        });
        let commons = keyring::commons_keys(variable("POSTERN_GATE_KEY"))?;
        let services = services(&keys, [shared()?, commons], environment.clone());
        let callers = postern_identity::assemble(&gate, &services)?;
        let authenticators = callers.authenticators;
        let releases = client(Role::Credential, &credential.key_service)?;
        let collector = client(Role::Audit, &audit.key_service)?;
        let policy = postern_rego::of_gate(&gate)?;
        let background = callers.background.into_iter().chain(policy.background).collect();
        let policy = policy.policies;
        let permit = || keyring::permit_keys(variable("POSTERN_PERMIT_KEY"));
        let detector = Rc::new(postern_scrub::MarkerDetector);
        let scrubbing = || Rc::new(postern_scrub::PatternScrubbing::default());
        let feeds: Vec<Rc<dyn Feed>> = vec![Rc::clone(&keys) as _, Rc::clone(&releases) as _];
        let mut modules = Self {
            world: Rc::clone(world),
            ledger: Ledger::new(audit, shared()?, collector, random16(), random16(), now.get()),
            gate: gate::Pipeline::new(
                gate::Loaded {
                    config: gate,
                    policy,
                    tallies: Some(tallies),
                    invites: callers.invites,
                    approvals: Some(Rc::clone(&keys) as _),
                },
                permit()?,
                authenticators,
                keys,
                detector,
                scrubbing(),
                random16(),
            ),
            credential: {
                let vault = Rc::clone(&releases);
                credential::Pipeline::new(credential, permit()?, releases, vault, scrubbing())
            },
            background,
            shared: Shared::default(),
            shared_keys: shared()?,
            sequence: Sequence::new(random16()),
            feeds,
            now,
        };
        modules.tick();
        Ok(modules)
    }

    /// Lets time pass, a tick of the modules each second.
    fn pass(&mut self, span: Duration) {
        let end = self.now.get().after(span);
        while self.now.get() < end {
            self.now.set(end.min(self.now.get().after(TICK)));
            self.tick();
        }
    }

    /// The server of bundles says this from now on, and was asked about it.
    fn polled(&mut self, scenario: &str, said: Said) -> Result<()> {
        let world = Rc::clone(&self.world);
        world.backend.policies.publish(scenario, said);
        let patience = self.now.get().after(PATIENCE.saturating_mul(6));
        while world.backend.policies.asked(scenario) < OFTEN {
            anyhow::ensure!(self.now.get() < patience, "nobody asks for bundles");
            self.pass(TICK);
        }
        self.pass(TICK);
        Ok(())
    }

    /// What the root contexts of both filters do in a tick.
    fn tick(&mut self) {
        for feed in &self.feeds {
            let mut next = feed.tick(&mut self.shared, exchange::moment(self.now.get()));
            while let Some(call) = next {
                let (id, result) = exchange::perform(&self.world.backend, call, &self.now);
                next = feed.heard(id, result, &mut self.shared, exchange::moment(self.now.get()));
            }
        }
        for background in &self.background {
            if let Some(call) = background.due(self.now.get()) {
                let (id, result) = exchange::perform(&self.world.backend, call, &self.now);
                background.heard(id, result, self.now.get());
            }
        }
    }

    fn step(&mut self, named: &Named, index: usize) -> Result<Observation> {
        let world = Rc::clone(&self.world);
        let step = named.scenario.steps.get(index).context("no such step")?;
        if let Some(keys) = &step.issuer {
            world.backend.issuer.publish(keys.clone());
        }
        world.change_answers(named, &step.answers);
        self.tick();
        let received = self.now.get();
        let names = world.names_at(named, received);
        let state = self.sequence.state(&self.shared_keys, &mut self.shared, received);
        world.backend.stand.set(step.key_service.clone());
        let connection = Connection::of(&named.scenario, &step.request)?;
        let outcome = host::run(self, step, (&connection, &names), state);
        world.backend.stand.set(Fault::default());
        let outcome = outcome?;
        let seq = self.sequence.next();
        let took = self.now.get().since(received);
        let facts = record::ResponseFacts {
            status: Some(outcome.answer.status),
            flags: 0,
            duration: Some(took),
        };
        let logged = Logged { draft: outcome.record.as_deref(), seq: seq.as_deref(), facts };
        self.ledger.log(logged, &mut self.shared, self.now.get());
        let records = self.delivered()?;
        anyhow::ensure!(records.len() <= 1, "{} records for one request", records.len());
        let audit = records.last().and_then(|record| comparable(record));
        let mut upstream = outcome.upstream;
        upstream.iter_mut().for_each(|seen| settle(seen, &world.base, received));
        let canaries = outcome.canaries;
        let (answer, asked) = (outcome.answer, world.backend.introspection.take_asked());
        Ok(world.number(Observation { answer, upstream, canaries, audit, asked, took }))
    }

    /// Lets time pass until the collector has the record of a request.
    fn delivered(&mut self) -> Result<Vec<Vec<u8>>> {
        let end = self.now.get().after(PATIENCE);
        while self.now.get() < end {
            self.now.set(self.now.get().after(Duration::from_millis(100)));
            self.submit();
            let records = self.world.take_records()?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    fn submit(&mut self) {
        self.ledger.submit(&mut self.shared, exchange::moment(self.now.get()));
        while let Some(output) = self.ledger.poll() {
            if let Output::Call(call) = output {
                let (id, result) = exchange::perform(&self.world.backend, call, &self.now);
                self.ledger.heard(id, result, exchange::moment(self.now.get()));
            }
        }
    }
}

/// Budgets and labels as a VM remembers them.
struct Tallied {
    table: RefCell<tally::Table>,
    shared: RefCell<Shared>,
}

impl Tallies for Tallied {
    fn update(&self, key: &[u8; 32], now: UnixMillis, change: Change<'_>) -> Updated {
        self.table.borrow_mut().update(key, &mut *self.shared.borrow_mut(), now, change)
    }
}

/// Nonces in shared data of their own.
struct Nonced {
    table: RefCell<Table>,
    shared: RefCell<Shared>,
}

impl Nonces for Nonced {
    fn meet(&self, hash: &[u8; 32], now: UnixMillis) -> Met {
        self.table.borrow_mut().meet(hash, &mut *self.shared.borrow_mut(), now)
    }

    fn issue(&self, now: UnixMillis) -> Option<String> {
        self.table.borrow().issue(now)
    }

    fn is_issued(&self, nonce: &str, now: UnixMillis) -> bool {
        self.table.borrow().is_issued(nonce, now)
    }
}

/// What is left for other workers, of which there is none here.
struct InCommon {
    seal: Seal,
    shared: RefCell<Shared>,
}

impl Commons for InCommon {
    fn find(&self, name: &str) -> Found {
        self.seal.find(&mut *self.shared.borrow_mut(), name)
    }

    fn replace(&self, name: &str, value: &[u8], version: u32) -> bool {
        self.seal.replace(&mut *self.shared.borrow_mut(), name, value, version)
    }
}

/// The shared data of one process.
#[derive(Default)]
struct Shared(BTreeMap<String, (Vec<u8>, u32)>);

impl SharedData for Shared {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key).cloned()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let have = self.0.get(key).map_or(postern_core::receipt::ABSENT, |(_, version)| *version);
        let good = [have, postern_core::receipt::ANY].contains(&version);
        if good {
            self.0.insert(key.to_owned(), (value.to_vec(), have.wrapping_add(1).max(1)));
        }
        good
    }
}

fn random16() -> [u8; 16] {
    crate::world::short(&crate::world::entropy().0)
}
