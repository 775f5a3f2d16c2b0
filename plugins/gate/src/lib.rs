//! `gate.wasm`: who is calling, may they, and with which credentials; a permit if so.
//!
//! Owns the wiring alone. Invariant: it holds no upstream credential and cannot ask for one.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the macro of the SDK exports a function without")]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod services;

use std::rc::Rc;

use postern_core::config::gate::Config;
use postern_core::config::{ConfigError, Problems};
use postern_core::gate::{Loaded, Pipeline};
use postern_core::keyring;
use postern_crp::Role;
use postern_crp::client::{Client, Settings};
use postern_proxy_wasm::host::{SharedTallies, random, variable};
use postern_proxy_wasm_filter::{Module, Place};
use postern_scrub::{MarkerDetector, PatternScrubbing};

postern_proxy_wasm_filter::module!("gate", configure);

fn configure(document: &[u8]) -> Result<Module, ConfigError> {
    let mut problems = Problems::default();
    let config = problems.part("", Config::parse(document));
    let permit = problems.part("", keyring::permit_keys(variable("POSTERN_PERMIT_KEY").as_deref()));
    let shared = || keyring::shared_keys(variable("POSTERN_SHARED_KEY").as_deref());
    let (nonces, tallies, shared) = (shared().ok(), shared().ok(), problems.part("", shared()));
    let seed = problems.part("", keyring::identity_seed(variable("POSTERN_GATE_KEY").as_deref()));
    let vm = problems.required("randomness", random());
    let read = (|| Some((config?, permit?, shared?, nonces?, tallies?, seed?, vm?)))();
    let (config, permit, shared, nonces, tallies, seed, vm) = problems.finish(read)?;
    let key_service = config.key_service.clone();
    let client = Client::new(Settings::of(&key_service, &config.tenant, Role::Gate, seed)?);
    let client = Rc::new(client.map_err(|bad| ConfigError::one("environment", bad.to_string()))?);
    let callers = postern_identity::assemble(&config, &services::of_module(&client, nonces)?)?;
    let (detector, scrubbing) = (Rc::new(MarkerDetector), Rc::new(PatternScrubbing::new()));
    let (known, certificates) = (callers.authenticators, config.reads_certificates());
    let tallies = Some(Rc::new(SharedTallies::new(tallies)) as _);
    let policy = postern_rego::of_gate(&config)?;
    let approvals = Some(Rc::clone(&client) as _);
    let loaded =
        Loaded { policy: policy.policies, config, tallies, invites: callers.invites, approvals };
    let feed = Rc::clone(&client);
    let pipeline = Pipeline::new(loaded, permit, known, client, detector, scrubbing, vm);
    Ok(Module {
        streams: Box::new(move || Box::new(pipeline.stream())),
        feed,
        background: callers.background.into_iter().chain(policy.background).collect(),
        key_service,
        place: Place::Listener { shared: Box::new(shared), certificates },
    })
}
