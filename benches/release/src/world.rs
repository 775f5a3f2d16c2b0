//! A database with one tenant, its gateway and a credential; and messages sealed by that gateway.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use postern_core::binding::{Binding, Wire};
use postern_core::secret::Secret;
use postern_crp::evidence::{Evidence, Seen, Trust, appraise};
use postern_crp::exchange::{Asker, Awaiting, ask};
use postern_crp::message::{Answer, Message, Status, enrol, release, store};
use postern_crp::{Identity, Role};
use postern_keys::config::Database;
use postern_keys::{Config, Service, http, tls};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::postgres::Cluster;
use crate::server::Server;

/// Threads that seal.
const SEALERS: usize = 2;
/// A credential's value.
const VALUE: &[u8] = b"xoxb-1234567890-abcdefghijklmnopqrst";

/// A message, and what opens its answer.
pub type Sealed = (Vec<u8>, Awaiting);

/// Where rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// One file.
    Sqlite,
    /// A server beside the service.
    Postgres,
}

impl Store {
    /// As lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// What a commit is when it is acknowledged.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite, WAL, synchronous=FULL",
            Self::Postgres => "PostgreSQL on a unix socket, fsync=on, synchronous_commit=on",
        }
    }
}

struct Party {
    identity: Identity,
    id: [u8; 16],
    tenant: String,
}

impl Party {
    fn new() -> Result<Self> {
        let identity = Identity::from_seed(&Secret::new(drawn()?.to_vec()))?;
        Ok(Self { identity, id: [0; 16], tenant: String::new() })
    }

    fn sealed(&self, evidence: &Evidence, message: &Message) -> Result<Sealed> {
        let (identity, tenant) = (&self.identity, self.tenant.as_str());
        let asker = Asker { identity, gateway_id: self.id, tenant, now: http::now() };
        Ok(ask(evidence, &asker, message, &drawn()?)?)
    }
}

fn drawn() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("randomness")?;
    Ok(bytes)
}

/// The database, and who asks.
pub struct World {
    gateway: Party,
    evidence: Evidence,
    config: Config,
    dir: TempDir,
    _cluster: Option<Cluster>,
}

impl World {
    /// Makes it; the programs of PostgreSQL are in `programs`.
    pub fn make(store: Store, programs: &Path) -> Result<Self> {
        let runtime = Runtime::new()?;
        let dir = tempfile::tempdir()?;
        let mut config = Config::local(&dir.path().join("data"));
        let mut cluster = None;
        if store == Store::Postgres {
            let started = Cluster::start(programs, &runtime)?;
            config.database = started.database();
            cluster = Some(started);
        }
        let (gateway, evidence) = runtime.block_on(prepared(&config))?;
        Ok(Self { gateway, evidence, config, dir, _cluster: cluster })
    }

    /// A server of this database; several of them are replicas.
    pub fn serve(&self, name: &str) -> Result<Server> {
        let file = self.dir.path().join(format!("{name}.yaml"));
        let database = match &self.config.database {
            Database::Postgres(at) => {
                format!("{at}\npostgres: {{connections: {}}}", at.connections)
            }
            _ => "sqlite:keys.sqlite".to_owned(),
        };
        let yaml = format!("data_dir: data\nlisten: 127.0.0.1:0\ndatabase: {database}\n");
        postern_files::write_atomic(&file, yaml.as_bytes())?;
        Server::start(&file)
    }

    /// The authority of the servers' certificate.
    pub fn authority(&self) -> Result<PathBuf> {
        tls::authority_file(&self.config).context("the service's own authority")
    }

    /// So many releases, each a message of its own.
    pub fn releases(&self, count: usize) -> Result<Vec<Sealed>> {
        let share = count.div_ceil(SEALERS);
        let seal = || -> Result<Vec<Sealed>> {
            let message = Message::Release(releasing()?);
            (0..share).map(|_| self.gateway.sealed(&self.evidence, &message)).collect()
        };
        let parts = std::thread::scope(|scope| {
            let all: Vec<_> = (0..SEALERS).map(|_| scope.spawn(seal)).collect();
            let joined = |one: std::thread::ScopedJoinHandle<'_, Result<Vec<Sealed>>>| {
                one.join().map_err(|_| anyhow::anyhow!("a sealer panicked"))?
            };
            all.into_iter().map(joined).collect::<Result<Vec<_>>>()
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// How many releases the log says there were. Nobody serves meanwhile.
    pub fn released(&self) -> Result<u64> {
        Runtime::new()?.block_on(async {
            let service = Service::open(&self.config, http::now()).await?;
            let report = service.integrity().await?;
            ensure!(report.broken.is_none(), "the audit log is broken: {report:?}");
            service.close(http::now()).await;
            Ok(report.good)
        })
    }
}

/// Whether it is a value, and not a refusal.
pub fn is_released(awaiting: &Awaiting, body: &[u8]) -> Result<bool> {
    match awaiting.open(body)? {
        Answer::Release(answer) => Ok(answer.status == Status::Ok),
        _ => Ok(false),
    }
}

/// Enrols a gateway and an operator, and stores a value.
async fn prepared(config: &Config) -> Result<(Party, Evidence)> {
    let now = http::now();
    let service = Service::open(config, now).await?;
    let trust = Trust::Simulated(service.sim_key().context("simulated evidence")?);
    let document = service.evidence(None, now).await.body;
    let evidence = appraise(&document, &trust, Seen::default(), now)?;
    let (gateway, operator) = service.mint("acme", now).await?;
    let gateway = enrolled(&service, &evidence, gateway.credential, Role::Credential).await?;
    let operator = enrolled(&service, &evidence, operator.token, Role::Operator).await?;
    let stored = Message::Store(storing()?);
    let Answer::Store(_) = asked(&service, &evidence, &operator, &stored).await? else {
        bail!("the value is not stored");
    };
    service.close(now).await;
    Ok((gateway, evidence))
}

async fn enrolled(
    service: &Service,
    evidence: &Evidence,
    join_token: Secret,
    role: Role,
) -> Result<Party> {
    let mut party = Party::new()?;
    let (public_key, label) = (party.identity.public_key(), "bench".to_owned());
    let request = Message::Enrol(enrol::Request { join_token, role, public_key, label });
    let Answer::Enrol(answer) = asked(service, evidence, &party, &request).await? else {
        bail!("not enrolled");
    };
    (party.id, party.tenant) = (answer.gateway_id, answer.tenant);
    Ok(party)
}

async fn asked(
    service: &Service,
    evidence: &Evidence,
    party: &Party,
    message: &Message,
) -> Result<Answer> {
    let (body, awaiting) = party.sealed(evidence, message)?;
    let reply = service.message(&body, http::now()).await;
    Ok(awaiting.open(&reply.body)?)
}

fn binding() -> Result<Binding> {
    let wire: Wire = serde_json::from_value(serde_json::json!({
        "credential": "slack", "tenant": "acme", "authority": "slack.com",
        "methods": ["GET", "POST"], "paths": ["/api/**"],
        "site": {"header": "Authorization", "style": "bearer"},
    }))?;
    Binding::try_from(wire).map_err(|error| anyhow::anyhow!("{error:?}"))
}

fn storing() -> Result<store::Request> {
    Ok(store::Request {
        credential: "slack".to_owned(),
        description: "bot token".to_owned(),
        expected: store::Expected::Any,
        not_after: None,
        fields: vec![(String::new(), Secret::new(VALUE.to_vec()))],
        bindings: vec![store::Binding::new(binding()?.canonical())],
        guard: store::Guard::default(),
        minted: None,
    })
}

fn releasing() -> Result<release::Request> {
    Ok(release::Request {
        agent: "helper".to_owned(),
        credential: "slack".to_owned(),
        host: "slack.com:443".to_owned(),
        method: "POST".to_owned(),
        caller_hash: [1; 32],
        capability: Vec::new(),
        request_digest: [2; 32],
        approval: None,
        path: "/api/chat.postMessage".to_owned(),
        binding_hash: binding()?.hash(),
        module_digest: None,
        policy_hash: None,
    })
}
