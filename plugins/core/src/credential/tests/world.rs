//! What the tests stand on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::config::credential::Config;
use crate::credential::{Pipeline, Release, Stream, Want};
use crate::denial::DecisionId;
use crate::denial::Unscannable;
use crate::effect::{Effect, Flow, Part};
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::identity::{Identity, Kind, Principal};
use crate::inject::InPlay;
use crate::key_service::{
    Call, CallFailure, CallId, CallResult, KeyServiceFault, MAX_ANSWER, Minted, Released, Releases,
    Stored, Turn, Vault,
};
use crate::mac::MacKeys;
use crate::permit::{CredentialUse, Decision, PermitKeys, grant};
use crate::record::{Draft, ScrubReceipt};
use crate::scrubbing::{Coding, Detector, Known, Scan, Scrubbed, Scrubber, Scrubbing};
use crate::secret::Secret;
use crate::stream::Stream as _;
use crate::time::{Entropy, Moment, UnixMillis};

pub const NOW: UnixMillis = UnixMillis(1_000_000);
pub const VALUE: &str = "s3cret-Value";

const CONFIG: &str = r#"{
    "tenant": "acme",
    "key_service": {"cluster": "keys", "authority": "keys.internal",
                    "gateway_id": "000102030405060708090a0b0c0d0e0f"},
    "danger_allow_simulated": {"key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"},
    "upstreams": {"slack": {"authority": "slack.com"}, "other": {"authority": "other.com"}},
    "bindings": [
        {"credential": "slack", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET", "POST"], "paths": ["/api/**"], "site": {"style": "bearer"}},
        {"credential": "pair", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET"], "paths": ["/api/**"],
         "site": {"header": "x-pair", "style": "basic_password"}},
        {"credential": "user", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET"], "paths": ["/api/**"],
         "site": {"header": "x-user", "style": "basic_user", "template": "{}:x"}},
        {"credential": "key", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET"], "paths": ["/api/**"],
         "site": {"header": "x-key", "style": "template", "template": "Key {};v=1"}},
        {"credential": "find", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET"], "paths": ["/api/**"], "site": {"query": "k"}},
        {"credential": "visit", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET"], "paths": ["/api/**"], "site": {"cookie": "s"}},
        {"credential": "hook", "tenant": "acme", "authority": "slack.com",
         "methods": ["POST"], "paths": ["/api/**"], "site": {"json": "/t"}},
        {"credential": "mark", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET"], "paths": ["/api/**"],
         "site": {"header": "x-amz-meta-mark", "style": "template", "template": "{}"}},
        {"credential": "store", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET", "POST"], "paths": ["/api/**"],
         "site": {"style": "sigv4", "region": "eu-west-1", "service": "s3"}},
        {"credential": "oauth", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET", "POST"], "paths": ["/token"],
         "site": {"header": "x-client", "style": "template", "template": "{}"},
         "mints": [
            {"value": "/access_token", "name": "access", "authority": "slack.com",
             "methods": ["GET"], "paths": ["/api/**"], "site": {"style": "bearer"}},
            {"value": "/refresh_token", "name": "refresh", "authority": "slack.com",
             "methods": ["POST"], "paths": ["/token"], "site": {"form": "refresh_token"},
             "max_life": "24h", "again": true}]},
        {"credential": "client", "tenant": "acme", "authority": "slack.com",
         "methods": ["GET", "POST"], "paths": ["/api/**"], "site": {"style": "oauth1"}}
    ]
}"#;

/// The key service: what it answers is set by the test.
#[derive(Default)]
pub struct Keys {
    pub asked: RefCell<Vec<Want>>,
    pub abandoned: RefCell<Vec<CallId>>,
    /// Answer without a call.
    pub cached: Cell<bool>,
    pub answer: RefCell<Option<Result<Released, KeyServiceFault>>>,
    pub stored: RefCell<Vec<Minted>>,
    /// What becomes of the next value to store.
    pub fault: Cell<Option<KeyServiceFault>>,
    calls: Cell<u32>,
}

impl Keys {
    fn turn(&self) -> Turn<Released> {
        match self.answer.borrow_mut().take() {
            Some(Ok(released)) => Turn::Answer(released),
            Some(Err(fault)) => Turn::Failed(fault),
            None => Turn::Answer(Ok(release(&[("", VALUE)]))),
        }
    }

    pub fn call<A>(&self) -> Turn<A> {
        self.calls.set(self.calls.get() + 1);
        Turn::Ask(Call {
            id: CallId(self.calls.get()),
            to: crate::key_service::Destination::KeyService,
            method: "POST",
            path: "/crp/v1/message".into(),
            content_type: "application/crp",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: Duration::from_secs(2),
        })
    }
}

impl Releases for Keys {
    fn ask(&self, want: &Want, _: Moment) -> Turn<Released> {
        self.asked.borrow_mut().push(want.clone());
        if self.cached.get() { self.turn() } else { self.call() }
    }

    fn heard(&self, _: CallId, _: CallResult, _: Moment) -> Turn<Released> {
        self.turn()
    }

    fn abandon(&self, call: CallId) {
        self.abandoned.borrow_mut().push(call);
    }
}

impl Vault for Keys {
    fn store(&self, minted: Minted, _: Moment) -> Turn<Stored> {
        self.stored.borrow_mut().push(minted);
        self.call()
    }

    fn heard(&self, _: CallId, _: CallResult, _: Moment) -> Turn<Stored> {
        match self.fault.take() {
            Some(fault) => Turn::Failed(fault),
            None => Turn::Answer(Stored),
        }
    }

    fn abandon(&self, call: CallId) {
        self.abandoned.borrow_mut().push(call);
    }
}

pub fn release(fields: &[(&str, &str)]) -> Rc<Release> {
    let field = |(name, value): &(&str, &str)| ((*name).into(), Secret::new((*value).into()));
    Rc::new(Release {
        fields: fields.iter().map(field).collect(),
        version: 1,
        not_after: NOW.after(Duration::from_secs(60)),
        audit_seq: 42,
    })
}

/// Replaces whole occurrences within a chunk by `*`, and pauses on a chunk that ends in
/// `~`. Cannot deliver when trailers follow a chunk that ends in `!`; of content in a
/// coding, cannot read a chunk that starts with `bad`.
#[derive(Default)]
pub struct Stars {
    secrets: Vec<Vec<u8>>,
    hits: u64,
    held: Vec<u8>,
    stuck: bool,
    codings: usize,
    bytes: usize,
}

impl Stars {
    fn star(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for secret in &self.secrets {
            let secret = String::from_utf8_lossy(secret).into_owned();
            self.hits += text.matches(&secret).count() as u64;
            text = text.replace(&secret, "*");
        }
        (text.as_bytes() != bytes).then(|| text.into_bytes())
    }
}

impl Scrubber for Stars {
    fn decode(&mut self, codings: &[Coding]) {
        self.codings = codings.len();
    }

    fn chunk(&mut self, chunk: &[u8], end: bool) -> Result<Scrubbed, Unscannable> {
        if self.codings > 0 && chunk.starts_with(b"bad") {
            return Err(Unscannable::Malformed);
        }
        self.stuck = chunk.ends_with(b"!");
        self.bytes += chunk.len();
        self.held.extend_from_slice(chunk);
        if chunk.ends_with(b"~") && !end {
            return Ok(Scrubbed { replace: None, flow: Flow::Pause });
        }
        let held = std::mem::take(&mut self.held);
        Ok(Scrubbed { replace: self.star(&held), flow: Flow::Continue })
    }

    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Unscannable> {
        let held = std::mem::take(&mut self.held);
        if self.stuck { Err(Unscannable::Undeliverable) } else { Ok(self.star(&held)) }
    }

    fn field(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        self.star(value)
    }

    fn hits(&self) -> u64 {
        self.hits
    }

    fn receipt(&self) -> ScrubReceipt {
        ScrubReceipt { bytes: self.bytes as u64, ..ScrubReceipt::default() }
    }
}

pub struct StarScrubbing;

impl Scrubbing for StarScrubbing {
    fn known(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Known> {
        let both = |secret: &Rc<InPlay>| {
            [secret.rendered.expose().to_vec(), secret.value.expose().to_vec()]
        };
        Rc::new(StarKnown(secrets.iter().flat_map(both).collect()))
    }

    fn guard(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Detector> {
        Rc::new(StarKnown(secrets.iter().map(|it| it.value.expose().to_vec()).collect()))
    }
}

/// Values to look for.
struct StarKnown(Vec<Vec<u8>>);

impl Known for StarKnown {
    fn scrubber(&self) -> Box<dyn Scrubber> {
        Box::new(Stars { secrets: self.0.clone(), ..Stars::default() })
    }
}

impl Detector for StarKnown {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(StarScan { secrets: self.0.clone(), text: Vec::new() })
    }
}

struct StarScan {
    secrets: Vec<Vec<u8>>,
    text: Vec<u8>,
}

impl Scan for StarScan {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.text.extend_from_slice(bytes);
        let holds = |secret: &Vec<u8>| self.text.windows(secret.len()).any(|it| it == secret);
        self.secrets.iter().any(holds)
    }

    /// Some of it is enough at the end.
    fn finish(&mut self) -> bool {
        let begun = |secret: &Vec<u8>| self.text.ends_with(&secret[..secret.len() - 1]);
        self.secrets.iter().any(begun)
    }
}

fn principal(tenant: &str) -> Principal {
    Principal::authenticated(Identity {
        subject: "key:AbCd0123".into(),
        kind: Kind::ApiKey,
        tenant: tenant.into(),
        organisation: "acme".into(),
        user: "u1".into(),
        agent: "bot".into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        trust: "observer".into(),
        clearance: None,
        document: None,
        token_id: "AbCd0123".into(),
        expires: None,
        platform: None,
    })
}

/// One stream and everything around it.
pub struct World {
    pub keys: Rc<Keys>,
    pub config: Config,
    pub now: UnixMillis,
    pipeline: Rc<Pipeline>,
    stream: Stream,
}

pub fn permit_keys() -> PermitKeys {
    PermitKeys::new(MacKeys::new(Secret::new(vec![9; 32]), None).unwrap())
}

impl World {
    pub fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &str) -> Self {
        let keys = Rc::new(Keys::default());
        let config = Config::parse(config.as_bytes()).unwrap();
        let pipeline = Pipeline::new(
            config.clone(),
            permit_keys(),
            keys.clone(),
            keys.clone(),
            Rc::new(StarScrubbing),
        );
        Self { keys, config, now: NOW, stream: pipeline.stream(), pipeline }
    }

    /// A worker whose `slack` has a canary.
    pub fn canary() -> Self {
        let with = r#""paths": ["/api/**"], "canary": {"path": "/api/me"}"#;
        Self::with(&CONFIG.replacen(r#""paths": ["/api/**"]"#, with, 1))
    }

    /// The next request on the same worker.
    pub fn next(&mut self) {
        self.stream = self.pipeline.stream();
    }

    /// A use of a configured credential, `name` or `name.field`.
    pub fn used(&self, name: &str) -> CredentialUse {
        let (credential, field) = name.split_once('.').unwrap_or((name, ""));
        let mut bindings = self.config.bindings.iter();
        let binding = bindings.find(|binding| binding.credential().as_str() == credential).unwrap();
        CredentialUse {
            credential: credential.into(),
            field: field.into(),
            site: binding.site().key().into(),
            binding_hash: binding.hash(),
        }
    }

    pub fn decision(&self, names: &[&str]) -> Decision {
        Decision {
            id: DecisionId([1; 16]),
            at: NOW,
            life: Duration::from_secs(10),
            request_digest: [2; 32],
            content_digest: None,
            uses: names.iter().map(|name| self.used(name)).collect(),
            approval: None,
            policy_revision: [5; 32],
            gate_vm: [6; 16],
        }
    }

    pub fn permit(&self, names: &[&str]) -> Vec<u8> {
        self.seal(self.decision(names))
    }

    pub fn seal(&self, decision: Decision) -> Vec<u8> {
        self.seal_for("acme", decision)
    }

    pub fn seal_for(&self, tenant: &str, decision: Decision) -> Vec<u8> {
        permit_keys().seal(&grant(principal(tenant), decision))
    }

    pub fn handle(&mut self, event: Event) -> Vec<String> {
        self.stream.handle(event, self.now);
        std::iter::from_fn(|| self.stream.poll()).map(describe).collect()
    }

    pub fn flow(&self) -> Flow {
        self.stream.flow()
    }

    /// The request's head with a sealed permit.
    pub fn head(&mut self, sealed: Vec<u8>, more: &[(&str, &str)]) -> Vec<String> {
        self.head_around(around(sealed), request(more), true)
    }

    pub fn head_around(&mut self, around: Surroundings, fields: Fields, end: bool) -> Vec<String> {
        self.handle(Event::RequestHeaders { fields, end, around, entropy: Entropy([3; 32]) })
    }

    pub fn reply(&mut self, id: u32) -> Vec<String> {
        let result = Err(CallFailure::NotSent);
        self.handle(Event::CallReply { id: CallId(id), result, entropy: Entropy([4; 32]) })
    }

    /// A request that left with `slack`; its body may still come.
    pub fn forwarded() -> Self {
        Self::new().forward(&[])
    }

    /// The same, where parts of a representation may pass; one is asked for.
    pub fn partial() -> Self {
        let more = r#""scrub": {"danger_allow_partial": true}, "tenant""#;
        Self::with(&CONFIG.replacen(r#""tenant""#, more, 1)).forward(&[("range", "bytes=0-1")])
    }

    /// A handshake that left with `slack`, whose binding allows it.
    pub fn websocket(more: &[(&str, &str)]) -> (Self, Vec<String>) {
        let allowed = r#""paths": ["/api/**"], "websocket": "text""#;
        let mut world = Self::with(&CONFIG.replacen(r#""paths": ["/api/**"]"#, allowed, 1));
        world.keys.cached.set(true);
        let around = around(world.permit(&["slack"]));
        let head = request(&[HANDSHAKE, more].concat());
        let effects = world.head_around(around, head, false);
        (world, effects)
    }

    pub fn forward(self, more: &[(&str, &str)]) -> Self {
        let mut world = self;
        world.keys.cached.set(true);
        let around = around(world.permit(&["slack"]));
        let effects = world.head_around(around, request(more), false);
        assert_eq!(world.flow(), Flow::Continue);
        assert!(!effects.iter().any(|effect| effect.contains("range")), "{effects:?}");
        world
    }

    pub fn answer(&mut self, status: &str, more: &[(&str, &str)], end: bool) -> Vec<String> {
        let fields = [(":status", status)].iter().chain(more).copied().collect();
        self.handle(Event::ResponseHeaders { fields, end })
    }

    pub fn content(&mut self, chunk: &str, end: bool) -> Vec<String> {
        self.handle(Event::ResponseBody { chunk: chunk.into(), end })
    }
}

/// What makes a request one for a WebSocket.
pub const HANDSHAKE: &[(&str, &str)] = &[
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

pub fn around(sealed: Vec<u8>) -> Surroundings {
    Surroundings {
        cluster: Some(b"slack".to_vec()),
        permit: Some(sealed),
        ..Surroundings::default()
    }
}

/// `GET /api/x` to slack.com, with fields added or, when they are pseudo-fields, replaced.
pub fn request(more: &[(&str, &str)]) -> Fields {
    let plain = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "slack.com"),
        (":path", "/api/x?q=1"),
    ];
    let kept = plain.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    kept.chain(more).copied().collect()
}

/// One line for each effect, values included.
fn describe(effect: Effect) -> String {
    let part = |part: Part| match part {
        Part::Request => "request",
        Part::Response => "response",
        Part::RequestTrailers => "request trailer",
        Part::ResponseTrailers => "response trailer",
    };
    match effect {
        Effect::Call(call) => format!("call {}", call.id.0),
        Effect::CallUpstream(call) => format!("call {}", call.cluster),
        Effect::SetField { part: p, name, value } => {
            format!("set {} {name}: {}", part(p), String::from_utf8_lossy(&value))
        }
        Effect::RemoveField { part: p, name } => format!("remove {} {name}", part(p)),
        Effect::Inject(injection) => injection
            .perform(|name, value| format!("inject {name}: {}", String::from_utf8_lossy(value))),
        Effect::Fill(injection) => {
            injection.perform(|_, content| format!("fill {}", String::from_utf8_lossy(content)))
        }
        Effect::ReplaceBody { part: p, content } => {
            format!("replace {} {}", part(p), String::from_utf8_lossy(&content))
        }
        Effect::Publish(publication) => format!("publish {}", publication.decision),
        Effect::Reply(reply) => format!("reply {} {}", reply.status, reply.details),
        Effect::Reset => "reset".into(),
        Effect::Wake => "wake".into(),
        Effect::Record(bytes) => {
            let draft = Draft::decode(&bytes).unwrap();
            let release = draft.release.map(|release| (release.audit_seq, release.cached));
            format!(
                "record {} {release:?} {:?} hits {}",
                draft.credentials.join(","),
                draft.decision,
                draft.scrub_hits
            )
        }
        Effect::Amend(_) => "amend".into(),
        Effect::Count(metric) => format!("count {}", metric.0),
    }
}
