//! Whether what was seen is what a case wants.
//!
//! Invariant, whatever a case says: no answer shows a secret, no request at the upstream shows
//! the caller's key or a field that is for the gateway alone, and an injected credential is
//! there exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::memmem::find;
use postern_rig::message::{Line, Message};
use serde_json::{Value, json};

use crate::caller::Came;
use crate::case::{By, Case};
use crate::profile::{Profile, Refusal};
use crate::template::{Error, Scope};

/// A case and what came of it.
pub struct Outcome {
    /// The case.
    pub case: Arc<Case>,
    /// Whether it passed.
    pub verdict: Verdict,
    /// What was seen, when it was sent.
    pub seen: Option<Seen>,
}

/// Whether a case passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted.
    Passed,
    /// Not as wanted; every difference.
    Failed(Vec<String>),
    /// Not as wanted, and known: the reason, then every difference.
    Pending(String, Vec<String>),
    /// Not sent; why.
    NotApplicable(String),
}

/// What was seen of a case.
pub struct Seen {
    pub(crate) id: String,
    pub(crate) came: Came,
    pub(crate) want: Expected,
    pub(crate) leak: Option<String>,
    pub(crate) requests: Vec<Message>,
}

/// The texts of a case's expectations with their values put in.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    fields: BTreeMap<String, Option<Vec<u8>>>,
    trailers: BTreeMap<String, Option<Vec<u8>>>,
    body: Option<Vec<u8>>,
    begins: Option<Vec<u8>>,
    lacks: Vec<Vec<u8>>,
    redacted: Vec<u8>,
    method: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    up_fields: BTreeMap<String, Option<Vec<u8>>>,
    up_trailers: BTreeMap<String, Option<Vec<u8>>>,
    up_body: Option<Vec<u8>>,
    up_lacks: Vec<Vec<u8>>,
    codec: Option<Vec<Vec<u8>>>,
    key: Vec<u8>,
    /// The injected field, its value, and the secret itself.
    injected: Option<(String, Vec<u8>)>,
    secret: Option<Vec<u8>>,
}

/// Puts the values into what a case wants.
pub(crate) fn expected(case: &Case, scope: Scope<'_>) -> Result<Expected, Error> {
    let want = &case.want;
    let one = |text: &String| scope.expand(text);
    let maybe = |text: &Option<String>| text.as_ref().map(one).transpose();
    let all = |texts: &[String]| texts.iter().map(one).collect::<Result<Vec<_>, _>>();
    let map = |fields: &BTreeMap<String, Option<String>>| {
        let entry = |(name, value): (&String, &Option<String>)| {
            let name = String::from_utf8_lossy(&one(name)?).to_ascii_lowercase();
            Ok((name, maybe(value)?))
        };
        fields.iter().map(entry).collect::<Result<BTreeMap<_, _>, Error>>()
    };
    let reaches = &want.reaches;
    let credential = scope.credential("").ok();
    let asked = want.injected.unwrap_or(case.send.by == By::Header);
    let injected = match credential.and_then(|credential| credential.header.as_ref()) {
        Some(header) if asked => Some((header.to_ascii_lowercase(), scope.rendered("")?)),
        _ => None,
    };
    Ok(Expected {
        fields: map(&want.fields)?,
        trailers: map(&want.trailers)?,
        body: maybe(&want.body)?,
        begins: maybe(&want.begins)?,
        lacks: all(&want.lacks)?,
        redacted: scope.profile.redacted.clone().into_bytes(),
        method: maybe(&reaches.method)?,
        path: maybe(&reaches.path)?,
        authority: maybe(&reaches.authority)?,
        up_fields: map(&reaches.fields)?,
        up_trailers: map(&reaches.trailers)?,
        up_body: maybe(&reaches.body)?,
        up_lacks: all(&reaches.lacks)?,
        codec: want.codec.as_ref().map(|texts| all(texts)).transpose()?,
        key: scope.profile.caller.key()?.into_bytes(),
        injected,
        secret: credential.filter(|_| !asked).map(|c| c.secret.clone().into_bytes()),
    })
}

/// Every difference, one line each.
pub(crate) fn differences(case: &Case, profile: &Profile, seen: &Seen) -> Vec<String> {
    let mut found = Found { case, profile, seen, lines: Vec::new() };
    found.lines.extend(seen.leak.clone());
    found.requests_in_general();
    match (&case.want.refused, &seen.want.codec) {
        (Some(class), _) => found.refused(class),
        (None, Some(may)) => found.codec(may),
        (None, None) if case.want.may_refuse && seen.requests.is_empty() => found.any_refusal(),
        (None, None) => found.reached(),
    }
    found.lines
}

struct Found<'a> {
    case: &'a Case,
    profile: &'a Profile,
    seen: &'a Seen,
    lines: Vec<String>,
}

impl Found<'_> {
    fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    fn answer(&self) -> Option<&Message> {
        self.seen.came.answers.first()
    }

    /// What holds for every request that reaches an upstream.
    fn requests_in_general(&mut self) {
        let (key, never) = (&self.seen.want.key, &self.profile.never_forwarded);
        let mut said = Vec::new();
        for request in &self.seen.requests {
            if find(&request.raw, key).is_some() {
                said.push("the upstream got the caller's key".to_owned());
            }
            let shown = never.iter().filter(|name| request.all(name).next().is_some());
            said.extend(shown.map(|name| format!("the upstream got the field {name}")));
        }
        self.lines.extend(said);
    }

    fn refused(&mut self, class: &str) {
        if self.case.want.head_may_leave {
            self.head_alone();
        } else {
            self.nothing_forwarded();
        }
        let Some(refusal) = self.profile.refusals.get(class) else {
            return self.say(format!("the profile has no class of refusals {class:?}"));
        };
        let Some(answer) = self.answer() else { return self.no_answer() };
        let line = unlike(refusal, answer);
        self.lines.extend(line);
    }

    fn any_refusal(&mut self) {
        match self.answer().map(Message::status) {
            Some(400..) => {}
            Some(status) => self.say(format!("status: want a refusal, got {status}")),
            None if self.seen.came.trouble.is_some() => {}
            None => {}
        }
    }

    fn nothing_forwarded(&mut self) {
        for request in &self.seen.requests {
            self.lines.push(format!("the upstream got {}", start(request)));
        }
    }

    /// At most one head, and of its content nothing that the upstream could take for whole.
    fn head_alone(&mut self) {
        let [request] = self.seen.requests.as_slice() else {
            if self.seen.requests.len() > 1 {
                self.nothing_forwarded();
            }
            return;
        };
        if request.complete {
            self.say(format!("the upstream got all of {}", start(request)));
        }
    }

    fn no_answer(&mut self) {
        let trouble = self.seen.came.trouble.as_deref().unwrap_or("the connection ended");
        self.say(format!("no answer: {trouble}"));
    }

    /// Refused with nothing at the upstream, or exactly these requests.
    fn codec(&mut self, may: &[Vec<u8>]) {
        let got: Vec<Vec<u8>> = self.seen.requests.iter().map(summary).collect();
        let good = self.seen.came.answers.iter().filter(|answer| answer.status() < 400).count();
        if got.is_empty() && good == 0 {
            return;
        }
        if got != may {
            let shown = |list: &[Vec<u8>]| list.iter().map(|t| text(t)).collect::<Vec<_>>();
            let line = format!("upstream: want nothing or {:?}, got {:?}", shown(may), shown(&got));
            self.say(line);
        }
    }

    fn reached(&mut self) {
        match self.seen.requests.as_slice() {
            [request] => self.request(request),
            [] => {
                let status = self.answer().map_or(0, Message::status);
                self.say(format!("nothing reached the upstream; status {status}"));
                return;
            }
            more => self.say(format!("{} requests reached the upstream", more.len())),
        }
        let Some(answer) = self.answer() else {
            if !self.case.want.withheld && !self.case.want.cut {
                self.no_answer();
            }
            return;
        };
        if self.case.want.withheld {
            self.withheld(answer.clone());
        } else {
            self.delivered(answer.clone());
        }
    }

    fn request(&mut self, request: &Message) {
        let want = self.seen.want.clone();
        self.same("upstream method", want.method.as_deref(), request.word(0).as_bytes());
        self.same("upstream path", want.path.as_deref(), &target(request));
        let authority = request.text("host").unwrap_or_default();
        self.same("upstream authority", want.authority.as_deref(), authority.as_bytes());
        self.same("upstream content", want.up_body.as_deref(), &request.content);
        self.fields("upstream field", &want.up_fields, &request.fields);
        self.fields("upstream trailer", &want.up_trailers, &request.trailers);
        self.lacking("the upstream's request", &want.up_lacks, &request.raw);
        if let Some((header, value)) = &want.injected {
            let got: Vec<&[u8]> = request.all(header).collect();
            if got != [value.as_slice()] {
                let shown: Vec<String> = got.iter().map(|value| text(value)).collect();
                self.say(format!("upstream {header}: want one {:?}, got {shown:?}", text(value)));
            }
        }
        if let Some(secret) = &want.secret
            && find(&request.raw, secret).is_some()
        {
            self.say("the upstream got a credential that nobody asked for".into());
        }
    }

    fn withheld(&mut self, answer: Message) {
        // The codec may have refused it first, with a body of its own.
        let refused = self.profile.refusals.get("unscannable");
        let refused = refused.is_some_and(|refusal| refusal.status.contains(&answer.status()));
        if !refused && answer.complete {
            let shown = short(&answer.content);
            self.say(format!("want 502 or a cut, got {} {shown}", answer.status()));
        }
        self.answer_fields(&answer);
    }

    fn delivered(&mut self, answer: Message) {
        let want = self.seen.want.clone();
        let status = self.case.want.status.unwrap_or(self.case.answer.status);
        if answer.status() != status {
            self.say(format!(
                "status: want {status}, got {} {}",
                answer.status(),
                short(&answer.content)
            ));
        }
        if answer.complete == self.case.want.cut && self.case.send.stop_after.is_none() {
            let shown = if answer.complete { "whole" } else { "cut" };
            self.say(format!("the answer is {shown}: {}", short(&answer.content)));
        }
        if let Some(interim) = &self.case.want.interim
            && *interim != self.seen.came.interim
        {
            let got = &self.seen.came.interim;
            self.say(format!("interim answers: want {interim:?}, got {got:?}"));
        }
        if let Some(body) = &want.body {
            self.content(body, &answer.content);
        }
        if let Some(begins) = &want.begins
            && !answer.content.starts_with(begins)
        {
            self.say(format!("content: want {:?}…, got {}", text(begins), short(&answer.content)));
        }
        self.answer_fields(&answer);
    }

    fn answer_fields(&mut self, answer: &Message) {
        let want = self.seen.want.clone();
        self.fields("field", &want.fields, &answer.fields);
        self.fields("trailer", &want.trailers, &answer.trailers);
        self.lacking("the answer", &want.lacks, &answer.raw);
        self.lacking("the answer's content", &want.lacks, &answer.content);
    }

    /// Byte by byte, or, for gateways that mark a secret in another way, what is around it.
    fn content(&mut self, want: &[u8], got: &[u8]) {
        if self.profile.exact || find(want, &self.seen.want.redacted).is_none() {
            return self.same("content", Some(want), got);
        }
        let (want, marker) = (text(want), text(&self.seen.want.redacted));
        let whole = text(got);
        let mut rest = whole.as_str();
        for part in want.split(&marker).filter(|part| part.trim().len() > 2) {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return self.say(format!("content: want {part:?} in {}", short(got))),
            }
        }
    }

    fn fields(&mut self, what: &str, want: &BTreeMap<String, Option<Vec<u8>>>, got: &[Line]) {
        for (name, value) in want {
            let have: Vec<&[u8]> = postern_rig::message::values(got, name).collect();
            let fits = match value {
                None => have.is_empty(),
                Some(value) => have == [value.as_slice()],
            };
            if !fits {
                let shown: Vec<String> = have.iter().map(|value| text(value)).collect();
                let wanted = value.as_ref().map(|value| text(value));
                self.say(format!("{what} {name}: want {wanted:?}, got {shown:?}"));
            }
        }
    }

    fn lacking(&mut self, what: &str, texts: &[Vec<u8>], got: &[u8]) {
        for lacked in texts.iter().filter(|lacked| find(got, lacked).is_some()) {
            self.say(format!("{what} has {:?}", text(lacked)));
        }
    }

    fn same(&mut self, what: &str, want: Option<&[u8]>, got: &[u8]) {
        if let Some(want) = want
            && want != got
        {
            self.say(format!("{what}: want {}, got {}", short(want), short(got)));
        }
    }
}

/// How an answer differs from a class of refusals.
fn unlike(refusal: &Refusal, answer: &Message) -> Option<String> {
    let status = answer.status();
    let expected =
        if refusal.status.is_empty() { status >= 400 } else { refusal.status.contains(&status) };
    let code = serde_json::from_slice::<Value>(&answer.content).ok();
    let code = code.and_then(|body| body["code"].as_str().map(str::to_owned));
    let coded = refusal.code.is_none() || refusal.code == code;
    (!expected || !coded).then(|| {
        let shown = code.unwrap_or_else(|| short(&answer.content));
        format!("want status {:?} {:?}, got {status} {shown}", refusal.status, refusal.code)
    })
}

impl Verdict {
    pub(crate) fn of(lines: Vec<String>, pending: Option<&String>) -> Self {
        match (lines.is_empty(), pending) {
            (true, _) => Self::Passed,
            (false, Some(reason)) => Self::Pending(reason.clone(), lines),
            (false, None) => Self::Failed(lines),
        }
    }
}

/// Refusals of one class are the same, byte for byte, but for what varies by design.
pub(crate) fn constant(outcomes: &mut [Outcome], profile: &Profile) {
    let mut first: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    for outcome in outcomes {
        let (Some(class), Some(seen)) = (&outcome.case.want.refused, &outcome.seen) else {
            continue;
        };
        let Some(answer) = seen.came.answers.first() else { continue };
        // A class of several statuses is not one answer, and HEAD has no content to compare.
        let one = profile.refusals.get(class).is_some_and(|refusal| refusal.status.len() == 1);
        if outcome.verdict != Verdict::Passed || answer.content.is_empty() || !one {
            continue;
        }
        let masked = masked(&answer.content, &profile.varies);
        let (name, text_) = first
            .entry(class.clone())
            .or_insert_with(|| (outcome.case.name.clone(), masked.clone()));
        if *text_ != masked {
            let line = format!("the refusal is not as that of {name}: {}", short(&masked));
            outcome.verdict = Verdict::Failed(vec![line]);
        }
    }
}

/// A refusal whose members that vary are zeros of the same length.
fn masked(content: &[u8], varies: &[String]) -> Vec<u8> {
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(content) else {
        return content.to_vec();
    };
    let mut shown = String::from_utf8_lossy(content).into_owned();
    for name in varies {
        if let Some(value) = members.get(name).and_then(Value::as_str).filter(|v| !v.is_empty()) {
            shown = shown.replace(value, &"0".repeat(value.len()));
        }
    }
    shown.into_bytes()
}

impl Outcome {
    /// What is compared between gateways: what the caller and the upstream saw, without what
    /// every proxy writes for itself. Of codec cases only whether they were refused counts.
    pub fn comparable(&self, varies: &[String]) -> Option<Value> {
        let seen = self.seen.as_ref()?;
        let requests: Vec<Value> = seen.requests.iter().map(request).collect();
        if seen.want.codec.is_some() {
            let may = seen.want.codec.as_ref().is_some_and(|may| !may.is_empty());
            return (!may).then(|| json!({"upstream": requests}));
        }
        let answers = seen.came.answers.iter().map(|message| answer(message, varies));
        let answers: Vec<Value> = answers.collect();
        // How much of a stream without end came through is no decision of a gateway, nor is
        // what it wrote itself into a request that is shown.
        let answer = &self.case.answer;
        let shows = answer.body.as_ref().is_some_and(|body| body.contains("${request"));
        let left_out = answer.endless.is_some() || self.case.want.withheld || shows;
        let answers = if left_out { Vec::new() } else { answers };
        let requests = if self.case.want.head_may_leave { Vec::new() } else { requests };
        Some(json!({"answers": answers, "interim": seen.came.interim, "upstream": requests}))
    }
}

fn answer(message: &Message, varies: &[String]) -> Value {
    json!({
        "status": message.status(),
        "fields": lines(&message.fields),
        "body": text(&masked(&message.content, varies)),
        "trailers": lines(&message.trailers),
        "complete": message.complete,
    })
}

fn request(message: &Message) -> Value {
    json!({
        "method": message.word(0),
        "path": text(&target(message)),
        "authority": message.text("host"),
        "fields": lines(&message.fields),
        "body": text(&message.content),
        "trailers": lines(&message.trailers),
    })
}

fn lines(all: &[Line]) -> BTreeMap<String, Vec<String>> {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in all {
        let name = text(name).to_ascii_lowercase();
        if !is_proxy_made(&name) {
            sorted.entry(name).or_default().push(text(value));
        }
    }
    sorted
}

/// Whether every proxy writes this field (lower case) as it likes.
pub fn is_proxy_made(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "date",
        "server",
        "x-request-id",
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "keep-alive",
    ];
    NAMES.contains(&name) || name.starts_with("x-envoy-") || name.starts_with("x-forwarded-")
}

/// The parts of an answer that can show something, each by itself and fields together.
pub(crate) fn texts(answer: &Message) -> Vec<(&'static str, Vec<u8>)> {
    let section = |lines: &[Line]| {
        let line = |(name, value): &Line| [name, b": ".as_slice(), value, b"\n"].concat();
        lines.iter().flat_map(line).collect::<Vec<u8>>()
    };
    vec![
        ("its status line", answer.start.clone()),
        ("its fields", section(&answer.fields)),
        ("its content", answer.content.clone()),
        ("its trailers", section(&answer.trailers)),
    ]
}

fn target(request: &Message) -> Vec<u8> {
    let mut words = request.start.splitn(2, |byte| *byte == b' ');
    let rest = words.nth(1).unwrap_or_default();
    let end = rest.iter().rposition(|byte| *byte == b' ').unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default().to_vec()
}

fn summary(request: &Message) -> Vec<u8> {
    [request.word(0).as_bytes(), b" ", &target(request), b" ", &request.content].concat()
}

fn start(request: &Message) -> String {
    text(&request.start)
}

/// Bytes as text: what is not printable becomes `\xNN`.
fn text(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\n' | 0x20..=0x7e => char::from(*byte).to_string(),
        other => format!("\\x{other:02x}"),
    };
    bytes.iter().map(one).collect()
}

fn short(bytes: &[u8]) -> String {
    let shown = text(bytes.get(..200).unwrap_or(bytes));
    match bytes.len() {
        0..=200 => format!("{shown:?}"),
        length => format!("{shown:?}… ({length} bytes)"),
    }
}
