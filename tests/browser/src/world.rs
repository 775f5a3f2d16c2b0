//! A key service with its pages, on a free port of this machine, and an operator of it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use postern_core::approvals::{Ask, MOST_CONTENT, Requested};
use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::evidence::{Evidence, Seen, Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message, approval, enrol};
use postern_crp::{Identity, Role};
use postern_keys::config::{Database, People};
use postern_keys::http::{self, Running};
use postern_keys::operator_auth::{self, Claim};
use postern_keys::{Config, Service, tls};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The checkout.
///
/// # Panics
/// Never: this file is two folders below it.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where pictures of the manual are, when they are to be made again (`POSTERN_PICTURES=1`).
pub fn pictures() -> Option<PathBuf> {
    std::env::var_os("POSTERN_PICTURES").map(|_| root().join("host/keys/pictures"))
}

/// A party with an identity at the service.
pub struct Party {
    seed: [u8; 32],
    identity: Identity,
    id: [u8; 16],
    tenant: String,
}

/// A running service.
pub struct World {
    /// Where browsers find it.
    pub origin: String,
    /// Base64 of the SHA-256 of its certificate's key.
    pub key: String,
    service: Service,
    runtime: Runtime,
    running: Option<Running>,
    operator: Party,
    gate: Party,
    _folder: TempDir,
}

/// What the operator's interface answered.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// JSON, or null.
    pub body: Value,
}

impl World {
    /// Starts one with the tenant `acme`.
    ///
    /// # Errors
    /// When no port is free or the service does not start.
    pub fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let folder = tempfile::tempdir()?;
        let mut config = Config::local(&folder.path().join("data"));
        config.database = Database::Memory;
        // The origin has the port, so it is chosen before: whoever takes it in between fails
        // the test, and loudly.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        config.listen = (Ipv4Addr::LOCALHOST, port).into();
        let origin = format!("https://localhost:{port}");
        config.people = Some(People::at(&origin)?);
        let (service, running) = runtime.block_on(async {
            let service = Service::open(&config, http::now()).await?;
            let running = http::start(service.clone(), &config).await?;
            anyhow::Ok((service, running))
        })?;
        let key = tls::key_pin(&config.data_dir.join("tls/server.pem"))?;
        let (gate, operator) = runtime.block_on(parties(&service))?;
        let running = Some(running);
        Ok(Self { origin, key, service, runtime, running, operator, gate, _folder: folder })
    }

    /// A request of the operator.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn operate(&self, method: &str, path: &str, body: &Value) -> Result<Reply> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request =
            operator_auth::Request { method, authority: "keys", path, query: "", body: &body };
        let now = http::now();
        let nonce = fresh::<16>()?;
        let claim = Claim { operator: self.operator.id, created: now.seconds(), nonce };
        let key = ed25519_dalek::SigningKey::from_bytes(&self.operator.seed);
        let fields = operator_auth::sign(&request, &claim, &key);
        let answer =
            self.runtime.block_on(self.service.operator_request(&request, Some(&fields), now));
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(Reply { status: answer.status, body })
    }

    /// Adds a person, and gives the link.
    ///
    /// # Errors
    /// When the service refuses.
    pub fn person(&self, name: &str, role: &str) -> Result<String> {
        let new = serde_json::json!({ "person": name, "organisation": "acme", "role": role });
        let made = self.operate("POST", "/api/v1/people", &new)?;
        ensure!(made.status == 200, "{made:?}");
        made.body.get("link").and_then(Value::as_str).map(str::to_owned).context("link")
    }

    /// Asks for an approval as a gateway does, for the agent `helper` of `ben`; gives its id.
    ///
    /// # Errors
    /// When the service refuses.
    pub fn asks(&self, passkey: bool, path: &str, content: &[u8]) -> Result<String> {
        let field = ("authorization".to_owned(), b"Bearer <CREDENTIAL:slack>".to_vec());
        let requested = Requested {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "slack.com".into(),
            path: path.into(),
            fields: vec![field],
            content_digest: Some(Sha256::digest(content).into()),
            content_length: u64::try_from(content.len())?,
            content: content.get(..MOST_CONTENT).unwrap_or(content).to_vec(),
        };
        let ask = Ask {
            agent: "helper".into(),
            user: "ben".into(),
            organisation: "acme".into(),
            subject_hash: [5; 32],
            passkey,
            life: Duration::from_secs(600),
            named: None,
            requested,
            credentials: vec!["slack".into()],
        };
        let message = Message::Approval(approval::Request::Ask(Box::new(ask)));
        match self.runtime.block_on(self.gate.asked(&self.service, &message, http::now()))? {
            Answer::Approval(answer) => Ok(hex::lower(&answer.standing.id)),
            _ => anyhow::bail!("not asked"),
        }
    }

    /// The kinds of the tenant's events, in their order.
    ///
    /// # Errors
    /// When the export cannot be read.
    pub fn events(&self) -> Result<Vec<Value>> {
        let export = self.runtime.block_on(async {
            let mut export = self.service.export(Some("acme"), None).await?;
            let mut lines = Vec::new();
            while let Some(page) = self.service.export_page(&mut export).await? {
                lines.extend(page);
            }
            anyhow::Ok(lines)
        })?;
        let url = base64::prelude::BASE64_URL_SAFE_NO_PAD;
        let mut events = Vec::new();
        for line in String::from_utf8(export)?.lines().skip(1) {
            let line: Value = serde_json::from_str(line)?;
            if let Some(bytes) = line.get("bytes").and_then(Value::as_str) {
                events.push(serde_json::from_slice(&url.decode(bytes)?)?);
            }
        }
        Ok(events)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

fn fresh<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(bytes)
}

async fn parties(service: &Service) -> Result<(Party, Party)> {
    let now = http::now();
    let (gateway, operator) = service.mint("acme", now).await?;
    let gate = enrolled(service, gateway.gate, Role::Gate, now).await?;
    Ok((gate, enrolled(service, operator.token, Role::Operator, now).await?))
}

async fn evidence(service: &Service, now: UnixMillis) -> Result<Evidence> {
    let document = service.evidence(None, now).await.body;
    let trust = Trust::Simulated(service.sim_key().context("simulated evidence")?);
    appraise(&document, &trust, Seen::default(), now).map_err(|e| anyhow::anyhow!("{e:?}"))
}

async fn enrolled(service: &Service, token: Secret, role: Role, now: UnixMillis) -> Result<Party> {
    let seed = fresh::<32>()?;
    let identity = Identity::from_seed(&Secret::new(seed.to_vec())).context("identity")?;
    let (id, tenant) = ([0; 16], String::new());
    let party = Party { seed, identity, id, tenant };
    let public_key = party.identity.public_key();
    let request = enrol::Request { join_token: token, role, public_key, label: "test".into() };
    let Answer::Enrol(answer) = party.asked(service, &Message::Enrol(request), now).await? else {
        anyhow::bail!("not enrolled");
    };
    Ok(Party { id: answer.gateway_id, tenant: answer.tenant, ..party })
}

impl Party {
    async fn asked(&self, service: &Service, message: &Message, now: UnixMillis) -> Result<Answer> {
        let asker =
            Asker { identity: &self.identity, gateway_id: self.id, tenant: &self.tenant, now };
        let evidence = evidence(service, now).await?;
        let (body, awaiting) =
            ask(&evidence, &asker, message, &fresh()?).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let reply = service.message(&body, now).await;
        awaiting.open(&reply.body).map_err(|e| anyhow::anyhow!("{e:?}"))
    }
}
