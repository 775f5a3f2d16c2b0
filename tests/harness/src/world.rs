//! What a run starts from: the base file, two key services (the genuine one and an
//! impostor) and an enrolled gateway.
//!
//! Credentials are stored by sealed messages, as an operator stores them; identities are
//! enrolled by sealed messages; API keys are written as the service writes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::api_key::{ALPHABET, KeyId, SECRET_LENGTH, StoredKey, assemble};
use postern_core::binding::Binding;
use postern_core::config;
use postern_core::secret::Secret;
use postern_core::time::{Entropy, UnixMillis};
use postern_crp::evidence::{Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message, enrol, store};
use postern_crp::{Identity, Role};
use postern_keys::store::api_keys;
use postern_keys::{Config, Service};
use postern_rig::envoy::merge;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqlitePool;
use tokio::runtime::Runtime;

use crate::faults::{Exchange, Outcome, Service as Which, Stand};
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
    /// Value.
    pub value: String,
    /// Its binding, where the gate of this base has none for it.
    pub binding: Option<postern_core::binding::Wire>,
}

/// The tenant of the gateway.
pub const TENANT: &str = "acme";
const OTHER_TENANT: &str = "globex";

/// Both key services and what stands before them. Shared with the server's threads.
pub struct Backend {
    runtime: Runtime,
    genuine: Service,
    impostor: Service,
    /// The fault of the moment.
    pub stand: Stand,
}

impl Backend {
    /// One exchange with whoever answers now.
    pub fn exchange(&self, path: &str, body: &[u8], now: UnixMillis) -> Outcome {
        let exchange = Exchange::of(path, body);
        self.stand.decide(exchange, |which| {
            let service = match which {
                Which::Genuine => &self.genuine,
                Which::Impostor => &self.impostor,
            };
            let answer = self.runtime.block_on(async {
                match exchange {
                    Exchange::Evidence => service.evidence(None, now).await,
                    _ => service.message(body, now).await,
                }
            });
            (answer.status, answer.body)
        })
    }
}

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
    /// Data folder of the genuine service.
    pub folder: tempfile::TempDir,
    pool: SqlitePool,
    seen: Mutex<i64>,
}

impl World {
    /// Opens the services and enrols the gateway; `module` gives the shipped
    /// configuration of a module.
    pub fn new(folder: &Path, shipped: &dyn Fn(&str) -> Value, now: UnixMillis) -> Result<Self> {
        let base = std::fs::read_to_string(folder.join("base.yaml")).context("base.yaml")?;
        let base: Base = serde_saphyr::from_str(&base).context("base.yaml")?;
        let folder = tempfile::tempdir()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let open = |name: &str| {
            let config = Config::local(&folder.path().join(name));
            runtime.block_on(Service::open(&config, now)).map_err(anyhow::Error::msg)
        };
        let (genuine, impostor) = (open("keys")?, open("impostor")?);
        let database = Config::local(&folder.path().join("keys")).database;
        let pool =
            runtime.block_on(postern_keys::store::open(&database)).map_err(anyhow::Error::msg)?;
        let mint = |tenant| runtime.block_on(genuine.mint(tenant, now)).map_err(anyhow::Error::msg);
        let (tokens, ours) = mint(TENANT)?;
        let (_, theirs) = mint(OTHER_TENANT)?;
        let sim = genuine.sim_key();
        let stand = Stand::default();
        let backend = Arc::new(Backend { runtime, genuine, impostor, stand });
        let caller = Caller { backend: &backend, sim, now };
        let mut environment = Vec::new();
        for (role, token) in [
            (Role::Gate, tokens.gate),
            (Role::Credential, tokens.credential),
            (Role::Audit, tokens.audit),
        ] {
            let seed = caller.enrol(role, token)?;
            let name = format!("POSTERN_{}_KEY", role.name().to_uppercase());
            environment.push((name, URL_SAFE_NO_PAD.encode(seed)));
        }
        for (name, label) in [("POSTERN_PERMIT_KEY", "permit"), ("POSTERN_SHARED_KEY", "shared")] {
            environment.push((name.to_owned(), URL_SAFE_NO_PAD.encode(derive(label))));
        }
        let mut operators = BTreeMap::new();
        for (tenant, operator) in [(TENANT, ours), (OTHER_TENANT, theirs)] {
            let seed = caller.enrol(Role::Operator, operator.token)?;
            operators.insert(tenant.to_owned(), (operator.operator_id, seed));
        }
        let overlay = serde_json::json!({
            "key_service": {"gateway_id": hex(&tokens.gateway_id)},
            "danger_allow_simulated": {"key": URL_SAFE_NO_PAD.encode(sim)},
        });
        let world = Self {
            backend: Arc::clone(&backend),
            base,
            environment,
            overlay,
            folder,
            pool,
            seen: Mutex::new(0),
        };
        world.store_credentials(&caller, &operators, shipped)?;
        world.take_records()?;
        Ok(world)
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
        document
    }

    fn store_credentials(
        &self,
        caller: &Caller<'_>,
        operators: &BTreeMap<String, ([u8; 16], [u8; 32])>,
        shipped: &dyn Fn(&str) -> Value,
    ) -> Result<()> {
        let gate = self.module("gate", shipped("gate"), None);
        let gate = config::gate::Config::parse(gate.to_string().as_bytes())?;
        for (name, credential) in &self.base.credentials {
            let own = credential.binding.clone().map(Binding::try_from).transpose()?;
            let bound = gate.bindings.iter().filter(|b| b.credential().as_str() == name);
            let bindings = bound.chain(own.iter());
            let bindings = bindings.map(|binding| store::Binding::new(binding.canonical()));
            let operator = operators.get(&credential.tenant);
            let (operator_id, seed) = operator.context("a tenant without an operator")?;
            let request = store::Request {
                credential: name.clone(),
                description: String::new(),
                expected: store::Expected::Absent,
                not_after: None,
                fields: vec![(String::new(), Secret::new(credential.value.clone().into_bytes()))],
                bindings: bindings.collect(),
            };
            let identity = Identity::from_seed(&Secret::new(seed.to_vec()))?;
            let asker = Asker {
                identity: &identity,
                gateway_id: *operator_id,
                tenant: &credential.tenant,
                now: caller.now,
            };
            let answer = caller.ask(&asker, &Message::Store(request))?;
            ensure!(matches!(answer, Answer::Store(_)), "credential {name} was not stored");
        }
        Ok(())
    }

    /// Writes the keys of a scenario.
    pub fn seed(&self, named: &Named, now: UnixMillis) -> Result<()> {
        for (name, seed) in &named.scenario.seed.keys {
            let (id, _) = parts(&named.name, name);
            let key = self.backend.runtime.block_on(self.add(named, name, seed, now));
            key.with_context(|| format!("{}: key {name} ({})", named.name, id.as_str()))?;
        }
        Ok(())
    }

    async fn add(&self, named: &Named, name: &str, seed: &KeySeed, now: UnixMillis) -> Result<()> {
        if seed.state == KeyState::Unknown {
            return Ok(());
        }
        let (id, mut secret) = parts(&named.name, name);
        if seed.state == KeyState::Mismatch {
            secret.reverse();
        }
        let key = assemble(&seed.prefix, &id, &secret).context("key")?;
        let stored = StoredKey::of(derive16(&format!("{}/{name}", named.name)), &key);
        let grant = api_keys::Grant {
            user: named.name.clone(),
            organisation: "research".into(),
            agent: seed.agent.clone(),
            scopes: seed.scopes.clone(),
            roles: Vec::new(),
            trust: "collaborator".into(),
            clearance: None,
            platform: None,
            not_after: (seed.state == KeyState::Expired).then(|| now.0.saturating_sub(1000)),
        };
        let mut db = self.pool.acquire().await?;
        let rows = self.backend.genuine.row_keys();
        let added = api_keys::add(&mut db, rows, &seed.tenant, &id, &stored, &grant, now).await;
        ensure!(added.map_err(anyhow::Error::msg)?, "not added");
        if seed.state == KeyState::Revoked {
            api_keys::revoke(&mut db, rows, &seed.tenant, id.as_str(), now)
                .await
                .map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    /// Takes a key back.
    pub fn revoke(&self, named: &Named, name: &str, now: UnixMillis) -> Result<()> {
        let seed = named.scenario.seed.keys.get(name).context("no such key")?;
        let (id, _) = parts(&named.name, name);
        let done = self.backend.runtime.block_on(async {
            let mut db = self.pool.acquire().await?;
            let rows = self.backend.genuine.row_keys();
            let done = api_keys::revoke(&mut db, rows, &seed.tenant, id.as_str(), now).await;
            done.map_err(anyhow::Error::msg)
        })?;
        ensure!(done, "key {name} was not revoked");
        Ok(())
    }

    /// The edge records that arrived since the last call, the exact bytes of each; those
    /// that only open a chain are left out.
    pub fn take_records(&self) -> Result<Vec<Vec<u8>>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<(i64, Vec<u8>)> = self.backend.runtime.block_on(async {
            let query = "SELECT n, bytes FROM audit_events WHERE n > ? ORDER BY n";
            sqlx::query_as(query).bind(*seen).fetch_all(&self.pool).await
        })?;
        let mut records = Vec::new();
        for (n, bytes) in rows {
            *seen = n;
            let event: Value = serde_json::from_slice(&bytes)?;
            if let (Some("request"), Some(record)) =
                (event["kind"].as_str(), event["record"].as_str())
            {
                let is_start = record.contains("\"kind\":\"chain_started\"");
                if !is_start {
                    records.push(record.as_bytes().to_vec());
                }
            }
        }
        Ok(records)
    }

    /// Names as a scenario's templates use them.
    pub fn names<'a>(&'a self, named: &'a Named) -> Known<'a> {
        Known { base: &self.base, named }
    }
}

/// Keys and secrets of one scenario.
pub struct Known<'a> {
    base: &'a Base,
    named: &'a Named,
}

impl Names for Known<'_> {
    fn key(&self, name: &str) -> Option<Vec<u8>> {
        let seed = self.named.scenario.seed.keys.get(name)?;
        let (id, secret) = parts(&self.named.name, name);
        Some(assemble(&seed.prefix, &id, &secret)?.expose().to_vec())
    }

    fn secret(&self, name: &str) -> Option<Vec<u8>> {
        self.base.credentials.get(name).map(|seed| seed.value.clone().into_bytes())
    }
}

/// Speaks to the genuine service in its own protocol.
struct Caller<'a> {
    backend: &'a Backend,
    sim: [u8; 32],
    now: UnixMillis,
}

impl Caller<'_> {
    fn enrol(&self, role: Role, token: Secret) -> Result<[u8; 32]> {
        let seed = derive(role.name());
        let identity = Identity::from_seed(&Secret::new(seed.to_vec()))?;
        let public_key = identity.public_key();
        let label = role.name().to_owned();
        let request = enrol::Request { join_token: token, role, public_key, label };
        let asker = Asker { identity: &identity, gateway_id: [0; 16], tenant: "", now: self.now };
        match self.ask(&asker, &Message::Enrol(request))? {
            Answer::Enrol(_) => Ok(seed),
            _ => bail!("{} was not enrolled", role.name()),
        }
    }

    fn ask(&self, asker: &Asker<'_>, message: &Message) -> Result<Answer> {
        let Outcome::Answer(200, document) =
            self.backend.exchange("/crp/v1/evidence", b"", self.now)
        else {
            bail!("no evidence");
        };
        let trust = Trust { simulated: Some(self.sim) };
        let evidence = appraise(&document, &trust, 0, self.now)?;
        let (body, awaiting) = ask(&evidence, asker, message, &entropy().0)?;
        let Outcome::Answer(200, reply) = self.backend.exchange("/crp/v1/message", &body, self.now)
        else {
            bail!("no answer");
        };
        Ok(awaiting.open(&reply)?)
    }
}

/// Id and secret of a key: the same on every boundary, different in every scenario.
fn parts(scenario: &str, name: &str) -> (KeyId, [u8; SECRET_LENGTH]) {
    let base62 = |byte: &u8| ALPHABET[usize::from(byte % 62)];
    let digest = |part: &str| derive(&format!("{scenario}/{name}/{part}"));
    let id: Vec<u8> = digest("id").iter().take(8).map(base62).collect();
    let mut secret = [b'0'; SECRET_LENGTH];
    let bytes = digest("first").into_iter().chain(digest("second"));
    secret.iter_mut().zip(bytes).for_each(|(to, from)| *to = base62(&from));
    let id = KeyId::new(&id).unwrap_or_else(|| unreachable!("eight base62 characters"));
    (id, secret)
}

fn derive(label: &str) -> [u8; 32] {
    Sha256::digest(format!("postern harness\0{label}")).into()
}

fn derive16(label: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(derive(label)).for_each(|(to, from)| *to = from);
    short
}

/// Never the same twice in a process; tests need no more.
pub fn entropy() -> Entropy {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Entropy(derive(&format!("entropy {} {count}", std::process::id())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
