//! What a module gets from its host beside streams: time, randomness, environment,
//! configuration, counters, shared data, and a log for configuration errors.
//!
//! Owns the only clock and the only source of randomness of the modules. Invariant: what
//! is missing is `None` or an error, never a default.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use postern_core::commons::{Commons, Found, Seal};
use postern_core::config::{ConfigError, MAX_DOCUMENT};
use postern_core::effect::Metric;
use postern_core::mac::MacKeys;
use postern_core::nonces::{Met, Nonces, Table};
use postern_core::receipt::SharedData;
use postern_core::redacted::Redacted;
use postern_core::tally::{self, Change, Tallies, Updated};
use postern_core::time::{Entropy, UnixMillis};

use crate::abi::{self, Buffer, Level};
use crate::document;

/// The host's clock. A clock before 1970 reads 0, at which every permit has expired.
#[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Fresh randomness for one event.
pub fn entropy() -> Option<Entropy> {
    random().map(Entropy)
}

/// Random bytes; WASI gives at most 65536 in one call.
#[expect(clippy::disallowed_methods, reason = "this is where randomness comes from")]
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// An environment variable that the host passes to this VM (`host_env_keys`).
#[expect(clippy::disallowed_methods, reason = "this is where the keys come from")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The module's configuration document as JSON text, in `on_configure`.
pub fn configuration(size: usize) -> Result<Vec<u8>, ConfigError> {
    if size > MAX_DOCUMENT {
        return Err(ConfigError::one("", format!("larger than {MAX_DOCUMENT} bytes")));
    }
    let bytes = abi::buffer(Buffer::Configuration, 0, size);
    bytes
        .map(document::text)
        .map_err(|status| ConfigError::one("", format!("the host does not give it: {status}")))
}

/// Writes every problem of a configuration to the proxy's log, one a line.
pub fn report(module: &str, error: &ConfigError) {
    for problem in &error.problems {
        let line = Redacted::new(&problem.to_string());
        abi::log(Level::Error, &format!("postern {module}: configuration: {line}"));
    }
}

/// From here on a panic says where, and never what: its text could hold a value.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or("an unknown place", |location| location.file());
        let line = panic.location().map_or(0, |location| location.line());
        abi::log(Level::Error, &format!("postern: panic at {place}:{line}"));
    }));
}

/// Counters of one root context, defined when they first count.
#[derive(Default)]
pub struct Counters(RefCell<BTreeMap<&'static str, u32>>);

impl Counters {
    /// Counts one. A counter that the host refuses changes nothing about a request.
    pub fn count(&self, metric: Metric) {
        let Ok(mut known) = self.0.try_borrow_mut() else { return };
        let id = match known.get(metric.0) {
            Some(id) => *id,
            None => {
                let Ok(id) = abi::define_counter(metric.0) else { return };
                known.insert(metric.0, id);
                id
            }
        };
        let _ = abi::increment(id);
    }
}

/// Shared data of the `vm_id`. Any other module may write it: whoever reads checks a MAC.
pub struct Shared;

impl SharedData for Shared {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        abi::shared_data(key).ok().flatten()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        abi::set_shared_data(key, value, version).is_ok()
    }
}

/// Nonces in shared data, so that every worker knows them.
pub struct SharedNonces(RefCell<Table>);

impl SharedNonces {
    /// This worker's view of the table.
    pub fn new(table: Table) -> Self {
        Self(RefCell::new(table))
    }
}

impl Nonces for SharedNonces {
    fn meet(&self, hash: &[u8; 32], now: UnixMillis) -> Met {
        let table = self.0.try_borrow_mut();
        table.map_or(Met::Unwritten, |mut table| table.meet(hash, &mut Shared, now))
    }

    fn issue(&self, now: UnixMillis) -> Option<String> {
        self.0.try_borrow().ok()?.issue(now)
    }

    fn is_issued(&self, nonce: &str, now: UnixMillis) -> bool {
        self.0.try_borrow().is_ok_and(|table| table.is_issued(nonce, now))
    }
}

/// What workers leave one another in shared data.
pub struct SharedCommons(Seal);

impl SharedCommons {
    /// Under this seal.
    pub fn new(seal: Seal) -> Self {
        Self(seal)
    }
}

impl Commons for SharedCommons {
    fn find(&self, name: &str) -> Found {
        self.0.find(&mut Shared, name)
    }

    fn replace(&self, name: &str, value: &[u8], version: u32) -> bool {
        self.0.replace(&mut Shared, name, value, version)
    }
}

/// Budgets and labels in shared data, so that every worker knows them.
pub struct SharedTallies(RefCell<tally::Table>);

impl SharedTallies {
    /// This worker's view of the table.
    pub fn new(keys: MacKeys) -> Self {
        Self(RefCell::new(tally::Table::new(keys)))
    }
}

impl Tallies for SharedTallies {
    fn update(&self, key: &[u8; 32], now: UnixMillis, change: Change<'_>) -> Updated {
        let table = self.0.try_borrow_mut();
        table.map_or(Updated::Unwritten, |mut table| table.update(key, &mut Shared, now, change))
    }
}
