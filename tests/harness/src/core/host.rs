//! The proxy's part of one request: callbacks in the order of Envoy, effects performed
//! literally, content held while a stream says so.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use postern_core::effect::{Effect, Flow, Part, Publication, Reply};
use postern_core::event::{AuditState, Event, Surroundings};
use postern_core::fields::{Field, Fields};
use postern_core::key_service::{CallAnswer, CallFailure, CallResult, MAX_ANSWER, UpstreamCall};
use postern_core::record::Amendment;
use postern_core::stream::Stream;

use super::{Modules, exchange};
use crate::canary::Echo;
use crate::capability;
use crate::certificates::Connection;
use crate::dpop;
use crate::observation::{Answer, Seen, fields, text};
use crate::scenario::{AnswerSpec, FieldList, RequestSpec, Step};
use crate::template::{Names, expand};
use crate::world::{Route, entropy};

type Line = (Vec<u8>, Vec<u8>);

/// How often a module is told the time, and how long a request may wait.
const TICK: Duration = Duration::from_secs(1);
const MOST_TICKS: usize = 30;

/// What a request came to.
pub struct Outcome {
    /// The client's side.
    pub answer: Answer,
    /// The upstream's side.
    pub upstream: Option<Seen>,
    /// The canaries that the upstreams got.
    pub canaries: Vec<Seen>,
    /// Filter state `postern.record` at the end.
    pub record: Option<Vec<u8>>,
}

/// Filter state of one request.
#[derive(Default)]
struct State {
    permit: Option<Vec<u8>>,
    form: Option<Vec<u8>>,
    record: Option<Vec<u8>>,
}

/// One direction of a message at one filter: what the host holds of it.
#[derive(Default)]
struct Held {
    head: Fields,
    trailers: Option<Fields>,
    /// Content that the filter was shown and did not let go yet.
    content: Vec<u8>,
    /// Content that may go on.
    passed: Vec<u8>,
    /// The same, as it was let go.
    pieces: Vec<Vec<u8>>,
}

/// Why a request or answer does not go on.
enum Stop {
    Reply(Reply),
    Reset,
}

/// Runs one step through gate, credential and back.
pub fn run(
    modules: &mut Modules,
    step: &Step,
    (connection, names): (&Connection, &dyn Names),
    audit: AuditState,
) -> Result<Outcome> {
    let signed = capability::signed(&step.request, names, modules.now.get())?;
    let signed = dpop::signed(&signed, connection.tls, names, modules.now.get())?;
    let (mut head, content, trailers) = request(&signed, names)?;
    if connection.tls {
        set(&mut head, ":scheme", b"https");
    }
    // As proxies do, with `forward_client_cert_details: FORWARD_ONLY` or without it.
    if connection.certificate.is_none() {
        remove(&mut head, "x-forwarded-client-cert");
    }
    let certificate =
        connection.certificate.as_ref().map(|one| one.certificate.clone().into_bytes());
    let routes = modules.world.base.routes.clone();
    // Chosen when the caller's head has come, and again when the gate has written to it.
    let route = |head: &Fields| {
        let authority = head.only(":authority").unwrap_or_default();
        routes.iter().find(|route| route.domain.as_bytes() == authority)
    };
    let cluster = |route: Option<&Route>| route.map(|route| route.cluster.clone().into_bytes());
    let mut state = State::default();
    let mut gate = modules.gate.stream();
    let mut credential = modules.credential.stream();
    let cluster_of_head = cluster(route(&head));
    let around =
        Surroundings { cluster: cluster_of_head, audit, certificate, ..Surroundings::default() };
    let mut driver = Driver { modules, state: &mut state, canary: &step.canary, seen: Vec::new() };
    let passed = driver.request(&mut gate, head, content, trailers, around)?;
    let mut upstream = None;
    let (answer, from_upstream) = match passed {
        Err(stop) => (local(stop), false),
        Ok(mut request) => {
            let route = route(&request.head).context("no route for this authority")?;
            set(&mut request.head, ":authority", route.domain.as_bytes());
            let around = Surroundings {
                cluster: cluster(Some(route)),
                audit,
                permit: driver.state.permit.clone(),
                record: driver.state.record.clone(),
                form: driver.state.form.clone(),
                certificate: None,
            };
            let chunks = vec![std::mem::take(&mut request.passed)];
            match driver.request(&mut credential, request.head, chunks, request.trailers, around)? {
                Err(stop) => (driver.outward(&mut gate, Err(stop))?, false),
                Ok(sent) => {
                    let to_head = sent.head.only(":method") == Some(b"HEAD");
                    upstream = Some(seen(&sent));
                    let inner = driver.answered(&mut credential, &step.upstream, names, to_head)?;
                    (driver.outward(&mut gate, inner)?, true)
                }
            }
        }
    };
    driver.end(&mut credential, from_upstream)?;
    driver.end(&mut gate, true)?;
    let canaries = driver.seen;
    Ok(Outcome { answer, upstream, canaries, record: state.record })
}

struct Driver<'a> {
    modules: &'a mut Modules,
    state: &'a mut State,
    /// What the upstream answers to a canary.
    canary: &'a AnswerSpec,
    /// The canaries so far.
    seen: Vec<Seen>,
}

impl Driver<'_> {
    /// The request through one filter.
    fn request(
        &mut self,
        stream: &mut impl Stream,
        head: Fields,
        content: Vec<Vec<u8>>,
        trailers: Option<Fields>,
        around: Surroundings,
    ) -> Result<Result<Held, Stop>> {
        let content: Vec<_> = content.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let end = content.is_empty() && trailers.is_none();
        let mut held = Held { head, ..Held::default() };
        let event =
            Event::RequestHeaders { fields: held.head.clone(), end, around, entropy: entropy() };
        let mut flow = match self.turn(stream, event, &mut held)? {
            Ok(flow) => flow,
            Err(stop) => return Ok(Err(stop)),
        };
        let last = content.len().saturating_sub(1);
        for (index, chunk) in content.into_iter().enumerate() {
            held.content.extend_from_slice(&chunk);
            let end = index == last && trailers.is_none();
            flow = match self.turn(stream, Event::RequestBody { chunk, end }, &mut held)? {
                Ok(flow) => flow,
                Err(stop) => return Ok(Err(stop)),
            };
            held.settle(flow);
        }
        if let Some(trailers) = trailers {
            held.trailers = Some(trailers.clone());
            flow = match self.turn(stream, Event::RequestTrailers(trailers), &mut held)? {
                Ok(flow) => flow,
                Err(stop) => return Ok(Err(stop)),
            };
        }
        for _ in 0..MOST_TICKS {
            if flow == Flow::Continue {
                break;
            }
            self.modules.now.set(self.modules.now.get().after(TICK));
            self.modules.tick();
            flow = match self.turn(stream, Event::Tick, &mut held)? {
                Ok(flow) => flow,
                Err(stop) => return Ok(Err(stop)),
            };
        }
        if flow == Flow::Pause {
            bail!("the request would wait for ever");
        }
        held.settle(flow);
        Ok(Ok(held))
    }

    /// The upstream's answer through the credential filter.
    fn answered(
        &mut self,
        stream: &mut impl Stream,
        spec: &AnswerSpec,
        names: &dyn Names,
        to_head: bool,
    ) -> Result<Result<(Held, bool), Stop>> {
        let (head, content, trailers) = answer(spec, names)?;
        let content = if to_head { Vec::new() } else { content };
        let content = content.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        self.back(stream, head, content, trailers, true)
    }

    /// What the upstream's filter has let through, or answered itself, through the gate.
    fn outward(
        &mut self,
        gate: &mut impl Stream,
        inner: Result<(Held, bool), Stop>,
    ) -> Result<Answer> {
        let (held, broken) = match inner {
            Ok(inner) => inner,
            Err(Stop::Reset) => return Ok(local(Stop::Reset)),
            Err(Stop::Reply(reply)) => (replied(&reply), false),
        };
        let outer = self.back(gate, held.head, held.pieces, held.trailers, !broken)?;
        Ok(match outer {
            Ok((outer, cut)) => delivered(&outer, cut || broken),
            Err(stop) => local(stop),
        })
    }

    /// What is left of an answer behind a filter, and whether it breaks off. One that is not
    /// `whole` breaks off before the filter.
    fn back(
        &mut self,
        stream: &mut impl Stream,
        head: Fields,
        content: Vec<Vec<u8>>,
        trailers: Option<Fields>,
        whole: bool,
    ) -> Result<Result<(Held, bool), Stop>> {
        let mut held = Held { head, ..Held::default() };
        let trailers = trailers.filter(|_| whole);
        let end = whole && content.is_empty() && trailers.is_none();
        let event = Event::ResponseHeaders { fields: held.head.clone(), end };
        match self.turn(stream, event, &mut held)? {
            Ok(Flow::Pause) if end => bail!("the answer would wait for ever"),
            Ok(_) => {}
            Err(stop) => return Ok(Err(stop)),
        }
        // While the head waits the client has nothing, and can have another answer.
        let begun = stream.flow() == Flow::Continue;
        let stopped = |held: Held, stop: Stop| match stop {
            Stop::Reply(_) if !begun => Err(stop),
            _ => Ok((held, true)),
        };
        let last = content.len().saturating_sub(1);
        for (index, chunk) in content.into_iter().enumerate() {
            held.content.extend_from_slice(&chunk);
            let end = whole && index == last && trailers.is_none();
            match self.turn(stream, Event::ResponseBody { chunk, end }, &mut held)? {
                Ok(flow) => held.settle(flow),
                Err(stop) => return Ok(stopped(held, stop)),
            }
        }
        if let Some(trailers) = trailers {
            held.trailers = Some(trailers.clone());
            match self.turn(stream, Event::ResponseTrailers(trailers), &mut held)? {
                Ok(flow) => held.settle(flow),
                Err(stop) => return Ok(stopped(held, stop)),
            }
        }
        let cut = !held.content.is_empty();
        Ok(Ok((held, cut)))
    }

    /// A canary through the filters of its cluster, to the upstream and back, with the failure
    /// shapes of Envoy.
    fn call_upstream(&mut self, call: UpstreamCall) -> Result<CallResult> {
        let mut stream = self.modules.credential.stream();
        let (mut state, spec) = (State::default(), self.canary);
        let modules = &mut *self.modules;
        let mut driver = Driver { modules, state: &mut state, canary: spec, seen: Vec::new() };
        let scheme = (":scheme".to_owned(), "http".to_owned());
        let head: Fields = call.fields.into_iter().chain([scheme]).collect();
        let cluster = Some(call.cluster.into_bytes());
        let around = Surroundings { cluster, ..Surroundings::default() };
        let Ok(sent) = driver.request(&mut stream, head, Vec::new(), None, around)? else {
            return Ok(Ok(CallAnswer::of(403, Vec::new())));
        };
        let (canary, to_head) = (seen(&sent), sent.head.only(":method") == Some(b"HEAD"));
        let echo = Echo::of(&canary)?;
        self.seen.push(canary.settled_canary());
        if spec.silent {
            let now = &driver.modules.now;
            now.set(now.get().after(call.timeout));
            return Ok(Ok(CallAnswer::of(504, b"upstream request timeout".to_vec())));
        }
        match driver.answered(&mut stream, spec, &echo, to_head)? {
            Ok((held, false)) => Ok(called(held)),
            Ok((_, true)) | Err(_) => Ok(Err(CallFailure::Unreadable)),
        }
    }

    fn end(&mut self, stream: &mut impl Stream, ran: bool) -> Result<()> {
        if ran {
            let _ = self.turn(stream, Event::Done, &mut Held::default())?;
        }
        Ok(())
    }

    /// One event and everything it leads to.
    fn turn(
        &mut self,
        stream: &mut impl Stream,
        event: Event,
        held: &mut Held,
    ) -> Result<Result<Flow, Stop>> {
        stream.handle(event, self.modules.now.get());
        while let Some(effect) = stream.poll() {
            match effect {
                Effect::Call(call) => {
                    let (id, result) =
                        exchange::perform(&self.modules.world.backend, call, &self.modules.now);
                    let event = Event::CallReply { id, result, entropy: entropy() };
                    stream.handle(event, self.modules.now.get());
                }
                Effect::CallUpstream(call) => {
                    let id = call.id;
                    let result = self.call_upstream(call)?;
                    let event = Event::CallReply { id, result, entropy: entropy() };
                    stream.handle(event, self.modules.now.get());
                }
                Effect::Reply(reply) => {
                    self.rest(stream)?;
                    return Ok(Err(Stop::Reply(reply)));
                }
                Effect::Reset => {
                    self.rest(stream)?;
                    return Ok(Err(Stop::Reset));
                }
                Effect::Publish(Publication { permit, form, .. }) => {
                    self.state.permit = permit;
                    self.state.form = form;
                }
                Effect::Record(record) => self.state.record = Some(record),
                Effect::Amend(amendment) => self.amend(amendment),
                // There is no other stream.
                Effect::Count(_) | Effect::Wake => {}
                other => held.perform(other),
            }
        }
        Ok(Ok(stream.flow()))
    }

    fn amend(&mut self, amendment: Amendment) {
        let record = amendment.into_record(self.state.record.as_deref());
        self.state.record = Some(record);
    }

    /// What is left to do after the client was answered.
    fn rest(&mut self, stream: &mut impl Stream) -> Result<()> {
        while let Some(effect) = stream.poll() {
            match effect {
                Effect::Record(record) => self.state.record = Some(record),
                Effect::Amend(amendment) => self.amend(amendment),
                Effect::Publish(_) | Effect::Count(_) | Effect::Wake => {}
                _ => bail!("an effect after the answer"),
            }
        }
        Ok(())
    }
}

impl Held {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SetField { part, name, value } => set(self.section(part), &name, &value),
            Effect::RemoveField { part, name } => remove(self.section(part), &name),
            Effect::Inject(injection) => {
                injection.perform(|name, value| set(&mut self.head, name, value))
            }
            Effect::Fill(injection) => {
                injection.perform(|_, content| self.content = content.to_vec());
            }
            Effect::ReplaceBody { content, .. } => self.content = content,
            _ => {}
        }
    }

    fn section(&mut self, part: Part) -> &mut Fields {
        match part {
            Part::Request | Part::Response => &mut self.head,
            Part::RequestTrailers | Part::ResponseTrailers => {
                self.trailers.get_or_insert_with(Fields::default)
            }
        }
    }

    fn settle(&mut self, flow: Flow) {
        if flow == Flow::Continue {
            let content = std::mem::take(&mut self.content);
            self.passed.extend_from_slice(&content);
            if !content.is_empty() {
                self.pieces.push(content);
            }
        }
    }
}

fn set(fields: &mut Fields, name: &str, value: &[u8]) {
    // Envoy keeps the first line's place; the order of other fields does not change.
    let field = Field { name: name.as_bytes().to_vec(), value: value.to_vec() };
    let at = fields.0.iter().position(|line| line.name.eq_ignore_ascii_case(name.as_bytes()));
    remove(fields, name);
    fields.0.insert(at.unwrap_or(fields.0.len()).min(fields.0.len()), field);
}

fn remove(fields: &mut Fields, name: &str) {
    fields.0.retain(|line| !line.name.eq_ignore_ascii_case(name.as_bytes()));
}

fn local(stop: Stop) -> Answer {
    match stop {
        Stop::Reply(reply) => {
            let lines: Vec<Line> =
                reply.fields.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
            Answer::new(reply.status, &lines, (&reply.content, &[]), false)
        }
        Stop::Reset => Answer { cut: true, ..Answer::default() },
    }
}

/// A filter's own answer, as the filters outside of it see it.
fn replied(reply: &Reply) -> Held {
    let status = (":status".to_owned(), reply.status.to_string().into_bytes());
    let fields = reply.fields.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let head = std::iter::once(status).chain(fields).collect();
    let pieces = Some(reply.content.clone()).filter(|content| !content.is_empty());
    Held { head, pieces: pieces.into_iter().collect(), ..Held::default() }
}

/// An answer as a module gets it that has called out.
fn called(held: Held) -> CallResult {
    let Held { head: mut fields, trailers, passed: body, .. } = held;
    if body.len() > MAX_ANSWER {
        return Err(CallFailure::TooLarge);
    }
    let status = fields.only(":status").and_then(|status| str::from_utf8(status).ok());
    let status = status.and_then(|status| status.parse().ok());
    fields.0.extend(trailers.into_iter().flat_map(|trailers| trailers.0));
    Ok(CallAnswer { status, fields, body })
}

fn delivered(held: &Held, cut: bool) -> Answer {
    let status = held.head.only(":status").and_then(|status| str::from_utf8(status).ok());
    let status = status.and_then(|status| status.parse().ok()).unwrap_or(0);
    let trailers = held.trailers.as_ref().map(lines).unwrap_or_default();
    Answer::new(status, &lines(&held.head), (&held.passed, &trailers), cut)
}

fn seen(sent: &Held) -> Seen {
    let pseudo = |name: &str| sent.head.only(name).map(text).unwrap_or_default();
    Seen {
        method: pseudo(":method"),
        path: pseudo(":path"),
        authority: pseudo(":authority"),
        fields: fields(&lines(&sent.head)),
        body: text(&sent.passed),
        trailers: sent
            .trailers
            .as_ref()
            .map(|trailers| fields(&lines(trailers)))
            .unwrap_or_default(),
    }
}

fn lines(section: &Fields) -> Vec<Line> {
    let real = section.0.iter().filter(|line| !line.name.starts_with(b":"));
    real.map(|line| (line.name.clone(), line.value.clone())).collect()
}

type Parts = (Fields, Vec<Vec<u8>>, Option<Fields>);

fn request(spec: &RequestSpec, names: &dyn Names) -> Result<Parts> {
    let mut head = vec![
        (":method".to_owned(), spec.method.clone().into_bytes()),
        (":scheme".to_owned(), b"http".to_vec()),
        (":authority".to_owned(), spec.authority.clone().into_bytes()),
        (":path".to_owned(), expand(&spec.path, names)?),
    ];
    if let Some(key) = &spec.key {
        head.push(("x-tap-key".to_owned(), names.key(key).context("no such key")?));
    }
    for (name, value) in section(&spec.fields, names)? {
        join(&mut head, name, value);
    }
    content(head, &spec.body, &spec.chunks, &spec.trailers, names)
}

/// Envoy keeps one line of these and joins what comes later by a comma.
fn join(head: &mut Vec<(String, Vec<u8>)>, name: String, value: Vec<u8>) {
    const ONE_LINE: [&str; 2] = ["authorization", "user-agent"];
    let earlier = head.iter_mut().find(|(have, _)| *have == name);
    match earlier.filter(|_| ONE_LINE.contains(&name.as_str())) {
        Some((_, line)) => {
            line.push(b',');
            line.extend(value);
        }
        None => head.push((name, value)),
    }
}

fn answer(spec: &AnswerSpec, names: &dyn Names) -> Result<Parts> {
    let mut head = vec![(":status".to_owned(), spec.status.to_string().into_bytes())];
    head.extend(section(&spec.fields, names)?);
    content(head, &spec.body, &spec.chunks, &spec.trailers, names)
}

fn content(
    mut head: Vec<(String, Vec<u8>)>,
    body: &Option<String>,
    chunks: &Option<Vec<String>>,
    trailers: &FieldList,
    names: &dyn Names,
) -> Result<Parts> {
    let chunked = chunks.is_some() || !trailers.is_empty();
    let texts = chunks.clone().or_else(|| body.clone().map(|body| vec![body])).unwrap_or_default();
    let content: Vec<_> = texts.iter().map(|text| expand(text, names)).collect::<Result<_>>()?;
    if chunked {
        head.push(("transfer-encoding".to_owned(), b"chunked".to_vec()));
    } else if body.is_some() {
        let length: usize = content.iter().map(Vec::len).sum();
        head.push(("content-length".to_owned(), length.to_string().into_bytes()));
    }
    let trailers = (!trailers.is_empty()).then(|| section(trailers, names)).transpose()?;
    Ok((head.into_iter().collect(), content, trailers.map(|lines| lines.into_iter().collect())))
}

fn section(list: &FieldList, names: &dyn Names) -> Result<Vec<(String, Vec<u8>)>> {
    let lines = list.iter().flatten();
    lines.map(|(name, value)| Ok((name.clone(), expand(value, names)?))).collect()
}
