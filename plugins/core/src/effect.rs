//! What a stream asks its host to do. Plain data; an adapter performs it literally.

use crate::key_service::{Call, UpstreamCall};

/// One thing to do, in the order in which they are polled.
#[must_use]
pub enum Effect {
    /// Send this to the key service; answer with `Event::CallReply`.
    Call(Call),
    /// Send this to an upstream; answer with `Event::CallReply`.
    CallUpstream(UpstreamCall),
    /// Replace every line of a field by one.
    SetField {
        /// Request or response.
        part: Part,
        /// Lower-case name.
        name: String,
        /// Checked: no CR, LF or NUL.
        value: Vec<u8>,
    },
    /// Remove every line of a field.
    RemoveField {
        /// Request or response.
        part: Part,
        /// Lower-case name.
        name: String,
    },
    /// Put a credential into a request field; made only from a permit.
    Inject(crate::inject::Injection),
    /// Replace all request content that the host holds by content with credentials in it;
    /// made only from a permit.
    Fill(crate::inject::Injection),
    /// Replace all content the host holds now: held bytes and the chunk at hand.
    ReplaceBody {
        /// Request or response.
        part: Part,
        /// The new content.
        content: Vec<u8>,
    },
    /// Write these to filter state, for the modules that come after.
    Publish(Publication),
    /// Answer the client; nothing further is forwarded.
    Reply(Reply),
    /// Cut the stream: the head has left, so no answer is possible.
    Reset,
    /// Write filter state `postern.record`.
    Record(Vec<u8>),
    /// Add to filter state `postern.record` what became of the answer, beside what others
    /// have written there since.
    Amend(crate::record::Amendment),
    /// Count one occurrence.
    Count(Metric),
    /// Tell the other paused streams of this root that time has passed (`Event::Tick`):
    /// some may have waited for what this one has asked.
    Wake,
}

/// Which header section or content an effect means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Request headers or content.
    Request,
    /// Response headers or content.
    Response,
    /// Request trailers.
    RequestTrailers,
    /// Response trailers.
    ResponseTrailers,
}

/// Filter state of one decision (all keys start with `postern.`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// `postern.permit`: the sealed permit.
    pub permit: Option<Vec<u8>>,
    /// `postern.form`: form content, where a signature has to cover it.
    pub form: Option<Vec<u8>>,
    /// `postern.identity`: the identity document, JSON.
    pub identity: Option<String>,
    /// `postern.decision`: `allow` or `deny:<code>`.
    pub decision: String,
}

/// A local reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Fields beside `content-length`.
    pub fields: Vec<(String, String)>,
    /// Content.
    pub content: Vec<u8>,
    /// For `%RESPONSE_CODE_DETAILS%`: the refusal code, no spaces.
    pub details: &'static str,
}

/// Names of counters, one per outcome: `postern.<module>.<thing>.reason=<x>.total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metric(pub &'static str);

/// Whether the part at hand may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Let it go on.
    Continue,
    /// Keep it back until a later event.
    Pause,
}
