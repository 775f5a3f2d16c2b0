//! Talking to the key service: sealed messages and signed operator requests.
//!
//! Owns the transport. Invariant: TLS trusts only the authority of `operator.json`, and a
//! value is sealed only to a key whose evidence was appraised with our own challenge.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_core::config::evidence;
use postern_core::time::UnixMillis;
use postern_crp::Identity;
use postern_crp::evidence::{Evidence, Seen, Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message};
use postern_crp::{envelope, message};
use postern_keys::operator_auth::{self, Claim};
use serde_json::{Value, json};
use ureq::http::Request;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::operator::Operator;
use crate::{random, span};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for an answer that reads the whole audit chain: what the service may be set to.
const CHAIN_PATIENCE: Duration = Duration::from_secs(600);
/// Largest answer but for an export.
const MAX_ANSWER: u64 = 1 << 20;
const EVIDENCE: &str = "/crp/v1/evidence";
const REFUSED: &str = "the key service's evidence is refused";
/// Largest audit export.
const MAX_EXPORT: u64 = 1 << 30;

/// Files of the client certificate for a key service that demands one.
const CERTIFICATE: [&str; 2] = ["POSTERN_TLS_CERTIFICATE", "POSTERN_TLS_KEY"];
/// Largest of them.
const MAX_PEM: usize = 256 << 10;

/// The client certificate, where the environment names one.
fn own_certificate() -> Outcome<Option<ClientCert>> {
    let [certificate, key] = match CERTIFICATE.map(std::env::var_os) {
        [None, None] => return Ok(None),
        [Some(certificate), Some(key)] => [PathBuf::from(certificate), PathBuf::from(key)],
        _ => {
            return Err(Failure::usage(format_args!(
                "expected both {}",
                CERTIFICATE.join(" and ")
            )));
        }
    };
    let pem = postern_files::read_bounded(&certificate, MAX_PEM);
    let pem = pem.or_environment(certificate.display())?;
    let chain = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(one)) => Some(Ok(one)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let chain = chain.collect::<Result<Vec<_>, _>>().or_environment(certificate.display())?;
    let secret = postern_files::read_private(&key, MAX_PEM).or_environment(key.display())?;
    let secret = PrivateKey::from_pem(&Zeroizing::new(secret)).or_environment(key.display())?;
    Ok(Some(ClientCert::new_with_certs(&chain, secret)))
}

/// Where a key service is and how it is known.
pub struct Endpoint {
    /// `https://127.0.0.1:8843`.
    pub url: String,
    /// PEM of the authority that its certificate must come from.
    pub ca: String,
    /// Key of simulated evidence, if that kind is accepted.
    pub simulated: Option<[u8; 32]>,
    /// What hardware has to show instead: as `key_service.evidence` of a module.
    pub evidence: Option<Value>,
}

impl Endpoint {
    /// Whose evidence is accepted.
    pub fn trust(&self) -> Outcome<Trust> {
        match (self.simulated, &self.evidence) {
            (Some(key), None) => Ok(Trust::Simulated(key)),
            (None, Some(table)) => {
                let accepted = evidence::parse(table.to_string().as_bytes());
                let accepted = accepted.or_environment("evidence")?;
                Trust::of(&accepted).or_environment("evidence")
            }
            _ => Err(Failure::environment("expected either danger_allow_simulated or evidence")),
        }
    }
}

/// A client of one key service.
pub struct Service<'a> {
    endpoint: &'a Endpoint,
    agent: Agent,
}

/// Who signs a sealed message, and for whom.
pub struct Sender<'a> {
    /// Signing key.
    pub identity: &'a Identity,
    /// Zeros in an enrolment.
    pub id: [u8; 16],
    /// Empty in an enrolment.
    pub tenant: &'a str,
}

impl<'a> Service<'a> {
    /// A client that trusts the endpoint's authority and no other. Connects to nothing.
    pub fn new(endpoint: &'a Endpoint) -> Outcome<Self> {
        let ca = Certificate::from_pem(endpoint.ca.as_bytes())
            .or_environment("the certificate of the key service's authority")?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .client_cert(own_certificate()?)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        Ok(Self { endpoint, agent: config.into() })
    }

    /// The document that the service shows for our own challenge, unread.
    pub fn challenged(&self, nonce: &[u8; 32]) -> Outcome<Vec<u8>> {
        let question = json!({"nonce": B64.encode(nonce)}).to_string().into_bytes();
        let request = Request::post(self.url(EVIDENCE))
            .header("content-type", "application/json")
            .body(question)
            .or_bug("evidence")?;
        self.good(request, MAX_ANSWER)
    }

    /// A public resource.
    pub fn get(&self, path: &str) -> Outcome<Vec<u8>> {
        let request = Request::get(self.url(path)).body(Vec::new()).or_bug(path)?;
        self.good(request, MAX_ANSWER)
    }

    /// What time it is there, in whole seconds, by its own word.
    pub fn clock(&self) -> Outcome<Option<UnixMillis>> {
        let request = self.agent.get(self.url("/health")).config();
        let answer = request.timeout_global(Some(PATIENCE)).build().call();
        let answer = answer.or_environment("cannot reach the key service")?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        Ok(since.and_then(|since| u64::try_from(since.as_millis()).ok()).map(UnixMillis))
    }

    /// The evidence to seal to, appraised. That its keys are the service's own at this
    /// moment is shown by evidence for our own challenge, which speaks for the same keys.
    pub fn evidence(&self) -> Outcome<Evidence> {
        let nonce: [u8; 32] = random::bytes()?;
        let fresh = self.appraised(&self.challenged(&nonce)?)?;
        fresh.answers(&nonce).or_found(REFUSED)?;
        let evidence = self.appraised(&self.get(EVIDENCE)?)?;
        if evidence.same_keys(&fresh) {
            Ok(evidence)
        } else {
            Err(Failure::environment("the key service has just changed its keys; try again"))
        }
    }

    fn appraised(&self, document: &[u8]) -> Outcome<Evidence> {
        let trust = self.endpoint.trust()?;
        appraise(document, &trust, Seen::default(), span::now()).or_found(REFUSED)
    }

    /// One sealed exchange to the key of `evidence`.
    pub fn exchange(
        &self,
        evidence: &Evidence,
        sender: &Sender<'_>,
        message: &Message,
    ) -> Outcome<Answer> {
        let now = span::now();
        let asker =
            Asker { identity: sender.identity, gateway_id: sender.id, tenant: sender.tenant, now };
        let seed = Zeroizing::new(random::bytes::<32>()?);
        let (body, awaiting) =
            ask(evidence, &asker, message, &seed).or_usage("the message cannot be sealed")?;
        let request = Request::post(self.url("/crp/v1/message"))
            .header("content-type", envelope::CONTENT_TYPE)
            .body(body)
            .or_bug("message")?;
        let reply = self.good(request, MAX_ANSWER)?;
        let answer = awaiting.open(&reply).or_environment("the key service's reply is refused")?;
        match answer {
            Answer::Denied(status) => Err(denied(status)),
            answer => Ok(answer),
        }
    }

    /// An operator's request; the JSON of a 2xx answer.
    pub fn signed(
        &self,
        by: &Operator,
        method: &str,
        path: &str,
        content: Option<&Value>,
    ) -> Outcome<Value> {
        let bytes = self.signed_bytes(by, method, path, content)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).or_environment("the key service's answer is not JSON")
    }

    /// An operator's request; the content of a 2xx answer.
    pub fn signed_bytes(
        &self,
        by: &Operator,
        method: &str,
        path: &str,
        content: Option<&Value>,
    ) -> Outcome<Vec<u8>> {
        let content = content.map(|value| value.to_string().into_bytes()).unwrap_or_default();
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let authority = self.authority();
        let signed =
            operator_auth::Request { method, authority, path: bare, query, body: &content };
        let fields = sign(by, &signed)?;
        let mut request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("content-digest", fields.content_digest)
            .header("signature-input", fields.signature_input)
            .header("signature", fields.signature);
        if !content.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.good(request.body(content).or_bug(path)?, MAX_EXPORT)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.url.trim_end_matches('/'))
    }

    fn authority(&self) -> &str {
        self.endpoint.url.trim_end_matches('/').trim_start_matches("https://")
    }

    fn good(&self, request: Request<Vec<u8>>, limit: u64) -> Outcome<Vec<u8>> {
        let service = &self.endpoint.url;
        let reads_chain = request.uri().path().starts_with("/audit/");
        let patience = if reads_chain { CHAIN_PATIENCE } else { PATIENCE };
        let request = self.agent.configure_request(request).timeout_global(Some(patience)).build();
        let mut answer = self
            .agent
            .run(request)
            .or_environment(format_args!("cannot reach the key service at {service}"))?;
        let status = answer.status().as_u16();
        let content = read(answer.body_mut(), limit)?;
        if (200..300).contains(&status) {
            return Ok(content);
        }
        Err(refused(status, &content))
    }
}

fn sign(by: &Operator, request: &operator_auth::Request<'_>) -> Outcome<operator_auth::Fields> {
    let seed = by.seed.expose().try_into().or_environment("the operator's seed")?;
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed);
    let (created, nonce) = (span::now().seconds(), random::bytes()?);
    let claim = Claim { operator: by.id, created, nonce };
    Ok(operator_auth::sign(request, &claim, &SigningKey::from_bytes(&seed)))
}

fn read(body: &mut Body, limit: u64) -> Outcome<Vec<u8>> {
    let content = body.with_config().limit(limit).read_to_vec();
    content.or_environment("the key service's answer cannot be read")
}

/// 4xx is about what was asked (found bad); anything else is the environment.
fn refused(status: u16, content: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(content).unwrap_or(Value::Null);
    let text = |key: &str| problem.get(key).and_then(Value::as_str).map(str::to_owned);
    let unknown = (status == 404).then(|| "there is no such thing in this tenant".to_owned());
    let said = unknown.or_else(|| text("detail")).or_else(|| text("title"));
    let said = said.map(|text| format!(": {}", postern_core::redacted::Redacted::new(&text)));
    let message = format!("the key service refused ({status}){}", said.unwrap_or_default());
    if (400..500).contains(&status) && status != 429 {
        Failure::found(message)
    } else {
        Failure::environment(message)
    }
}

fn denied(status: message::Status) -> Failure {
    use message::Status;
    let text = match status {
        Status::VersionConflict => "another version of this credential is stored (--replace)",
        Status::Denied => "the key service denied it (is this operator still enrolled?)",
        Status::Expired => "the end lies in the past",
        Status::Rate => "too many requests; wait a moment",
        _ => return Failure::environment(format_args!("the key service answered {status:?}")),
    };
    Failure::found(text)
}
