//! A tenant with a gateway and an operator, and the asking side of every message.
#![allow(dead_code, clippy::unwrap_used)]

pub mod approvals;
pub mod hardware;
pub mod postgres;

use ed25519_dalek::SigningKey;
use postern_core::api_key::KeyId;
use postern_core::binding::{Binding, Wire};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::evidence::{Evidence, Seen, Trust, appraise};
use postern_crp::exchange::{Asker, Awaiting, ask};
use postern_crp::message::{Answer, Message, Status, directory, enrol, release, store};
use postern_crp::{Identity, Role};
use postern_keys::admin::NewKey;
use postern_keys::config::{Database, People};
use postern_keys::operator_auth::{self, Claim};
use postern_keys::store::api_keys::Grant;
use postern_keys::{Config, HttpAnswer, Service};
use sqlx::AnyPool;
use tempfile::TempDir;

/// Middle of an epoch.
pub const NOW: UnixMillis = UnixMillis(1_795_332_600_000);

pub fn later(ms: u64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

pub fn fresh() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    seed
}

pub struct Party {
    pub seed: [u8; 32],
    pub identity: Identity,
    pub id: [u8; 16],
    pub tenant: String,
}

impl Party {
    pub fn new(tenant: &str) -> Self {
        let seed = fresh();
        let identity = Identity::from_seed(&Secret::new(seed.to_vec())).unwrap();
        Self { seed, identity, id: [0; 16], tenant: tenant.to_owned() }
    }
}

pub struct Tenant {
    pub gate: Party,
    pub credential: Party,
    pub audit: Party,
    pub operator: Party,
}

pub struct World {
    pub dir: TempDir,
    pub config: Config,
    pub service: Service,
}

impl World {
    pub async fn in_memory() -> Self {
        Self::open(|config| config.database = Database::Memory).await
    }

    /// With pages.
    pub async fn with_people() -> Self {
        Self::open(|config| {
            config.database = Database::Memory;
            config.people = Some(People::at("https://approve.example").unwrap());
        })
        .await
    }

    pub async fn on_disk() -> Self {
        Self::open(|_| {}).await
    }

    pub async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::local(&dir.path().join("data"));
        change(&mut config);
        if postgres::is_asked_for() {
            config.database = Database::Postgres(postgres::cluster().await.database().await);
        }
        let service = Service::open(&config, NOW).await.unwrap();
        Self { dir, config, service }
    }

    /// The rows, for whoever may change them all behind the service's back.
    pub async fn database(&self) -> AnyPool {
        let url = match &self.config.database {
            Database::File(path) => format!("sqlite:{}", path.display()),
            Database::Postgres(at) => postgres::cluster().await.superuser(&at.name),
            Database::Memory => panic!("in memory"),
        };
        AnyPool::connect(&url).await.unwrap()
    }

    /// Another replica: the same keys, a folder of its own.
    pub async fn replica(&self, name: &str) -> Service {
        let mut config = self.config.clone();
        config.data_dir = self.dir.path().join(name);
        std::fs::create_dir(&config.data_dir).unwrap();
        for file in ["kek.key", "sim.key"] {
            std::fs::copy(self.config.data_dir.join(file), config.data_dir.join(file)).unwrap();
        }
        Service::open(&config, NOW).await.unwrap()
    }

    /// Whether the rows are in PostgreSQL.
    pub fn on_postgres(&self) -> bool {
        matches!(self.config.database, Database::Postgres(_))
    }

    pub async fn evidence(&self, now: UnixMillis) -> Evidence {
        let document = self.service.evidence(None, now).await.body;
        let trust = Trust::Simulated(self.service.sim_key().unwrap());
        appraise(&document, &trust, Seen::default(), now).unwrap()
    }

    /// Seals a message as `party`.
    pub async fn sealed(
        &self,
        party: &Party,
        message: &Message,
        now: UnixMillis,
    ) -> (Vec<u8>, Awaiting) {
        let asker =
            Asker { identity: &party.identity, gateway_id: party.id, tenant: &party.tenant, now };
        ask(&self.evidence(now).await, &asker, message, &fresh()).unwrap()
    }

    /// Asks and opens the answer; the service's clock is `now` too.
    pub async fn ask(&self, party: &Party, message: &Message, now: UnixMillis) -> Answer {
        let (body, awaiting) = self.sealed(party, message, now).await;
        let reply = self.service.message(&body, now).await;
        assert_eq!(reply.status, 200);
        awaiting.open(&reply.body).unwrap()
    }

    pub async fn enrol(&self, token: Secret, role: Role, tenant: &str) -> Party {
        let mut party = Party::new("");
        let message = enrolment(token, role, &party);
        match self.ask(&party, &message, NOW).await {
            Answer::Enrol(answer) => {
                assert_eq!(answer.tenant, tenant);
                party.id = answer.gateway_id;
                party.tenant = answer.tenant;
                party
            }
            _ => panic!("not enrolled"),
        }
    }

    pub async fn tenant(&self, name: &str) -> Tenant {
        let (gateway, operator) = self.service.mint(name, NOW).await.unwrap();
        Tenant {
            gate: self.enrol(gateway.gate, Role::Gate, name).await,
            credential: self.enrol(gateway.credential, Role::Credential, name).await,
            audit: self.enrol(gateway.audit, Role::Audit, name).await,
            operator: self.enrol(operator.token, Role::Operator, name).await,
        }
    }

    pub async fn put(&self, tenant: &Tenant, value: &[u8], now: UnixMillis) {
        let message = Message::Store(storing(&tenant.operator.tenant, value));
        assert!(matches!(self.ask(&tenant.operator, &message, now).await, Answer::Store(_)));
    }

    pub async fn release(
        &self,
        party: &Party,
        request: release::Request,
        now: UnixMillis,
    ) -> release::Answer {
        match self.ask(party, &Message::Release(request), now).await {
            Answer::Release(answer) => answer,
            _ => panic!("not a release"),
        }
    }

    pub async fn operate(
        &self,
        party: &Party,
        method: &str,
        path: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> HttpAnswer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = operator_auth::Request { method, authority: "keys", path, query, body };
        let fields = operator_auth::sign(&request, &claim(party, now), &signing(party));
        self.service.operator_request(&request, Some(&fields), now).await
    }

    pub async fn api_key(&self, tenant: &Tenant, id: &str, user: &str, now: UnixMillis) -> u16 {
        let body = serde_json::to_vec(&new_key(id, user)).unwrap();
        self.operate(&tenant.operator, "POST", "/api/v1/keys", &body, now).await.status
    }

    pub async fn look_up(&self, party: &Party, ids: &[&str], now: UnixMillis) -> directory::Answer {
        let ids = ids.iter().map(|id| KeyId::new(id.as_bytes()).unwrap()).collect();
        match self.ask(party, &Message::Directory(directory::Request { ids }), now).await {
            Answer::Directory(answer) => answer,
            _ => panic!("no directory answer"),
        }
    }

    pub async fn export(&self, tenant: &Tenant, now: UnixMillis) -> String {
        let answer = self.operate(&tenant.operator, "GET", "/audit/export", b"", now).await;
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).unwrap()
    }
}

pub fn signing(party: &Party) -> SigningKey {
    SigningKey::from_bytes(&party.seed)
}

pub fn claim(party: &Party, now: UnixMillis) -> Claim {
    let nonce = fresh()[..16].try_into().unwrap();
    Claim { operator: party.id, created: now.seconds(), nonce }
}

pub fn enrolment(token: Secret, role: Role, party: &Party) -> Message {
    let public_key = party.identity.public_key();
    Message::Enrol(enrol::Request { join_token: token, role, public_key, label: "test".into() })
}

pub fn binding(tenant: &str) -> Binding {
    let wire: Wire = serde_json::from_value(serde_json::json!({
        "credential": "slack", "tenant": tenant, "authority": "slack.com",
        "methods": ["GET", "POST"], "paths": ["/api/**"],
        "site": {"header": "Authorization", "style": "bearer"},
    }))
    .unwrap();
    Binding::try_from(wire).unwrap()
}

pub fn storing(tenant: &str, value: &[u8]) -> store::Request {
    store::Request {
        credential: "slack".into(),
        description: "bot token".into(),
        expected: store::Expected::Any,
        not_after: None,
        fields: vec![(String::new(), Secret::new(value.to_vec()))],
        bindings: vec![store::Binding::new(binding(tenant).canonical())],
        guard: store::Guard::default(),
        minted: None,
    }
}

pub fn releasing(tenant: &str) -> release::Request {
    release::Request {
        agent: "helper".into(),
        credential: "slack".into(),
        host: "slack.com:443".into(),
        method: "POST".into(),
        caller_hash: [1; 32],
        capability: Vec::new(),
        request_digest: [2; 32],
        approval: None,
        path: "/api/chat.postMessage".into(),
        binding_hash: binding(tenant).hash(),
        module_digest: None,
        policy_hash: None,
    }
}

pub fn new_key(id: &str, user: &str) -> NewKey {
    NewKey {
        id: id.into(),
        salt: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        hash: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into(),
        grant: Grant {
            user: user.into(),
            organisation: "acme".into(),
            agent: "helper".into(),
            scopes: vec!["documents:read".into()],
            roles: vec!["AGENT".into()],
            trust: "observer".into(),
            clearance: None,
            platform: Some("cursor".into()),
            not_after: None,
        },
    }
}

/// The contents of an export's events.
pub fn logged(export: &str) -> String {
    use base64::Engine;
    let bytes = export.lines().filter_map(|line| line.split("\"bytes\":\"").nth(1));
    let bytes = bytes.filter_map(|rest| rest.split('"').next());
    let bytes = bytes.map(|text| base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).unwrap());
    bytes.map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

/// What a refusal of any type says.
pub fn status(answer: &Answer) -> Status {
    match answer {
        Answer::Release(answer) => answer.status,
        Answer::Denied(status) => *status,
        _ => Status::Ok,
    }
}

/// Takes away what keeps the log append-only, as whoever holds the database can.
pub async fn let_log_be_bent(pool: &AnyPool) {
    let mut db = pool.acquire().await.unwrap();
    let on_postgres = db.backend_name() == "PostgreSQL";
    let find = if on_postgres {
        "SELECT tgname || ' ON ' || tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
    } else {
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    };
    let triggers: Vec<(String,)> = sqlx::query_as(find).fetch_all(&mut *db).await.unwrap();
    assert_eq!(triggers.len(), 6);
    for (name,) in triggers {
        let drop = format!("DROP TRIGGER {name}");
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut *db).await.unwrap();
    }
}

/// Runs `statement`, written for SQLite, on either store.
pub async fn edit(pool: &AnyPool, statement: &str) {
    for statement in statement.split("; ") {
        let done = run(pool, statement).await;
        let rows = done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(rows > 0, "{statement}");
    }
}

/// Tries to; how many rows it changed.
pub async fn run(pool: &AnyPool, statement: &str) -> Result<u64, sqlx::Error> {
    let mut db = pool.acquire().await?;
    let text = match db.backend_name() {
        "PostgreSQL" => on_postgres(statement),
        _ => statement.to_owned(),
    };
    Ok(sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut *db).await?.rows_affected())
}

/// Bytes are written and cast in another way there.
fn on_postgres(statement: &str) -> String {
    let text = statement
        .replace("INSERT OR REPLACE INTO", "INSERT INTO")
        .replace("x'", "'\\x")
        .replace(" AS BLOB)", " AS BYTEA)");
    // A cast to BYTEA reads an escape form, which plain text is too.
    text.replace("CAST(bytes AS TEXT)", "convert_from(bytes, 'UTF8')")
        .replace("CAST(policy AS TEXT)", "convert_from(policy, 'UTF8')")
}
