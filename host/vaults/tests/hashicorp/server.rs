//! A vault of the documented REST shapes of HashiCorp's KV version 2, on loopback.
//!
//! Invariant: it shares no code with what it tests. What it does not know it refuses as Vault
//! does: 403 before anything is said about what there is, `{"errors": […]}` with each refusal.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

pub const ROLE: &str = "8d1f6f4c-role";

/// In which way the vault errs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trick {
    #[default]
    None,
    /// This status, with so many seconds to wait.
    Status(u16, Option<u64>),
    /// This status for logins only.
    Login(u16),
    /// No answer.
    Slow,
    /// Half an answer.
    Truncated,
    /// This as content of a 200.
    Content(&'static str),
    /// More than anybody reads.
    Oversized,
    /// Always this version.
    Version(u64),
}

#[derive(Default)]
struct State {
    /// By `NAMESPACE|MOUNT/PATH`: versions from 1 on; `None` is one that was deleted.
    secrets: HashMap<String, Vec<Option<Value>>>,
    /// May be read by nobody.
    denied: HashSet<String>,
    tokens: HashSet<String>,
    secret_id: String,
    /// Role and token of the service account that may log in.
    account: (String, String),
    lease: u64,
    logins: u32,
    trick: Trick,
    asked: Vec<String>,
}

/// Serves until the process ends. Clones are the same server.
#[derive(Clone)]
pub struct Server {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct Request {
    line: String,
    fields: HashMap<String, String>,
    body: Value,
}

type Answer = (u16, Value);

impl Server {
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// With the DER of the authority to trust.
    pub fn start_tls() -> (Self, Vec<u8>) {
        let (tls, root) = certificate();
        (Self::listen(Some(tls)), root)
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state =
            State { secret_id: "first-secret-id".to_owned(), lease: 3600, ..State::default() };
        let server =
            Self { at: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (own, tls) = (own.clone(), tls.clone());
                std::thread::spawn(move || own.accept(stream, tls).unwrap_or_default());
            }
        });
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn port(&self) -> u16 {
        self.at.port()
    }

    /// Writes the next version of a secret.
    pub fn put(&self, place: &str, fields: Value) {
        self.state().secrets.entry(place.to_owned()).or_default().push(Some(fields));
    }

    /// Deletes the newest version.
    pub fn delete(&self, place: &str) {
        let mut state = self.state();
        *state.secrets.get_mut(place).unwrap().last_mut().unwrap() = None;
    }

    pub fn deny(&self, place: &str) {
        self.state().denied.insert(place.to_owned());
    }

    pub fn admit(&self, token: &str) {
        self.state().tokens.insert(token.to_owned());
    }

    /// No token that was given before is accepted any more.
    pub fn revoke(&self) {
        self.state().tokens.clear();
    }

    pub fn renew_secret_id(&self, secret_id: &str) {
        self.state().secret_id = secret_id.to_owned();
    }

    pub fn expect_account(&self, role: &str, token: &str) {
        self.state().account = (role.to_owned(), token.to_owned());
    }

    pub fn lease(&self, seconds: u64) {
        self.state().lease = seconds;
    }

    pub fn play(&self, trick: Trick) {
        self.state().trick = trick;
    }

    /// What was asked for, in order; and forgets it.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    fn accept(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        match tls {
            None => self.exchange(stream),
            Some(tls) => {
                let connection = ServerConnection::new(tls).unwrap();
                self.exchange(StreamOwned::new(connection, stream))
            }
        }
    }

    fn exchange<S: Read + Write>(&self, stream: S) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let request = Request::read(&mut reader)?;
        let (status, answer) = self.answer(&request);
        let trick = self.state().trick;
        let mut text = match trick {
            // Until the client gives up.
            Trick::Slow => return reader.read(&mut [0]).map(drop),
            Trick::Content(text) => text.to_owned(),
            Trick::Oversized => format!("\"{}\"", "x".repeat(100 << 10)),
            _ => answer.to_string(),
        };
        let length = text.len();
        if trick == Trick::Truncated {
            text.truncate(length / 2);
        }
        let wait = match trick {
            Trick::Status(_, Some(seconds)) => format!("Retry-After: {seconds}\r\n"),
            // Where a token must not be carried to.
            Trick::Status(307, None) => format!("Location: http://{}/elsewhere\r\n", self.at),
            _ => String::new(),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{wait}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = reader.into_inner();
        stream.write_all([head, text].concat().as_bytes())?;
        stream.flush()
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut state = self.state();
        let namespace = request.field("x-vault-namespace").to_owned();
        state.asked.push(format!("{namespace}|{}", request.line));
        let login = request.line.ends_with("/login");
        match state.trick {
            Trick::Status(status, _) => return refusal(status, "configured"),
            Trick::Login(status) if login => return refusal(status, "configured"),
            _ => {}
        }
        match request.line.split_once(' ') {
            Some(("POST", "/v1/auth/approle/login")) => {
                let wanted = json!({"role_id": ROLE, "secret_id": state.secret_id});
                state.login(request.body == wanted, (400, "invalid role or secret ID"))
            }
            Some(("POST", "/v1/auth/kubernetes/login")) => {
                let (role, token) = &state.account;
                let wanted = json!({"role": role, "jwt": token});
                state.login(request.body == wanted, (403, "permission denied"))
            }
            Some(("GET", "/v1/auth/token/lookup-self")) => state.lookup(request),
            Some(("GET", target)) => state.read(&namespace, target, request),
            _ => refusal(405, "unsupported operation"),
        }
    }
}

impl State {
    fn login(&mut self, good: bool, (status, error): (u16, &str)) -> Answer {
        if !good {
            return refusal(status, error);
        }
        self.logins += 1;
        let token = format!("hvs.login-{}", self.logins);
        self.tokens.insert(token.clone());
        let auth = json!({
            "client_token": token, "accessor": "accessor", "policies": ["default", "postern"],
            "token_policies": ["default", "postern"], "metadata": {"role_name": "postern"},
            "lease_duration": self.lease, "renewable": true, "entity_id": "entity",
            "token_type": "service", "orphan": true, "mfa_requirement": null, "num_uses": 0
        });
        (
            200,
            json!({
                "request_id": "0b1c", "lease_id": "", "renewable": false, "lease_duration": 0,
                "data": null, "wrap_info": null, "warnings": null, "auth": auth
            }),
        )
    }

    fn lookup(&self, request: &Request) -> Answer {
        match self.tokens.contains(request.field("x-vault-token")) {
            true => (200, json!({"data": {"ttl": self.lease, "policies": ["default"]}})),
            false => refusal(403, "permission denied"),
        }
    }

    fn read(&self, namespace: &str, target: &str, request: &Request) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let known = self.tokens.contains(request.field("x-vault-token"));
        let path = path.strip_prefix("/v1/").unwrap_or_default().replacen("/data/", "/", 1);
        let place = format!("{namespace}|{path}");
        if !known || self.denied.contains(&place) || request.field("x-vault-request") != "true" {
            return refusal(403, "permission denied");
        }
        let Some(versions) = self.secrets.get(&place) else { return (404, json!({"errors": []})) };
        let number = match query.strip_prefix("version=") {
            None => versions.len(),
            Some(number) => number.parse().unwrap_or(0),
        };
        let Some(found) = number.checked_sub(1).and_then(|index| versions.get(index)) else {
            return (404, json!({"errors": []}));
        };
        let said = match self.trick {
            Trick::Version(other) => other,
            _ => number as u64,
        };
        let deleted = if found.is_some() { "" } else { "2026-11-27T10:00:00.1Z" };
        let metadata = json!({
            "created_time": "2026-11-26T10:00:00.123456789Z", "custom_metadata": null,
            "deletion_time": deleted, "destroyed": false, "version": said
        });
        let status = if found.is_some() { 200 } else { 404 };
        (
            status,
            json!({
                "request_id": "7f2e", "lease_id": "", "renewable": false, "lease_duration": 0,
                "data": {"data": found, "metadata": metadata},
                "wrap_info": null, "warnings": null, "auth": null, "mount_type": "kv"
            }),
        )
    }
}

fn refusal(status: u16, error: &str) -> Answer {
    (status, json!({"errors": [error]}))
}

impl Request {
    fn read(reader: &mut impl BufRead) -> std::io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let asked = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let mut fields = HashMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            fields.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = fields.get("content-length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Self { line: asked, fields, body })
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

fn certificate() -> (Arc<ServerConfig>, Vec<u8>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key);
    (Arc::new(config.unwrap()), root.der().to_vec())
}
