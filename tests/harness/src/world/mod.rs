//! What a run starts from: the base file, two key services (the genuine one and an
//! impostor), an enrolled gateway and operators.
//!
//! Everything gets there as it does in life: identities are enrolled and credentials are
//! stored by sealed messages, API keys are created and revoked by signed requests.

mod approvals;
mod backend;
mod gateway_sets;
pub mod introspection;
mod invites;
pub mod issuer;
mod keys;
mod party;
mod policies;
mod staged;
mod vault;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::binding::Binding;
use postern_core::config;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::Role;
use postern_crp::message::{Answer, Message, store};
use postern_keys::config::{Clients, Require};
use postern_keys::{Config, Service, http, tls};
use postern_rig::gateway::merge;
use serde::Deserialize;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

pub use approvals::Ruling;
pub use backend::Backend;
pub use gateway_sets::Authorised;
pub use invites::InviteSeed;
pub use issuer::first as first_keys;
pub use keys::{entropy, short};
pub use party::Party;
pub use policies::{OFTEN, Policies, Said};
pub use staged::{Flaw, Kind as EvidenceKind, pins};

use crate::faults::{Kind, Outcome, Stand};
use crate::minted;
use crate::observation::Observation;
use crate::scenario::{KeySeed, KeyState, Named};
use crate::template::Names;

/// `tests/scenarios/base.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Overlays on the module configurations of envoy/envoy.yaml.
    pub modules: BTreeMap<String, Value>,
    /// Which domain leads to which cluster.
    pub routes: Vec<Route>,
    /// What the key service holds.
    pub credentials: BTreeMap<String, CredentialSeed>,
}

/// A domain, a cluster and an upstream, one to one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `Host` that selects it, and what the upstream is called.
    pub domain: String,
    /// Cluster.
    pub cluster: String,
}

/// A stored credential.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSeed {
    /// Tenant it belongs to.
    pub tenant: String,
    /// Value, where it has one.
    #[serde(default)]
    pub value: String,
    /// Values by field, where it has several.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// The value is in a vault, and the key service knows where.
    #[serde(default)]
    pub vault: bool,
    /// Its binding, where the gate of this base has none for it.
    pub binding: Option<postern_core::binding::Wire>,
    /// More bindings of it.
    #[serde(default)]
    pub bindings: Vec<postern_core::binding::Wire>,
    /// Releases that need an approval: `none` (default), `writes` or `every_release`.
    pub approval: Option<String>,
    /// Only a passkey approves them.
    #[serde(default)]
    pub require_passkey: bool,
    /// How many people have to; one when absent.
    pub approvers: Option<u8>,
}

impl CredentialSeed {
    /// What its releases need.
    fn guard(&self) -> Result<store::Guard> {
        let name = self.approval.as_deref().unwrap_or("none");
        let approval = store::Needed::ALL.into_iter().find(|one| one.name() == name);
        Ok(store::Guard {
            approval: approval.context("no such class of approval")?,
            passkey: self.require_passkey,
            approvers: self.approvers.unwrap_or(1),
        })
    }

    /// Every value, with the name of its field.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let one = (!self.value.is_empty()).then_some(("", self.value.as_str()));
        one.into_iter().chain(self.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

/// The tenant of the gateway, and another one.
const TENANTS: [&str; 2] = ["acme", "globex"];

/// Everything that is there before a scenario.
pub struct World {
    /// Key services.
    pub backend: Arc<Backend>,
    /// Base file.
    pub base: Base,
    /// Environment of the gateway: identities and shared keys.
    pub environment: Vec<(String, String)>,
    /// `gateway_id` and `danger_allow_simulated` of this world, for every module.
    pub overlay: Value,
    /// What issues tokens for invites, as the gate's configuration writes it.
    issuer: Value,
    /// Data folders of the services and files of this run.
    pub folder: tempfile::TempDir,
    operators: BTreeMap<String, Party>,
    pool: SqlitePool,
    /// The documents of gate and credential as shipped.
    shipped: [Value; 2],
    notes: Mutex<Notes>,
}

/// What a world remembers of a run.
#[derive(Default)]
struct Notes {
    /// The last audit event that was read.
    event: i64,
    /// Every API key that was presented or could be.
    keys: Vec<Vec<u8>>,
    /// Minted credentials of the scenario at hand.
    minted: minted::Seen,
    /// Tokens that invites were exchanged for in it.
    issued: invites::Issued,
    /// Approvals that came up in it.
    approvals: approvals::Seen,
    /// Sets that gateways are held to in it.
    sets: Vec<String>,
}

impl World {
    /// Opens the services, enrols gateway and operators and stores the base's credentials.
    /// `shipped` gives the configuration of a module as it is shipped.
    pub fn new(folder: &Path, shipped: &dyn Fn(&str) -> Value, now: UnixMillis) -> Result<Self> {
        let base = std::fs::read_to_string(folder.join("base.yaml")).context("base.yaml")?;
        let base: Base = serde_saphyr::from_str(&base).context("base.yaml")?;
        let folder = tempfile::tempdir()?;
        let (backend, pool) = open(folder.path(), &base, now)?;
        let mut environment = vec![shared_key("PERMIT"), shared_key("SHARED")];
        let secret = introspection::SECRET.to_owned();
        environment.push(("POSTERN_INTROSPECTION_SECRET".to_owned(), secret));
        let mut operators = BTreeMap::new();
        let mut gateway = [0; 16];
        for tenant in TENANTS {
            let minted = backend.runtime.block_on(backend.genuine.mint(tenant, now));
            let (tokens, operator) = minted.map_err(anyhow::Error::msg)?;
            let operator = Party::enrol(&backend, Role::Operator, operator.token, now)?;
            operators.insert(tenant.to_owned(), operator);
            if tenant != TENANTS[0] {
                continue;
            }
            gateway = tokens.gateway_id;
            let roles = [Role::Gate, Role::Credential, Role::Audit];
            for (role, token) in
                roles.into_iter().zip([tokens.gate, tokens.credential, tokens.audit])
            {
                let name = format!("POSTERN_{}_KEY", role.name().to_uppercase());
                let seed = Party::enrol(&backend, role, token, now)?.seed;
                environment.push((name, URL_SAFE_NO_PAD.encode(seed)));
            }
        }
        let simulated = backend.genuine.sim_key().context("simulated evidence")?;
        let overlay = serde_json::json!({
            "key_service": {"gateway_id": party::hex(&gateway)},
            "danger_allow_simulated": {"key": URL_SAFE_NO_PAD.encode(simulated)},
        });
        let operator = operators.get(TENANTS[0]).context("operator")?;
        let issuer = operator.operated(&backend, ("GET", "/api/v1/invites/issuer"), b"", now)?;
        let issuer = serde_json::from_slice(&issuer)?;
        let (backend, notes) = (Arc::new(backend), Mutex::default());
        let shipped_two = ["gate", "credential"].map(shipped);
        let world = Self {
            backend,
            base,
            environment,
            overlay,
            issuer,
            folder,
            operators,
            pool,
            shipped: shipped_two,
            notes,
        };
        world.store_credentials(shipped, now)?;
        world.take_records()?;
        Ok(world)
    }

    /// The genuine key service at a port of its own, for gateways that show a certificate of
    /// this authority with this name; the port, and its own authority. Serves as long as the world.
    pub fn serve_to_clients(&self, authority: &str, name: &str) -> Result<(u16, PathBuf)> {
        let ca = self.folder.path().join("gateways-ca.pem");
        postern_files::write_private(&ca, authority.as_bytes())?;
        let mut config = Config::local(&self.folder.path().join("mutual"));
        let names = vec![name.to_owned()];
        config.clients = Some(Clients { ca, require: Require::Crp, names });
        let service = self.backend.genuine.clone();
        let running = self.backend.runtime.block_on(http::start(service, &config));
        let running = running.map_err(anyhow::Error::msg)?;
        let own = tls::authority_file(&config).context("an authority of its own")?;
        Ok((running.address().port(), own))
    }

    /// What issues tokens for invites, as the gate's configuration writes it.
    pub fn issuer(&self) -> &Value {
        &self.issuer
    }

    /// A module's document: what is shipped, the base, this world, the scenario.
    pub fn module(&self, name: &str, mut document: Value, scenario: Option<&Value>) -> Value {
        // A table of the base stands instead of the shipped one.
        if let Some(base) = self.base.modules.get(name) {
            for key in ["upstreams", "bindings"] {
                if base.get(key).is_some() {
                    document[key] = Value::Null;
                }
            }
            merge(&mut document, base);
        }
        merge(&mut document, &self.overlay);
        if let Some(scenario) = scenario {
            merge(&mut document, scenario);
        }
        invites::own_issuer(&mut document, &self.issuer);
        document
    }

    fn store_credentials(&self, shipped: &dyn Fn(&str) -> Value, now: UnixMillis) -> Result<()> {
        let gate = self.module("gate", shipped("gate"), None);
        let gate = config::gate::Config::parse(gate.to_string().as_bytes())?;
        for (name, credential) in &self.base.credentials {
            let own = credential.binding.iter().chain(&credential.bindings).cloned();
            let own: Vec<Binding> = own.map(Binding::try_from).collect::<Result<_, _>>()?;
            let bound = gate.bindings.iter().filter(|b| b.credential().as_str() == name);
            let bindings = bound.chain(own.iter());
            let bindings = bindings.map(|binding| store::Binding::new(binding.canonical()));
            let request = store::Request {
                credential: name.clone(),
                description: String::new(),
                expected: store::Expected::Absent,
                not_after: None,
                fields: credential
                    .values()
                    .map(|(name, value)| (name.to_owned(), Secret::new(value.into())))
                    .collect(),
                bindings: bindings.collect(),
                guard: credential.guard()?,
                minted: None,
            };
            if credential.vault {
                let operator = self.operator(&credential.tenant)?;
                vault::put(&self.backend, operator, &request, now)?;
                continue;
            }
            let operator = self.operator(&credential.tenant)?;
            let answer = operator.ask(&self.backend, &Message::Store(request), now)?;
            ensure!(matches!(answer, Answer::Store(_)), "credential {name} was not stored");
        }
        Ok(())
    }

    /// Stores another value of a credential that has a binding of its own.
    pub fn change(&self, name: &str, value: &str, now: UnixMillis) -> Result<()> {
        let credential = self.base.credentials.get(name).context("no such credential")?;
        let binding = Binding::try_from(credential.binding.clone().context("no binding")?)?;
        let request = store::Request {
            credential: name.to_owned(),
            description: String::new(),
            expected: store::Expected::Any,
            not_after: None,
            fields: vec![(String::new(), Secret::new(value.as_bytes().to_vec()))],
            bindings: vec![store::Binding::new(binding.canonical())],
            guard: credential.guard()?,
            minted: None,
        };
        let operator = self.operator(&credential.tenant)?;
        let answer = operator.ask(&self.backend, &Message::Store(request), now)?;
        ensure!(matches!(answer, Answer::Store(_)), "credential {name} was not changed");
        Ok(())
    }

    fn operator(&self, tenant: &str) -> Result<&Party> {
        self.operators.get(tenant).with_context(|| format!("no operator of {tenant}"))
    }

    /// Creates the keys of a scenario, in the states it wants them in.
    pub fn seed(&self, named: &Named, now: UnixMillis) -> Result<()> {
        let kinds = named.scenario.seed.evidence.clone();
        self.backend.stage.set(|shows| shows.kinds = kinds);
        self.backend.stand.set_feed(Kind::Well);
        self.notes().minted = minted::Seen::default();
        self.notes().issued = invites::Issued::default();
        self.notes().approvals = approvals::Seen::default();
        self.authorise(named, &[], now)?;
        for (name, seed) in &named.scenario.seed.invites {
            self.invite(named, name, seed, now).with_context(|| format!("invite {name}"))?;
        }
        for (name, seed) in &named.scenario.seed.keys {
            let key = || format!("{}: key {name}", named.name);
            self.notes().keys.extend(keys::text(&named.name, name, seed));
            self.create(named, name, seed, now).with_context(key)?;
        }
        let opaque = named.scenario.seed.tokens.iter().filter(|(_, seed)| seed.opaque);
        for (name, seed) in opaque {
            let claims = issuer::claims(seed, named.scenario.seed.thumbprint(seed)?);
            let text = introspection::text(&named.name, name);
            self.backend.introspection.know(text, seed, claims);
        }
        self.backend.introspection.take_asked();
        Ok(())
    }

    /// The introspection endpoint says something else of these tokens from now on.
    pub fn change_answers(&self, named: &Named, answers: &BTreeMap<String, Value>) {
        for (name, overlay) in answers {
            let text = introspection::text(&named.name, name);
            self.backend.introspection.change(&text, overlay);
        }
    }

    fn create(&self, named: &Named, name: &str, seed: &KeySeed, now: UnixMillis) -> Result<()> {
        if seed.state == KeyState::Unknown {
            return Ok(());
        }
        let operator = self.operator(&seed.tenant)?;
        // A key that has expired was made while its end was still ahead.
        let end = UnixMillis(now.0.saturating_sub(1000));
        let expired = (seed.state == KeyState::Expired).then_some(end);
        let then = expired.map_or(now, |end| UnixMillis(end.0.saturating_sub(1000)));
        let body = keys::new_key(&named.name, name, seed, expired)?;
        operator.operate(&self.backend, "/api/v1/keys", &body, then)?;
        if seed.state == KeyState::Revoked {
            self.revoke(named, name, now)?;
        }
        Ok(())
    }

    fn invite(&self, named: &Named, name: &str, seed: &InviteSeed, now: UnixMillis) -> Result<()> {
        self.notes().keys.extend(invites::text(&named.name, name));
        if seed.state == KeyState::Unknown {
            return Ok(());
        }
        let expired = seed.state == KeyState::Expired;
        let (then, end) = match expired {
            true => {
                (UnixMillis(now.0.saturating_sub(2000)), UnixMillis(now.0.saturating_sub(1000)))
            }
            false => (now, now.after(std::time::Duration::from_secs(3600))),
        };
        let body = invites::new_invite(&named.name, name, seed, end)?;
        self.operator(&seed.tenant)?.operate(&self.backend, "/api/v1/invites", &body, then)?;
        if seed.state == KeyState::Revoked {
            self.revoke(named, &format!("invite:{name}"), now)?;
        }
        Ok(())
    }

    /// Takes a key back, an invite (`invite:NAME`), or `KIND:ID` of the gateway's tenant.
    pub fn revoke(&self, named: &Named, name: &str, now: UnixMillis) -> Result<()> {
        if let Some(name) = name.strip_prefix("invite:") {
            let seed = named.scenario.seed.invites.get(name).context("no such invite")?;
            let path = format!("/api/v1/invites/{}/revoke", invites::id(&named.name, name));
            return self.operator(&seed.tenant)?.operate(&self.backend, &path, b"", now);
        }
        if let Some((kind, id)) = name.split_once(':') {
            let id = match (kind, id.parse()) {
                ("approval", Ok(number)) => self.notes().approvals.known(number)?.to_owned(),
                _ => id.to_owned(),
            };
            let body = serde_json::json!({"kind": kind, "id": id}).to_string();
            let operator = self.operator(TENANTS[0])?;
            return operator.operate(&self.backend, "/api/v1/revocations", body.as_bytes(), now);
        }
        let seed = named.scenario.seed.keys.get(name).context("no such key")?;
        let path = format!("/api/v1/keys/{}/revoke", keys::id(&named.name, name).as_str());
        self.operator(&seed.tenant)?.operate(&self.backend, &path, b"", now)
    }

    /// Holds gateways of the tenant to these sets, and to no other of the scenario.
    pub fn authorise(&self, named: &Named, sets: &[Authorised], now: UnixMillis) -> Result<()> {
        let before = std::mem::take(&mut self.notes().sets);
        let operator = self.operator(TENANTS[0])?;
        let document = |name: &str, shipped: &Value| {
            self.module(name, shipped.clone(), named.scenario.config.get(name))
        };
        let [gate, credential] = &self.shipped;
        let (gate, credential) = (document("gate", gate), document("credential", credential));
        for name in before {
            let body = serde_json::json!({"name": name, "last": true}).to_string();
            let asked = ("DELETE", gateway_sets::PATH);
            operator.operated(&self.backend, asked, body.as_bytes(), now)?;
        }
        for set in sets {
            let body = set.request(&gate, &credential)?;
            operator.operate(&self.backend, gateway_sets::PATH, &body, now)?;
            self.notes().sets.push(set.name.clone());
        }
        Ok(())
    }

    /// An operator of the gateway's tenant decides about an approval that came up.
    pub fn decide(&self, ruling: &Ruling, now: UnixMillis) -> Result<()> {
        let (path, body) = ruling.request(self.notes().approvals.known(ruling.approval)?);
        self.operator(TENANTS[0])?.operate(&self.backend, &path, &body, now)
    }

    /// The same, about the approval of this id.
    pub fn approve(&self, id: &str, now: UnixMillis) -> Result<()> {
        let ruling = Ruling { approval: 1, verdict: approvals::Verdict::Approve, grant: None };
        let (path, body) = ruling.request(id);
        self.operator(TENANTS[0])?.operate(&self.backend, &path, &body, now)
    }

    /// Takes a revocation of the gateway's tenant back.
    pub fn restore(&self, kind: &str, id: &str, now: UnixMillis) -> Result<()> {
        let body = serde_json::json!({"kind": kind, "id": id}).to_string();
        let asked = ("DELETE", "/api/v1/revocations");
        let operator = self.operator(TENANTS[0])?;
        operator.operated(&self.backend, asked, body.as_bytes(), now).map(drop)
    }

    /// Revokes the gateway.
    pub fn revoke_gateway(&self, now: UnixMillis) -> Result<()> {
        let id = self.overlay["key_service"]["gateway_id"].as_str().context("gateway")?;
        let path = format!("/api/v1/gateways/{id}/revoke");
        self.operator(TENANTS[0])?.operate(&self.backend, &path, b"", now)
    }

    /// The edge records that arrived since the last call, the exact bytes of each; those
    /// that only open a chain are left out.
    pub fn take_records(&self) -> Result<Vec<Vec<u8>>> {
        let mut notes = self.notes();
        let rows: Vec<(i64, Vec<u8>)> = self.backend.runtime.block_on(async {
            let query = "SELECT n, bytes FROM audit_events WHERE n > $1 ORDER BY n";
            sqlx::query_as(query).bind(notes.event).fetch_all(&self.pool).await
        })?;
        let mut records = Vec::new();
        for (n, bytes) in rows {
            notes.event = n;
            let event: Value = serde_json::from_slice(&bytes)?;
            let record = event["record"].as_str().filter(|_| event["kind"] == "request");
            let opens = |record: &&str| record.contains("\"kind\":\"chain_started\"");
            records.extend(record.filter(|r| !opens(r)).map(|r| r.as_bytes().to_vec()));
        }
        Ok(records)
    }

    /// Writes numbers for the random names of an observation.
    pub fn number(&self, mut seen: Observation) -> Observation {
        let mut notes = self.notes();
        notes.minted.settle(&mut seen);
        notes.issued.settle(&mut seen);
        notes.approvals.settle(&mut seen);
        drop(notes);
        seen
    }

    /// Every API key of the scenarios so far.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.notes().keys.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names as a scenario's templates use them.
    pub fn names<'a>(&'a self, named: &'a Named) -> Known<'a> {
        self.names_at(named, crate::run::now())
    }

    /// The same, as of another moment.
    pub fn names_at<'a>(&'a self, named: &'a Named, now: UnixMillis) -> Known<'a> {
        Known { base: &self.base, named, now, notes: &self.notes }
    }
}

fn open(folder: &Path, base: &Base, now: UnixMillis) -> Result<(Backend, SqlitePool)> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stage = staged::Stage::default();
    let staged = Arc::new(staged::Staged::new(stage.clone()));
    let vaults = vault::start(&base.credentials, folder)?;
    let genuine = Config { vaults, ..Config::local(&folder.join("keys")) };
    let genuine = runtime.block_on(Service::open_with(&genuine, staged, now));
    let impostor = runtime.block_on(Service::open(&Config::local(&folder.join("impostor")), now));
    let (genuine, impostor) =
        (genuine.map_err(anyhow::Error::msg)?, impostor.map_err(anyhow::Error::msg)?);
    let rows = SqliteConnectOptions::new().filename(folder.join("keys/keys.sqlite"));
    let pool = runtime.block_on(SqlitePool::connect_with(rows));
    let stand = Stand::default();
    let issuer = issuer::Issuer::default();
    let introspection = introspection::Introspection::default();
    let policies = Policies::default();
    Ok((
        Backend { runtime, genuine, impostor, stage, stand, issuer, introspection, policies },
        pool.map_err(anyhow::Error::msg)?,
    ))
}

fn shared_key(name: &str) -> (String, String) {
    let key = keys::derive(&format!("{name} {}", std::process::id()));
    (format!("POSTERN_{name}_KEY"), URL_SAFE_NO_PAD.encode(key))
}

/// Keys and secrets of one scenario.
pub struct Known<'a> {
    base: &'a Base,
    named: &'a Named,
    now: UnixMillis,
    notes: &'a Mutex<Notes>,
}

impl Names for Known<'_> {
    fn key(&self, name: &str) -> Option<Vec<u8>> {
        keys::text(&self.named.name, name, self.named.scenario.seed.keys.get(name)?)
    }

    fn token(&self, name: &str) -> Option<Vec<u8>> {
        let seeds = &self.named.scenario.seed;
        let seed = seeds.tokens.get(name)?;
        if seed.opaque {
            return Some(introspection::text(&self.named.name, name).into_bytes());
        }
        let token = issuer::token(seed, seeds.thumbprint(seed).ok()?, self.now);
        token.ok().map(String::into_bytes)
    }

    fn secret(&self, name: &str) -> Option<Vec<u8>> {
        let (name, field) = name.split_once('.').unwrap_or((name, ""));
        let mut values = self.base.credentials.get(name)?.values();
        values.find(|(have, _)| *have == field).map(|(_, value)| value.into())
    }

    fn invite(&self, name: &str) -> Option<Vec<u8>> {
        self.named.scenario.seed.invites.get(name)?;
        invites::text(&self.named.name, name)
    }

    fn nonce(&self, number: usize) -> Option<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.issued.nonce(number).map(str::to_owned)
    }

    fn approval(&self, number: usize) -> Option<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.approvals.id(number).map(str::to_owned)
    }

    fn issued(&self, number: usize) -> Option<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.issued.token(number).map(str::to_owned)
    }

    fn minted(&self, number: &str) -> Option<Vec<u8>> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.minted.part(number).map(|part| part.as_bytes().to_vec())
    }
}
