//! `credential.wasm`: a permit in, the credential into the request, answers scrubbed.
//!
//! Owns only the wiring: configuration and keys to a [`Pipeline`]. Invariant: it has no
//! policy engine and no code that reads a caller's token; without a permit nothing is asked.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the macro of the SDK exports a function without")]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::rc::Rc;

use postern_core::config::credential::Config;
use postern_core::config::{ConfigError, Problems};
use postern_core::credential::Pipeline;
use postern_core::keyring;
use postern_crp::Role;
use postern_crp::client::{Client, Settings};
use postern_proxy_wasm::host::variable;
use postern_proxy_wasm_filter::{Module, Place};
use postern_scrub::PatternScrubbing;

postern_proxy_wasm_filter::module!("credential", configure);

fn configure(document: &[u8]) -> Result<Module, ConfigError> {
    let mut problems = Problems::default();
    let config = problems.part("", Config::parse(document));
    let permit = problems.part("", keyring::permit_keys(variable("POSTERN_PERMIT_KEY").as_deref()));
    let seed =
        problems.part("", keyring::identity_seed(variable("POSTERN_CREDENTIAL_KEY").as_deref()));
    let read = (|| Some((config?, permit?, seed?)))();
    let (config, permit, seed) = problems.finish(read)?;
    let key_service = config.key_service.clone();
    let settings = Settings::of(&key_service, &config.tenant, Role::Credential, seed)?;
    let (cache_ttl, cache_entries) = (config.cache_ttl, config.cache_entries);
    let modules = config.modules;
    let client = Client::new(Settings { cache_ttl, cache_entries, modules, ..settings });
    let client = client.map_err(|bad| ConfigError::one("environment", bad.to_string()))?;
    let client = Rc::new(client);
    let feed = Rc::clone(&client);
    let (vault, scrubbing) = (Rc::clone(&client), Rc::new(PatternScrubbing::new()));
    let pipeline = Pipeline::new(config, permit, client, vault, scrubbing);
    Ok(Module {
        streams: Box::new(move || Box::new(pipeline.stream())),
        feed,
        background: Vec::new(),
        key_service,
        place: Place::Cluster,
    })
}
