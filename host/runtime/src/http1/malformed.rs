//! Why a message is refused, and what its sender is told.
//!
//! Owns the one mapping from a reason to an answer. Status, details and body are those
//! of Envoy 1.40, measured (`tests/rows.rs`). Invariant: after any of these the connection closes,
//! since nobody knows where the next message would start.

/// A message that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not the grammar of RFC 9112, or a method that Envoy does not know.
    #[error("the message does not follow the grammar of HTTP/1.1")]
    Syntax,
    /// CR without LF or LF without CR (RFC 9112, 2.2).
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// A control byte in a target, a field name or a field value (RFC 9110, 5.5).
    #[error("there is a control byte in the head")]
    Character,
    /// Not HTTP/1.1, nor HTTP/1.0 where the caller allows that.
    #[error("the version is not one that is spoken here")]
    Version,
    /// Several lengths, a list of them, or one that is not a number (RFC 9112, 6.3).
    #[error("the content length is not one number")]
    ContentLength,
    /// A transfer coding other than one `chunked` (RFC 9112, 6.1).
    #[error("the transfer coding is not exactly `chunked`")]
    TransferEncoding,
    /// Content length beside transfer coding (RFC 9112, 6.3): the classic of smuggling.
    #[error("there is a content length beside a transfer coding")]
    Framing,
    /// More than [`super::Limits::max_fields`].
    #[error("there are too many fields")]
    TooManyFields,
    /// More than [`super::Limits::max_head`].
    #[error("the head or the trailers are too large")]
    HeadTooLarge,
    /// A chunk that is not a size, CR LF, that many bytes and CR LF (RFC 9112, 7.1).
    #[error("the chunked content is not in chunks")]
    Chunk,
    /// A trailer that would change what the head said (RFC 9110, 6.5.1).
    #[error("a trailer is not one that may come late")]
    Trailer,
    /// A field name with `_`, which some upstreams read as `-`.
    #[error("a field name has an underscore")]
    Underscore,
    /// Several `host` fields, or one that is not an authority (RFC 9112, 3.2).
    #[error("the host is not one authority")]
    Host,
    /// A target that is in none of the forms for its method (RFC 9112, 3.2).
    #[error("the target does not suit the method")]
    Target,
    /// An absolute target that is not of `http` or `https`.
    #[error("the scheme of the target is not one that is spoken here")]
    Scheme,
    /// An absolute target of `https` on a connection without TLS.
    #[error("the target wants TLS and the connection has none")]
    Insecure,
    /// The peer closed inside of the message.
    #[error("the message ends early")]
    Truncated,
}

impl Malformed {
    /// Status, details and body of the local reply; status 0 sends none.
    pub fn answer(self) -> (u16, &'static str, &'static str) {
        const BAD: &str = "Bad Request";
        const LARGE: &str = "Request Header Fields Too Large";
        match self {
            Self::Syntax | Self::LineEnd | Self::ContentLength | Self::Chunk | Self::Trailer => {
                (400, "http1.codec_error", BAD)
            }
            Self::Character => (400, "http1.invalid_characters", BAD),
            Self::Version => (426, "low_version", "Upgrade Required"),
            Self::TransferEncoding => (501, "http1.invalid_transfer_encoding", "Not Implemented"),
            Self::Framing => (400, "http1.content_length_and_chunked_not_allowed", BAD),
            Self::TooManyFields => (431, "http1.too_many_headers", LARGE),
            Self::HeadTooLarge => (431, "http1.headers_too_large", LARGE),
            Self::Underscore => (400, "http1.unexpected_underscore", BAD),
            Self::Host => (400, "http.invalid_authority", BAD),
            Self::Target => (400, "http1.invalid_url", BAD),
            Self::Scheme => (400, "http1.invalid_scheme", BAD),
            Self::Insecure => (403, "http1.https_url_on_plaintext_connection", "Forbidden"),
            Self::Truncated => (0, "downstream_remote_disconnect", ""),
        }
    }
}
