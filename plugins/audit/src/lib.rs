//! `audit.wasm`: one record a request, on a hash chain, to the collector.
//!
//! Owns only the wiring: configuration and keys to a [`Ledger`]. Invariant: it cannot read
//! a header map or content, because it does not import the hostcalls.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::rc::Rc;

use postern_core::config::audit::Config;
use postern_core::config::{ConfigError, Problems};
use postern_core::keyring;
use postern_core::ledger::{Ledger, boot_id};
use postern_crp::Role;
use postern_crp::client::{Client, Settings};
use postern_proxy_wasm::host::{Shared, now, random, variable};
use postern_proxy_wasm::logger::Logger;

postern_proxy_wasm::access_logger!("audit", configure);

fn configure(document: &[u8]) -> Result<Logger, ConfigError> {
    let mut problems = Problems::default();
    let config = problems.part("", Config::parse(document));
    let shared = problems.part("", keyring::shared_keys(variable("POSTERN_SHARED_KEY").as_deref()));
    let seed = problems.part("", keyring::identity_seed(variable("POSTERN_AUDIT_KEY").as_deref()));
    let (boot, vm) = (random(), random());
    let ids = problems.required("randomness", boot.zip(vm));
    let read = (|| Some((config?, shared?, seed?, ids?)))();
    let (config, shared, seed, (boot, vm)) = problems.finish(read)?;
    let (key_service, every) = (config.key_service.clone(), config.every);
    let client = Client::new(Settings::of(&key_service, &config.tenant, Role::Audit, seed)?);
    let client = client.map_err(|bad| ConfigError::one("environment", bad.to_string()))?;
    let boot = boot_id(&shared, &mut Shared, boot);
    let ledger = Ledger::new(config, shared, Rc::new(client), boot, vm, now()).spilling();
    Ok(Logger::new(ledger, key_service, every))
}
