//! Effects to hostcalls, literally. Decides nothing.
//!
//! Invariant: an `Err` leaves the effect undone, and the stream that gets it denies.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::abi::{self, Answer, Buffer, Direction, Map, Status};
use crate::held::Held;
use postern_core::effect::{Effect, Part, Publication, Reply};
use postern_core::key_service::{Call, CallId, Destination, UpstreamCall};

use crate::module::Ready;

/// The part of a stream that effects change.
#[derive(Default)]
pub struct Standing {
    /// Request content at the host.
    pub request: Held,
    /// Response content at the host.
    pub response: Held,
    /// Calls that are out, by the host's token.
    pub calls: BTreeMap<u32, CallId>,
    /// Calls are not sent now.
    pub mute: bool,
    /// Other paused streams may find what they have waited for.
    pub wake: bool,
    /// Whether anything can still be forwarded.
    pub end: End,
}

/// How far a stream has come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It is open.
    #[default]
    Open,
    /// It was answered here.
    Replied,
    /// It was cut.
    Cut,
}

/// What a performed effect leads to.
pub enum Done {
    /// Nothing more.
    Quiet,
    /// The host did not send this call.
    NotSent(CallId),
}

/// Performs one effect.
pub fn perform(effect: Effect, ready: &Ready, standing: &mut Standing) -> Answer<Done> {
    match effect {
        Effect::Call(asked) => return Ok(call(&asked, ready, standing)),
        Effect::CallUpstream(asked) => return Ok(call_upstream(&asked, ready, standing)),
        Effect::SetField { part, name, value } => abi::replace_header(map(part), &name, &value)?,
        Effect::RemoveField { part, name } => abi::remove_header(map(part), &name)?,
        Effect::Inject(injection) => injection
            .perform(|name, value| abi::replace_header(Map::RequestHeaders, name, value))?,
        Effect::Fill(injection) => {
            injection.perform(|_, content| replace(Part::Request, content, standing))?
        }
        Effect::ReplaceBody { part, content } => replace(part, &content, standing)?,
        Effect::Publish(publication) => publish(&publication)?,
        Effect::Reply(answer) => reply(&answer, standing).or_else(|_| reset(standing))?,
        Effect::Reset => reset(standing)?,
        Effect::Record(draft) => abi::set_filter_state("postern.record", &draft)?,
        Effect::Amend(amendment) => {
            let current = abi::property(&["filter_state", "wasm.postern.record"])?;
            let record = amendment.into_record(current.as_deref());
            abi::set_filter_state("postern.record", &record)?;
        }
        Effect::Count(metric) => ready.counters.count(metric),
        Effect::Wake => standing.wake = true,
    }
    Ok(Done::Quiet)
}

fn map(part: Part) -> Map {
    match part {
        Part::Request => Map::RequestHeaders,
        Part::Response => Map::ResponseHeaders,
        Part::RequestTrailers => Map::RequestTrailers,
        Part::ResponseTrailers => Map::ResponseTrailers,
    }
}

fn call(call: &Call, ready: &Ready, standing: &mut Standing) -> Done {
    let token = if standing.mute { None } else { send(call, ready) };
    sent(call.id, token, standing)
}

fn call_upstream(call: &UpstreamCall, ready: &Ready, standing: &mut Standing) -> Done {
    if standing.mute {
        return Done::NotSent(call.id);
    }
    let fields = call.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let token = (ready.dispatch)(&call.cluster, fields, None, some(call.timeout));
    sent(call.id, token, standing)
}

/// A timeout of 0 would mean none.
fn some(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

fn sent(id: CallId, token: Option<u32>, standing: &mut Standing) -> Done {
    match token {
        Some(token) => {
            standing.calls.insert(token, id);
            Done::Quiet
        }
        None => Done::NotSent(id),
    }
}

/// Sends a call from the context at hand: the host's token, or `None` when it was not sent.
pub fn send(call: &Call, ready: &Ready) -> Option<u32> {
    let own = &ready.module.key_service;
    let (cluster, authority) = match &call.to {
        Destination::KeyService => (&own.cluster, &own.authority),
        Destination::Named { cluster, authority } => (cluster, authority),
    };
    let mut fields =
        vec![(":method", call.method), (":path", &call.path), (":authority", authority.as_str())];
    if !call.body.is_empty() {
        fields.push(("content-type", call.content_type));
    }
    fields.extend(call.unless.as_deref().map(|tag| ("if-none-match", tag)));
    let body = (!call.body.is_empty()).then_some(call.body.as_slice());
    let timeout = some(call.timeout);
    match &call.authorization {
        None => (ready.dispatch)(cluster, fields, body, timeout),
        Some(authorization) => authorization
            .perform(|value| {
                let shown = [("authorization", value)];
                let fields = fields.into_iter().chain(shown).collect();
                (ready.dispatch)(cluster, fields, body, timeout)
            })
            .flatten(),
    }
}

fn replace(part: Part, content: &[u8], standing: &mut Standing) -> Answer<()> {
    let (buffer, held) = match part {
        Part::Request => (Buffer::RequestBody, &mut standing.request),
        Part::Response => (Buffer::ResponseBody, &mut standing.response),
        Part::RequestTrailers | Part::ResponseTrailers => return Err(Status::BadArgument),
    };
    let length = held.replaced(content.len());
    abi::replace_buffer(buffer, length, content)
}

fn publish(publication: &Publication) -> Answer<()> {
    if let Some(permit) = &publication.permit {
        abi::set_filter_state("postern.permit", permit)?;
    }
    if let Some(form) = &publication.form {
        abi::set_filter_state("postern.form", form)?;
    }
    if let Some(identity) = &publication.identity {
        abi::set_filter_state("postern.identity", identity.as_bytes())?;
    }
    abi::set_filter_state("postern.decision", publication.decision.as_bytes())
}

fn reply(reply: &Reply, standing: &mut Standing) -> Answer<()> {
    let fields: Vec<(&str, &str)> =
        reply.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    abi::send_local_response(reply.status, reply.details, &fields, &reply.content)?;
    standing.end = End::Replied;
    Ok(())
}

/// Cuts both directions: either half of a reset ends the stream.
pub fn reset(standing: &mut Standing) -> Answer<()> {
    standing.end = End::Cut;
    abi::close_stream(Direction::Request).or_else(|_| abi::close_stream(Direction::Response))
}
