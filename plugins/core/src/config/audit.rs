//! Configuration of the audit module.
//!
//! Invariant: every bound has a default and a limit, so no document makes the logger hold
//! an unbounded buffer or a batch that the collector cannot take.

use std::time::Duration;

use serde::Deserialize;

use super::key_service::{self, AllowSimulated, KeyService};
use super::{ConfigError, Problems, tenant, units};

/// The document as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Tenant that the gateway serves. Required.
    pub tenant: Option<String>,
    /// The key service, which collects. Required.
    pub key_service: Option<key_service::Wire>,
    /// When records are sent.
    #[serde(default)]
    pub batch: BatchWire,
    /// Most bytes of records that wait in one VM. Default `4MiB`, `64KiB` to `64MiB`.
    pub buffer: Option<String>,
    /// What stops when three quarters of the buffer are full. Default `all`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// Accept simulated evidence under this key.
    pub danger_allow_simulated: Option<AllowSimulated>,
}

/// `batch` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchWire {
    /// Send as soon as so many records wait. Default 100, 1 to 1000.
    pub records: Option<u16>,
    /// Send what waits this long. Default `1s`, `100ms` to `60s`.
    pub every: Option<String>,
}

/// What the gate refuses when the buffer is nearly full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// Requests that write; reads pass, and are only counted once the buffer is full.
    Writes,
    /// Every request.
    #[default]
    All,
}

/// The audit module's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Tenant that the gateway serves.
    pub tenant: String,
    /// The key service, which collects.
    pub key_service: KeyService,
    /// Records that make a batch.
    pub records: usize,
    /// Longest wait of a record for its batch.
    pub every: Duration,
    /// Most bytes of records that wait.
    pub buffer: usize,
    /// What stops when the buffer is nearly full.
    pub when_full: WhenFull,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

impl Config {
    /// Reads the document.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        super::read::<Wire, Self>(json)
    }
}

impl TryFrom<Wire> for Config {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let tenant = tenant(wire.tenant, &mut problems);
        let key_service =
            key_service::read(wire.key_service, wire.danger_allow_simulated, &mut problems);
        let records = records(wire.batch.records);
        let records = problems.scalar("batch.records", records);
        let every = problems.scalar("batch.every", every(wire.batch.every.as_deref()));
        let buffer = problems.scalar("buffer", buffer(wire.buffer.as_deref()));
        let read = (|| {
            Some(Self {
                tenant: tenant?,
                key_service: key_service?,
                records: records?,
                every: every?,
                buffer: buffer?,
                when_full: wire.when_full,
            })
        })();
        problems.finish(read)
    }
}

fn records(number: Option<u16>) -> Result<usize, &'static str> {
    let number = number.unwrap_or(100);
    if (1..=1000).contains(&number) { Ok(number.into()) } else { Err("expected 1 to 1000") }
}

fn every(text: Option<&str>) -> Result<Duration, &'static str> {
    let every = units::duration(text.unwrap_or("1s"))?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&every);
    if fits { Ok(every) } else { Err("expected 100ms to 60s") }
}

fn buffer(text: Option<&str>) -> Result<usize, &'static str> {
    let buffer = units::size(text.unwrap_or("4MiB"))?;
    let (least, most) = (64 * KIB, 64 * MIB);
    if (least..=most).contains(&buffer) { Ok(buffer) } else { Err("expected 64KiB to 64MiB") }
}

#[cfg(test)]
mod tests {
    use super::super::key_service::Evidence;
    use super::*;

    const MINIMAL: &str = r#""tenant": "acme",
        "key_service": {"cluster": "keys", "authority": "keys.internal",
                        "gateway_id": "000102030405060708090a0b0c0d0e0f"},
        "danger_allow_simulated": {"key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;

    fn parse(more: &str) -> Result<Config, ConfigError> {
        Config::parse(format!("{{{MINIMAL}{more}}}").as_bytes())
    }

    #[test]
    fn defaults_are_safe() {
        let key = std::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(
            parse(""),
            Ok(Config {
                tenant: "acme".into(),
                key_service: KeyService {
                    cluster: "keys".into(),
                    authority: "keys.internal".into(),
                    gateway_id: std::array::from_fn(|index| u8::try_from(index).unwrap()),
                    evidence: Evidence::Simulated { key },
                    revocation: crate::revocation::Limits::LONGEST,
                },
                records: 100,
                every: Duration::from_secs(1),
                buffer: 4 * MIB,
                when_full: WhenFull::All,
            })
        );
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#", "batch": {"records": 1000, "every": "100ms"}, "buffer": "64KiB",
                "when_full": "writes""#,
        )
        .unwrap();
        assert_eq!(
            (config.records, config.every, config.buffer, config.when_full),
            (1000, Duration::from_millis(100), 64 * KIB, WhenFull::Writes)
        );
    }

    #[test]
    fn every_problem_is_named() {
        let document = br#"{"batch": {"records": 0, "every": "61s", "size": 1},
            "buffer": "1KiB", "when_full": "never", "tenant": ""}"#;
        let problems = Config::parse(document).unwrap_err().problems;
        let mut paths: Vec<_> = problems.into_iter().map(|problem| problem.path).collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                "batch.every",
                "batch.records",
                "batch.size",
                "buffer",
                "danger_allow_simulated",
                "key_service",
                "tenant",
                "when_full"
            ]
        );
    }
}
