//! One filter and what is held of its request and answer while it has not let them go.
//!
//! Performs what a stream asks about the message at hand; what has to do with anybody else
//! comes back as an [`Ask`]. Decides nothing. Invariant: content goes on only when the
//! stream's flow says so, and nothing goes on once the stream was answered here or cut.

use postern_core::effect::{Effect, Flow, Part, Publication, Reply};
use postern_core::event::Event;
use postern_core::fields::{Field, Fields};
use postern_core::key_service::{Call, UpstreamCall};
use postern_core::record::Amendment;
use postern_core::stream::Stream;
use postern_core::time::UnixMillis;

/// One direction of a message at one filter.
#[derive(Debug, Default)]
pub struct Message {
    /// The header section as it stands.
    pub head: Fields,
    /// The trailer section as it stands.
    pub trailers: Option<Fields>,
    /// Content that the filter was shown and did not let go.
    held: Vec<u8>,
    /// Content that may go on.
    passed: Vec<u8>,
}

impl Message {
    /// Content that may go on and was not taken yet.
    pub fn take_passed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.passed)
    }

    /// Whether content is kept back.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether there is no content here.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.passed.is_empty()
    }

    fn section(&mut self, part: Part) -> &mut Fields {
        match part {
            Part::Request | Part::Response => &mut self.head,
            Part::RequestTrailers | Part::ResponseTrailers => {
                self.trailers.get_or_insert_with(Fields::default)
            }
        }
    }
}

/// Which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the upstream.
    Request,
    /// To the caller.
    Response,
}

/// How a stream has ended here, if it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It has not.
    #[default]
    Open,
    /// With this answer.
    Replied(Reply),
    /// Cut.
    Cut,
}

/// What a stream asks for beyond its message.
pub enum Ask {
    /// Send this and bring the reply.
    Call(Call),
    /// Send this to an upstream and bring the reply.
    CallUpstream(UpstreamCall),
    /// For the filters behind.
    Publish(Publication),
    /// The record as it stands now.
    Record(Vec<u8>),
    /// What the answer adds to it.
    Amend(Amendment),
    /// Wake the other requests.
    Wake,
}

/// A stream with its messages.
pub struct Side {
    stream: Box<dyn Stream>,
    /// On the way to the upstream.
    pub request: Message,
    /// On the way to the caller.
    pub response: Message,
    end: End,
}

impl Side {
    /// A stream that has seen nothing.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let (request, response) = (Message::default(), Message::default());
        Self { stream, request, response, end: End::Open }
    }

    /// How it has ended here.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Whether anything may still go on.
    pub fn is_open(&self) -> bool {
        self.end == End::Open
    }

    /// Whether the part at hand may go on.
    pub fn flow(&self) -> Flow {
        if self.is_open() { self.stream.flow() } else { Flow::Pause }
    }

    /// Cuts it: what it wanted cannot be done.
    pub fn cut(&mut self) {
        if self.is_open() {
            self.end = End::Cut;
        }
    }

    /// Takes an event and does what that leads to; what is left is for the caller.
    pub fn handle(&mut self, event: Event, now: UnixMillis) -> Vec<Ask> {
        match &event {
            Event::RequestHeaders { fields, .. } => self.request.head = fields.clone(),
            Event::ResponseHeaders { fields, .. } => self.response.head = fields.clone(),
            Event::RequestBody { chunk, .. } => self.request.held.extend_from_slice(chunk),
            Event::ResponseBody { chunk, .. } => self.response.held.extend_from_slice(chunk),
            Event::RequestTrailers(fields) => self.request.trailers = Some(fields.clone()),
            Event::ResponseTrailers(fields) => self.response.trailers = Some(fields.clone()),
            _ => {}
        }
        self.stream.handle(event, now);
        let mut asks = Vec::new();
        while let Some(effect) = self.stream.poll() {
            asks.extend(self.perform(effect));
        }
        asks
    }

    /// After an event of this direction and everything it led to: content goes on, or stays.
    pub fn settle(&mut self, direction: Direction) {
        if self.flow() == Flow::Continue {
            let message = self.message(direction);
            message.passed.append(&mut message.held);
        }
    }

    fn message(&mut self, direction: Direction) -> &mut Message {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    fn part(&mut self, part: Part) -> &mut Message {
        self.message(match part {
            Part::Request | Part::RequestTrailers => Direction::Request,
            Part::Response | Part::ResponseTrailers => Direction::Response,
        })
    }

    fn perform(&mut self, effect: Effect) -> Option<Ask> {
        match effect {
            Effect::Call(call) => return Some(Ask::Call(call)),
            Effect::CallUpstream(call) => return Some(Ask::CallUpstream(call)),
            Effect::Publish(publication) => return Some(Ask::Publish(publication)),
            Effect::Record(record) => return Some(Ask::Record(record)),
            Effect::Amend(amendment) => return Some(Ask::Amend(amendment)),
            Effect::Wake => return Some(Ask::Wake),
            Effect::SetField { part, name, value } => {
                set(self.part(part).section(part), &name, &value);
            }
            Effect::RemoveField { part, name } => remove(self.part(part).section(part), &name),
            Effect::Inject(injection) => {
                injection.perform(|name, value| set(&mut self.request.head, name, value));
            }
            Effect::Fill(injection) => {
                injection.perform(|_, content| self.request.held = content.to_vec());
            }
            Effect::ReplaceBody { part, content } => self.part(part).held = content,
            Effect::Reply(reply) => {
                if self.is_open() {
                    self.end = End::Replied(reply);
                }
            }
            Effect::Reset => self.end = End::Cut,
            // Spin has no counters; the audit record has every reason.
            Effect::Count(_) => {}
        }
        None
    }
}

/// Replaces every line of a field by one, which keeps the first one's place.
pub fn set(fields: &mut Fields, name: &str, value: &[u8]) {
    let field = Field { name: name.as_bytes().to_vec(), value: value.to_vec() };
    let at = fields.0.iter().position(|line| line.name.eq_ignore_ascii_case(name.as_bytes()));
    remove(fields, name);
    fields.0.insert(at.unwrap_or(fields.0.len()).min(fields.0.len()), field);
}

/// Removes every line of a field.
pub fn remove(fields: &mut Fields, name: &str) {
    fields.0.retain(|line| !line.name.eq_ignore_ascii_case(name.as_bytes()));
}

#[cfg(test)]
mod tests;
