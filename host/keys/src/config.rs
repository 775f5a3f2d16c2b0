//! `keys.yaml`: what the key service listens on, keeps and allows.
//!
//! Owns the wire form and its check. Invariant: a [`Config`] is complete and was checked;
//! an unknown key, a public address without the `danger_` key and a limit out of range
//! are refused before anything is opened.

mod database;
mod kek;
mod notify;
mod people;
mod tls;
mod vaults;
mod witnesses;

pub use database::{Database, Postgres, Server};
pub use kek::{AzureKey, Kek, Passphrase, StandIn};
pub use notify::{Channel, Medium};
pub use people::People;
pub use tls::{Clients, Require, Tls};
pub use vaults::{Aws, Hashicorp, HashicorpLogin, Vault, VaultMedium};
pub use witnesses::WitnessAt;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Most bytes of a `keys.yaml`.
const MAX_FILE: usize = 64 * 1024;

/// A `keys.yaml` that is not acceptable, with the key at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ConfigError {
    /// Key, such as `tls.key`, or the file.
    pub path: String,
    /// What was expected.
    pub message: String,
}

/// The file as written. Every key but `data_dir` has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// Address and port; only loopback unless `danger_listen_public`. Default
    /// `127.0.0.1:8843`; port 0 takes a free one.
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    /// Lets `listen` be an address that other machines reach. Default `false`.
    #[serde(default)]
    danger_listen_public: bool,
    /// Folder for keys, certificates, checkpoints and the default database. Relative
    /// paths start at the folder of the file.
    data_dir: PathBuf,
    /// `sqlite:FILE`, `sqlite::memory:` (gone when the process ends) or
    /// `postgres://ROLE@HOST/NAME`. Default `sqlite:keys.sqlite` in `data_dir`.
    database: Option<String>,
    /// More about a PostgreSQL server.
    postgres: Option<database::WirePostgres>,
    /// Certificate and key in PEM. Default: an authority and a certificate for `localhost`
    /// and 127.0.0.1, made on first start in `data_dir`.
    #[serde(default)]
    tls: tls::Wire,
    /// `sim` (the default): signed by a development key, proves nothing about hardware; said
    /// loudly each minute. Or a table: evidence of the SEV-SNP guest that this runs in.
    #[serde(default)]
    evidence: WireEvidence,
    /// Where the key-encryption key comes from. Default: the file `kek.key` in `data_dir`.
    kek: Option<kek::Wire>,
    /// Refuses releases to a gateway for which no set is authorised (`postern gateway-set`).
    /// Default `false`: such a gateway may run anything.
    #[serde(default)]
    require_gateway_set: bool,
    /// Limits.
    #[serde(default)]
    limits: WireLimits,
    /// Pages on which people decide about requests. Default: none.
    people: Option<people::Wire>,
    /// By which channels people are told that a request waits. Default: none.
    #[serde(default)]
    notify: Vec<notify::Wire>,
    /// Who else signs checkpoints of the audit log (C2SP tlog-witness). Default: nobody.
    #[serde(default)]
    witnesses: Vec<witnesses::Wire>,
    /// Vaults of others, by the name that `postern credential put --from` says. Default: none.
    #[serde(default)]
    vaults: BTreeMap<String, vaults::Wire>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WireLimits {
    /// Requests served at a time, 1 to 4096. Default 128; beyond it 503.
    in_flight: usize,
    /// Connections open at a time, 1 to 65536. Default 1024; one more is closed at once.
    connections: usize,
    /// Seconds that a connection may go without a request, from its first moment on, 1 to
    /// 300. Default 10.
    idle_seconds: u64,
    /// Seconds for one request from its first byte, 1 to 60. Default 5.
    request_seconds: u64,
    /// Seconds for an answer that reads the whole audit chain (`/audit/export`,
    /// `/audit/integrity`), 1 to 600. Default 60.
    audit_seconds: u64,
    /// Seconds a gateway may keep a released value, 0 to 300. Default 60.
    release_seconds: u16,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            in_flight: 128,
            connections: 1024,
            idle_seconds: 10,
            request_seconds: 5,
            audit_seconds: 60,
            release_seconds: 60,
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8843))
}

/// `evidence` as written.
#[derive(Debug, Default)]
enum WireEvidence {
    #[default]
    Sim,
    Hardware(WireHardware),
}

impl<'de> Deserialize<'de> for WireEvidence {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SimOrTable)
    }
}

struct SimOrTable;

impl<'de> Visitor<'de> for SimOrTable {
    type Value = WireEvidence;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sim or a table")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WireEvidence, E> {
        let known = (text == "sim").then_some(WireEvidence::Sim);
        known
            .ok_or_else(|| E::custom(format_args!("evidence: expected sim or a table, not {text}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireEvidence, A::Error> {
        let table = WireHardware::deserialize(MapAccessDeserializer::new(map));
        table.map(WireEvidence::Hardware)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHardware {
    /// Show the SEV-SNP report itself. Default `false`.
    #[serde(default)]
    snp: bool,
    /// Instance of Azure Attestation whose token is shown, such as
    /// `https://sharedeus2.eus2.attest.azure.net`; plain HTTP only on 127.0.0.1. Default:
    /// none. One of `snp` and `maa` is required.
    maa: Option<String>,
    /// Folder with the host's files. Default: what `UVM_SECURITY_CONTEXT_DIR` names, or the
    /// folder `/security-context-…`.
    host: Option<PathBuf>,
    /// The signed release set.
    release_set: PathBuf,
}

/// How the service proves what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A development key.
    Sim,
    /// The SEV-SNP guest that it runs in.
    Hardware(HardwareEvidence),
}

/// Evidence of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareEvidence {
    /// The report itself is shown.
    pub snp: bool,
    /// Instance of Azure Attestation whose token is shown.
    pub maa: Option<String>,
    /// Folder with the host's files, if it is not where the platform puts it.
    pub host: Option<PathBuf>,
    /// The signed release set.
    pub release_set: PathBuf,
}

/// Limits of the HTTP shell and of released values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests at a time.
    pub in_flight: usize,
    /// Connections at a time.
    pub connections: usize,
    /// How long a connection may go without a request.
    pub idle: Duration,
    /// Time for one request.
    pub request: Duration,
    /// Time for an answer that reads the whole audit chain.
    pub audit: Duration,
    /// How long a gateway may keep a value.
    pub release_ttl: Duration,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Folder for what is kept beside the database.
    pub data_dir: PathBuf,
    /// Database.
    pub database: Database,
    /// TLS.
    pub tls: Tls,
    /// Who has to show a client certificate, and of whom; nobody without it.
    pub clients: Option<Clients>,
    /// Evidence kind.
    pub evidence: Evidence,
    /// Where the key-encryption key comes from.
    pub kek: Kek,
    /// A gateway without an authorised set gets no values.
    pub require_gateway_set: bool,
    /// Limits.
    pub limits: Limits,
    /// Pages for people, if there are any.
    pub people: Option<People>,
    /// By which channels people are told.
    pub notify: Vec<Channel>,
    /// Who else signs checkpoints of the audit log.
    pub witnesses: Vec<WitnessAt>,
    /// Where values are that are not put into this service, by name.
    pub vaults: BTreeMap<String, Vault>,
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// The first problem, with the key at fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = postern_files::read_bounded(path, MAX_FILE)
            .map_err(|e| problem("keys.yaml", e.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Checks `yaml`; relative paths start at `base`.
    ///
    /// # Errors
    /// The first problem, with the key at fault.
    pub fn parse(yaml: &[u8], base: &Path) -> Result<Self, ConfigError> {
        let text = str::from_utf8(yaml).map_err(|_| problem("keys.yaml", "expected UTF-8"))?;
        let wire: Wire = serde_saphyr::from_str(text)
            .map_err(|e| problem("keys.yaml", first_line(&e.to_string())))?;
        let data_dir = base.join(&wire.data_dir);
        let (listen, (tls, clients)) = (listen(&wire)?, tls::checked(wire.tls, base)?);
        let simulated = matches!(wire.evidence, WireEvidence::Sim);
        let evidence = evidence(wire.evidence, base)?;
        let limits = limits(wire.limits)?;
        let around = vaults::Around { base, simulated, request: limits.request };
        Ok(Self {
            listen,
            database: database::database(wire.database.as_deref(), wire.postgres, &data_dir, base)?,
            tls,
            clients,
            notify: notify::checked(wire.notify, base, simulated)?,
            witnesses: witnesses::checked(wire.witnesses)?,
            kek: kek::checked(wire.kek, &evidence, base)?,
            evidence,
            require_gateway_set: wire.require_gateway_set,
            limits,
            vaults: vaults::checked(wire.vaults, &around)?,
            people: wire.people.map(people::checked).transpose()?,
            data_dir,
        })
    }

    /// The key that wraps all others at rest, unless it comes from a vault.
    #[must_use]
    pub fn kek_file(&self) -> PathBuf {
        self.data_dir.join("kek.key")
    }

    /// The development key behind evidence of kind `sim`.
    #[must_use]
    pub fn sim_key_file(&self) -> PathBuf {
        self.data_dir.join("sim.key")
    }

    /// Defaults around `data_dir`, on a free port of 127.0.0.1.
    #[must_use]
    pub fn local(data_dir: &Path) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.to_owned(),
            database: Database::File(data_dir.join("keys.sqlite")),
            tls: Tls::Own,
            clients: None,
            evidence: Evidence::Sim,
            kek: Kek::File,
            require_gateway_set: false,
            limits: WireLimits::default().into(),
            people: None,
            notify: Vec::new(),
            witnesses: Vec::new(),
            vaults: BTreeMap::new(),
        }
    }
}

fn listen(wire: &Wire) -> Result<SocketAddr, ConfigError> {
    if wire.listen.ip().is_loopback() || wire.danger_listen_public {
        return Ok(wire.listen);
    }
    Err(problem("listen", "expected a loopback address; danger_listen_public: true allows others"))
}

fn evidence(wire: WireEvidence, base: &Path) -> Result<Evidence, ConfigError> {
    let WireEvidence::Hardware(wire) = wire else { return Ok(Evidence::Sim) };
    if !wire.snp && wire.maa.is_none() {
        return Err(problem("evidence", "expected snp, maa or both"));
    }
    let allowed =
        |url: &String| url.starts_with("https://") || url.starts_with("http://127.0.0.1:");
    if wire.maa.as_ref().is_some_and(|url| !allowed(url)) {
        return Err(problem("evidence.maa", "expected https://…"));
    }
    Ok(Evidence::Hardware(HardwareEvidence {
        snp: wire.snp,
        maa: wire.maa,
        host: wire.host.map(|host| base.join(host)),
        release_set: base.join(wire.release_set),
    }))
}

fn limits(wire: WireLimits) -> Result<Limits, ConfigError> {
    let rows = [
        ("in_flight", wire.in_flight as u64, 1, 4096),
        ("connections", wire.connections as u64, 1, 65_536),
        ("idle_seconds", wire.idle_seconds, 1, 300),
        ("request_seconds", wire.request_seconds, 1, 60),
        ("audit_seconds", wire.audit_seconds, 1, 600),
        ("release_seconds", wire.release_seconds.into(), 0, 300),
    ];
    for (name, value, least, most) in rows {
        if !(least..=most).contains(&value) {
            return Err(problem(&format!("limits.{name}"), format!("expected {least} to {most}")));
        }
    }
    Ok(wire.into())
}

impl From<WireLimits> for Limits {
    fn from(wire: WireLimits) -> Self {
        Self {
            in_flight: wire.in_flight,
            connections: wire.connections,
            idle: Duration::from_secs(wire.idle_seconds),
            request: Duration::from_secs(wire.request_seconds),
            audit: Duration::from_secs(wire.audit_seconds),
            release_ttl: Duration::from_secs(wire.release_seconds.into()),
        }
    }
}

fn problem(path: &str, message: impl Into<String>) -> ConfigError {
    ConfigError { path: path.to_owned(), message: message.into() }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Config, String> {
        Config::parse(yaml.as_bytes(), Path::new("/srv")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_folder_is_all_that_is_needed() {
        let config = parse("data_dir: data\n").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8843");
        assert_eq!(config.database, Database::File("/srv/data/keys.sqlite".into()));
        assert_eq!((config.tls, config.evidence), (Tls::Own, Evidence::Sim));
    }

    #[test]
    fn the_example_is_the_defaults() {
        let example = Config::parse(include_bytes!("../keys.example.yaml"), Path::new("/srv"));
        assert_eq!(example.unwrap(), Config::parse(b"data_dir: data", Path::new("/srv")).unwrap());
    }

    #[test]
    fn a_witness_elsewhere_is_asked_over_tls_and_has_a_name_of_its_own() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let key = postern_tlog::cosignature::Witness::new("w.example", key.as_bytes());
        let key = key.unwrap().vkey();
        let witness = |url: &str| format!("{{url: '{url}', key: '{key}'}}");
        let parsed = |all: &str| parse(&format!("data_dir: d\nwitnesses: [{all}]\n"));
        for url in ["https://w.example/a", "http://127.0.0.1:9", "https://w.example/"] {
            let config = parsed(&witness(url)).unwrap();
            assert_eq!(config.witnesses[0].url, url.trim_end_matches('/'));
        }
        for url in ["http://w.example", "https://", "https://a@b", "https://b?x", "w.example"] {
            let error = parsed(&witness(url)).unwrap_err();
            assert!(error.starts_with("witnesses.0.url: expected https"), "{url}: {error}");
        }
        let twice = [witness("https://a"), witness("https://b")].join(",");
        assert_eq!(parsed(&twice).unwrap_err(), "witnesses.1.key: expected a name of its own");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, part) in [
            ("data_dir: d\nlisten: 0.0.0.0:1\n", "listen: expected a loopback address"),
            ("data_dir: d\ndatabase: mysql://x\n", "database: expected sqlite"),
            ("data_dir: d\ndatabase: postgres://a:b@c/d\n", "database: expected no password"),
            ("data_dir: d\npostgres: {connections: 3}\n", "postgres: expected a database"),
            (
                "data_dir: d\ndatabase: postgres://a@c/d\npostgres: {connections: 1}\n",
                "postgres.connections: expected 2 to 100",
            ),
            ("data_dir: d\nlimits: {in_flight: 0}\n", "limits.in_flight"),
            ("data_dir: d\nlimits: {connections: 0}\n", "limits.connections: expected 1 to 65536"),
            ("data_dir: d\nlimits: {idle_seconds: 301}\n", "limits.idle_seconds"),
            ("data_dir: d\nlimits: {request_seconds: 61}\n", "limits.request_seconds"),
            ("data_dir: d\nlimits: {audit_seconds: 0}\n", "limits.audit_seconds"),
            ("data_dir: d\nlimits: {release_seconds: 301}\n", "limits.release_seconds"),
            ("data_dir: d\ntls: {key: k}\n", "tls: expected certificate and key"),
            ("data_dir: d\ntls: {require: crp}\n", "tls.client_ca: expected"),
            ("data_dir: d\ntls: {names: [a.example]}\n", "tls.client_ca: expected"),
            ("data_dir: d\ntls: {client_ca: c, require: some}\n", "some"),
            ("data_dir: d\ntls: {client_ca: c, names: ['*.a']}\n", "tls.names: expected"),
            ("data_dir: d\ncolour: red\n", "colour"),
            ("data_dir: d\nevidence: trust_me\n", "trust_me"),
            ("data_dir: d\nevidence: {snp: true}\n", "release_set"),
            ("data_dir: d\nevidence: {release_set: r}\n", "evidence: expected snp"),
            ("data_dir: d\nevidence: {release_set: r, maa: http://a}\n", "evidence.maa"),
            ("data_dir: d\nevidence: {release_set: r, snp: true, x: 1}\n", "x"),
            ("data_dir: d\nwitnesses: [{url: 'https://w.example'}]\n", "key"),
            (
                "data_dir: d\nwitnesses: [{url: 'https://w.example', key: w}]\n",
                "witnesses.0.key: expected name+hash+key",
            ),
            ("data_dir: d\npeople: {}\n", "origin"),
            ("data_dir: d\npeople: {origin: http://a.example}\n", "people.origin"),
            (
                "data_dir: d\npeople: {origin: 'https://a.example', session_hours: 25}\n",
                "people.session_hours: expected 1 to 24",
            ),
            (
                "data_dir: d\npeople: {origin: 'https://a.example', idle_minutes: 0}\n",
                "people.idle_minutes",
            ),
            (
                "data_dir: d\nnotify: [{name: a, tenant: t, secret: s}]\n",
                "notify.a: expected one of",
            ),
            (
                "data_dir: d\nnotify: [{name: a, tenant: t, secret: s, slack: {api: 'http://a.b'}}]\n",
                "notify.a: expected https",
            ),
            ("listen: 127.0.0.1:1\n", "data_dir"),
        ] {
            let problem = parse(yaml).unwrap_err();
            assert!(problem.contains(part), "{yaml}: {problem}");
        }
    }

    #[test]
    fn a_public_address_needs_the_danger_key() {
        let config = parse("data_dir: d\nlisten: 0.0.0.0:1\ndanger_listen_public: true\n").unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:1");
    }
}
