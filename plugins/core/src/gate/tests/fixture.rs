//! A gate with two keys and three bindings, and what came of one request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::api_key::{self, KeyId, StoredKey};
use crate::authenticator::Authenticator;
use crate::config::gate::Authentication;
use crate::credential::tests::StarScrubbing;
use crate::effect::{Effect, Flow, Part, Publication, Reply};
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::gate::{ApiKeys, Config, Loaded, Pipeline, Stream};
use crate::identity::{DirectoryRecord, KeyState};
use crate::key_service::{
    Call, CallAnswer, CallFailure, CallId, CallResult, Directory, KeyEntry, KeyServiceFault,
    MAX_ANSWER, Turn, UpstreamCall,
};
use crate::mac::MacKeys;
use crate::permit::{CredentialUse, Permit, PermitKeys};
use crate::record::Draft;
use crate::revocation::{Freshness, Kind, Revocations};
use crate::scrubbing::{Detector, Scan};
use crate::secret::Secret;
use crate::stream::Stream as _;
use crate::time::{Entropy, Moment, UnixMillis};

pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// How the directory behaves.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Cached,
    Asks,
    /// The first reply is no answer; the question is asked once more.
    AsksAgain,
    Fails(KeyServiceFault),
}

pub struct FakeDirectory {
    pub mode: Cell<Mode>,
    pub entries: RefCell<BTreeMap<KeyId, KeyEntry>>,
    asked: Cell<Option<KeyId>>,
    pub finds: Cell<u32>,
    pub abandoned: Cell<u32>,
}

fn call(id: u32) -> Call {
    Call {
        id: CallId(id),
        to: crate::key_service::Destination::KeyService,
        method: "POST",
        path: "/crp/v1/message".into(),
        content_type: "application/crp",
        authorization: None,
        unless: None,
        most: MAX_ANSWER,
        body: vec![],
        timeout: Duration::from_secs(2),
    }
}

impl Directory for FakeDirectory {
    fn find(&self, id: &KeyId, _: Moment) -> Turn<Option<KeyEntry>> {
        self.finds.set(self.finds.get() + 1);
        match self.mode.get() {
            Mode::Cached => Turn::Answer(self.entries.borrow().get(id).cloned()),
            Mode::Fails(fault) => Turn::Failed(fault),
            Mode::Asks | Mode::AsksAgain => {
                self.asked.set(Some(*id));
                Turn::Ask(call(1))
            }
        }
    }

    fn heard(&self, id: CallId, result: CallResult, _: Moment) -> Turn<Option<KeyEntry>> {
        if self.mode.get() == Mode::AsksAgain && id == CallId(1) {
            return Turn::Ask(call(2));
        }
        match (result, self.asked.take()) {
            (Ok(_), Some(id)) => Turn::Answer(self.entries.borrow().get(&id).cloned()),
            _ => Turn::Failed(KeyServiceFault::Unreachable),
        }
    }

    fn abandon(&self, _: CallId) {
        self.abandoned.set(self.abandoned.get() + 1);
    }
}

/// Finds the opening of a placeholder in any case, percent-encoded, or base64 aligned.
pub struct FakeDetector;

struct FakeScan(Vec<u8>);

impl Detector for FakeDetector {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(FakeScan(Vec::new()))
    }
}

impl Scan for FakeScan {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes);
        let seen = String::from_utf8_lossy(&self.0).into_owned();
        let lower = seen.to_ascii_lowercase();
        let encoded = STANDARD.encode("<CREDENTIAL:");
        lower.contains("<credential:") || lower.contains("%3ccredential") || seen.contains(&encoded)
    }

    fn finish(&mut self) -> bool {
        self.feed(b"")
    }
}

pub fn key(id: &[u8; 8]) -> String {
    let key = api_key::assemble("pk_", &KeyId::new(id).unwrap(), &[b'x'; 43]).unwrap();
    String::from_utf8(key.expose().to_vec()).unwrap()
}

/// The key of an agent of tenant acme with scope `tap:write`.
pub fn good_key() -> String {
    key(b"GoodKey1")
}

pub fn record() -> DirectoryRecord {
    DirectoryRecord {
        tenant: "acme".into(),
        user: "u1".into(),
        organisation: "acme".into(),
        agent: "bot".into(),
        scopes: vec!["tap:write".into()],
        roles: vec!["AGENT".into()],
        trust: "suggester".into(),
        clearance: None,
        platform: Some("cursor".into()),
        not_after: None,
        state: KeyState::Active,
    }
}

pub fn document() -> Value {
    let binding = |credential: &str, tenant: &str, authority: &str, header: &str, style: &str| {
        json!({
            "credential": credential, "tenant": tenant, "authority": authority,
            "methods": ["POST"], "paths": ["/api/**"],
            "site": {"header": header, "style": style},
        })
    };
    json!({
        "tenant": "acme",
        "key_service": {
            "cluster": "keys", "authority": "keys.internal",
            "gateway_id": "000102030405060708090a0b0c0d0e0f",
        },
        "danger_allow_simulated": {"key": URL_SAFE_NO_PAD.encode([7; 32])},
        "authenticators": [{"api_key": {}}, {"api_key": {"header": "X-TAP-Key"}}],
        "scopes": [
            {"methods": ["POST", "GET", "DELETE"], "path": "/api/**", "require": ["tap:write"]},
            {"methods": ["GET"], "path": "/open", "require": []},
            {"methods": ["GET"], "path": "/admin", "require": ["admin:read", "admin:write"]},
        ],
        "bindings": [
            binding("slack", "acme", "slack.com", "Authorization", "bearer"),
            binding("slack", "acme", "files.slack.com", "Authorization", "bearer"),
            binding("mail", "acme", "mail.example:8443", "Authorization", "basic_password"),
            binding("theirs", "other", "slack.com", "Authorization", "bearer"),
            {
                "credential": "maps", "tenant": "acme", "authority": "slack.com",
                "methods": ["POST"], "paths": ["/api/**"],
                "site": {"header": "X-Api-Key", "style": "template", "template": "k={}"},
            },
        ],
        "upstreams": {
            "slack": {"authority": "slack.com"},
            "files": {"authority": "files.slack.com"},
            "mail": {"authority": "mail.example:8443"},
        },
        "body_limit": "64B",
        "bind_headers": ["x-idempotency"],
    })
}

pub struct Gate {
    pub pipeline: Rc<Pipeline>,
    pub directory: Rc<FakeDirectory>,
    pub revocations: Rc<FakeRevocations>,
}

/// A list of the tests' own.
pub struct FakeRevocations {
    pub freshness: Cell<Freshness>,
    pub revoked: RefCell<Vec<(Kind, String)>>,
    pub shut: Cell<bool>,
}

impl FakeRevocations {
    pub fn none() -> Rc<Self> {
        let (freshness, revoked) = (Cell::new(Freshness::Live), RefCell::default());
        Rc::new(Self { freshness, revoked, shut: Cell::new(false) })
    }
}

impl Revocations for FakeRevocations {
    fn freshness(&self, _: UnixMillis) -> Freshness {
        self.freshness.get()
    }

    fn is_revoked(&self, kind: Kind, id: &[u8]) -> bool {
        self.revoked.borrow().iter().any(|(k, name)| *k == kind && name.as_bytes() == id)
    }

    fn shuts_gateway(&self) -> bool {
        self.shut.get()
    }
}

impl Gate {
    pub fn new() -> Self {
        Self::with(&document())
    }

    pub fn with(document: &Value) -> Self {
        Self::loaded(Config::parse(document.to_string().as_bytes()).unwrap().into())
    }

    /// With this configuration and policy.
    pub fn loaded(loaded: Loaded) -> Self {
        let stored = StoredKey::of([9; 16], &Secret::new(good_key().into_bytes()));
        let entry = KeyEntry { stored, record: record() };
        let directory = Rc::new(FakeDirectory {
            mode: Cell::new(Mode::Cached),
            entries: RefCell::new(BTreeMap::from([(KeyId::new(b"GoodKey1").unwrap(), entry)])),
            asked: Cell::new(None),
            finds: Cell::new(0),
            abandoned: Cell::new(0),
        });
        let (detector, revocations) = (Rc::new(FakeDetector), FakeRevocations::none());
        let (callers, list) = (callers(&loaded.config, &directory), revocations.clone());
        let scrubbing = Rc::new(StarScrubbing);
        let pipeline =
            Pipeline::new(loaded, permit_keys(), callers, list, detector, scrubbing, [0xee; 16]);
        Self { pipeline, directory, revocations }
    }

    /// Changes the record of the good key.
    pub fn change(&self, change: impl FnOnce(&mut DirectoryRecord)) {
        if let Some(entry) = self.directory.entries.borrow_mut().values_mut().next() {
            change(&mut entry.record);
        }
    }

    /// One request without content, through a known cluster.
    pub fn get(&self, head: &[(&str, &str)]) -> Outcome {
        self.send(fields(head), &[], None)
    }

    /// One request with these chunks and trailers; an empty list is an end with the head.
    pub fn send(&self, head: Fields, chunks: &[&[u8]], trailers: Option<Fields>) -> Outcome {
        let mut run = Run::new(self.pipeline.stream());
        let end = chunks.is_empty() && trailers.is_none();
        run.event(headers(head, end));
        for (index, chunk) in chunks.iter().enumerate() {
            let end = trailers.is_none() && index + 1 == chunks.len();
            run.event(Event::RequestBody { chunk: chunk.to_vec(), end });
        }
        if let Some(trailers) = trailers {
            run.event(Event::RequestTrailers(trailers));
        }
        run.outcome()
    }
}

/// Authenticators that ask this directory.
pub fn callers(config: &Config, directory: &Rc<FakeDirectory>) -> Vec<Rc<dyn Authenticator>> {
    let one = |one: &Authentication| -> Rc<dyn Authenticator> {
        match one {
            Authentication::ApiKey(field) => {
                Rc::new(ApiKeys::new(field.clone(), Rc::clone(directory) as _))
            }
            other => panic!("{:?} is not the core's", other.kind()),
        }
    };
    config.authenticators.iter().map(one).collect()
}

pub fn detector() -> Rc<dyn Detector> {
    Rc::new(FakeDetector)
}

pub fn permit_keys() -> PermitKeys {
    PermitKeys::new(MacKeys::new(Secret::new(vec![3; 32]), None).unwrap())
}

/// `POST https://gw.example/api/chat` with the good key in `X-TAP-Key`, and these lines; a
/// line of a name that is there already replaces it.
pub fn fields(lines: &[(&str, &str)]) -> Fields {
    let key = good_key();
    let usual = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gw.example"),
        (":path", "/api/chat"),
        ("x-tap-key", &key),
    ];
    let replaced = |name: &str| lines.iter().any(|(line, _)| *line == name);
    let kept = usual.iter().filter(|(name, _)| !replaced(name));
    kept.chain(lines).map(|(name, value)| (*name, *value)).collect()
}

pub fn headers(fields: Fields, end: bool) -> Event {
    let around = Surroundings { cluster: Some(b"slack".to_vec()), ..Surroundings::default() };
    Event::RequestHeaders { fields, end, around, entropy: Entropy([1; 32]) }
}

pub fn reply(ok: bool) -> Event {
    reply_to(1, ok)
}

pub fn reply_to(call: u32, ok: bool) -> Event {
    let answer = CallAnswer::of(200, vec![]);
    let result = if ok { Ok(answer) } else { Err(CallFailure::NotSent) };
    Event::CallReply { id: CallId(call), result, entropy: Entropy([2; 32]) }
}

/// A stream that is driven, and everything it asked for.
pub struct Run {
    stream: Stream,
    pub now: UnixMillis,
    pub calls: usize,
    pub canaries: Vec<UpstreamCall>,
    pub publications: Vec<Publication>,
    pub records: Vec<Draft>,
    pub replies: Vec<Reply>,
    pub removed: Vec<String>,
    pub set: Vec<String>,
    pub counted: Vec<&'static str>,
    pub resets: usize,
    pub wakes: usize,
    /// Content of the answer behind the gate.
    pub content: Vec<u8>,
}

impl Run {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            now: NOW,
            calls: 0,
            canaries: vec![],
            publications: vec![],
            records: vec![],
            replies: vec![],
            removed: vec![],
            set: vec![],
            counted: vec![],
            resets: 0,
            wakes: 0,
            content: vec![],
        }
    }

    /// Whether content of the answer need not be told.
    pub fn passes_answer(&self) -> bool {
        self.stream.passes_answer()
    }

    pub fn event(&mut self, event: Event) -> Flow {
        self.stream.handle(event, self.now);
        while let Some(effect) = self.stream.poll() {
            self.perform(effect);
        }
        self.stream.flow()
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Call(_) => self.calls += 1,
            Effect::CallUpstream(call) => self.canaries.push(call),
            Effect::Publish(publication) => self.publications.push(publication),
            Effect::Record(bytes) => self.records.push(Draft::decode(&bytes).unwrap()),
            Effect::Reply(reply) => self.replies.push(reply),
            Effect::RemoveField { name, .. } => self.removed.push(name),
            Effect::Count(metric) => self.counted.push(metric.0),
            Effect::Reset => self.resets += 1,
            Effect::Wake => self.wakes += 1,
            Effect::SetField { name, value, .. } => {
                self.set.push(format!("{name}: {}", String::from_utf8(value).unwrap()));
            }
            Effect::ReplaceBody { part: Part::Response, content } => self.content.extend(content),
            Effect::Amend(amendment) => {
                let current = self.records.last().map(Draft::encode);
                let record = amendment.into_record(current.as_deref());
                self.records.push(Draft::decode(&record).unwrap());
            }
            Effect::Inject(_) | Effect::Fill(_) | Effect::ReplaceBody { .. } => {
                panic!("the gate injects nothing and replaces nothing of a request")
            }
        }
    }

    pub fn advance(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// The permit that was published, if one was.
    pub fn permit(&self) -> Option<Permit> {
        let sealed = self.publications.iter().find_map(|p| p.permit.as_deref())?;
        Some(permit_keys().open(sealed, self.now).unwrap())
    }

    pub fn outcome(&self) -> Outcome {
        let last = self.records.last();
        if let Some(reply) = self.replies.last() {
            return Outcome::Refused(reply.status, reply.details, reason(last));
        }
        if self.resets > 0 {
            return Outcome::Cut(reason(last));
        }
        match self.permit() {
            Some(permit) => {
                let uses = permit.uses().iter().map(named).collect();
                Outcome::Allowed { uses, removed: self.removed.clone() }
            }
            None => Outcome::Waiting,
        }
    }
}

fn named(used: &CredentialUse) -> String {
    format!("{}.{} at {}", used.credential, used.field, used.site)
}

fn reason(draft: Option<&Draft>) -> String {
    match draft.map(|draft| &draft.decision) {
        Some(crate::record::Decision::Deny { reason, .. }) => reason.clone().into_owned(),
        other => format!("{other:?}"),
    }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `credential.field at site`, and names of removed fields.
    Allowed {
        uses: Vec<String>,
        removed: Vec<String>,
    },
    /// Status, code, reason in the audit record.
    Refused(u16, &'static str, String),
    /// Reason in the audit record.
    Cut(String),
    Waiting,
}

pub fn refused(status: u16, code: &'static str, reason: &str) -> Outcome {
    Outcome::Refused(status, code, reason.to_owned())
}

pub fn allowed(uses: &[&str], removed: &[&str]) -> Outcome {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Outcome::Allowed { uses: owned(uses), removed: owned(removed) }
}

pub fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}
