//! What is said when an upstream does not answer or a timer runs out, in Envoy's words.
//!
//! Invariant: a failure looks like a response of HTTP to a module that has called out and
//! to a caller alike; a synthetic one has exactly three fields and names no upstream.
//! Statuses, texts, details and flags are answers of a real Envoy 1.40.

use std::fmt;
use std::ops::BitOr;

use super::chain::own;
use crate::view::{CallAnswer, LocalReply};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It took too long: the route's `timeout`, which runs from the end of the request.
    Timeout,
    /// No connection came about, or its handshake failed.
    Connect,
    /// No connection came about within `connect_timeout`.
    ConnectTimeout,
    /// The connection ended before the first byte of the response.
    Closed,
    /// What came is not HTTP, or ended in the middle of a message.
    Protocol,
    /// The upstream has cut the request's stream (HTTP/2).
    Reset,
    /// The upstream has refused the request and not looked at it (HTTP/2).
    Refused,
    /// A limit of the cluster (circuit breaker).
    Overflow,
    /// The cluster has no host.
    NoHost,
    /// The route is for a cluster that does not exist.
    NoCluster,
    /// No route fits.
    NoRoute,
    /// A filter of the listener has no configuration yet.
    NoFilterConfig,
    /// Nothing moved for `stream_idle_timeout`; `whole` if the request had come whole.
    StreamIdle {
        /// Whether the request had come whole.
        whole: bool,
    },
    /// The request had not come whole and passed the filters within `request_timeout`.
    RequestTimeout {
        /// Whether the request had come whole.
        whole: bool,
    },
    /// The request's fields had not come within `request_headers_timeout`.
    HeaderTimeout,
    /// The stream was as old as `max_stream_duration` allows.
    MaxDuration {
        /// Whether the request had come whole.
        whole: bool,
    },
}

/// What a failure says.
struct Said {
    status: u32,
    details: String,
    text: String,
    flags: Flags,
}

impl Failure {
    fn said(self) -> Said {
        let late = |whole: bool| if whole { 504 } else { 408 };
        let (status, details, text, flags) = match self {
            Self::Connect => return reset("remote connection failure", Flags::UF),
            Self::ConnectTimeout => return reset("connection timeout", Flags::UF),
            Self::Closed => return reset("connection termination", Flags::UC),
            Self::Reset => return reset("remote reset", Flags::UR),
            Self::Refused => return reset("remote refused stream reset", Flags::UR),
            Self::Overflow => return reset("overflow", Flags::UO),
            Self::Protocol => return Said { status: 502, ..reset("protocol error", Flags::UPE) },
            Self::Timeout => (504, "response_timeout", "upstream request timeout", Flags::UT),
            Self::NoHost => (503, "no_healthy_upstream", "no healthy upstream", Flags::UH),
            Self::NoCluster => (503, "cluster_not_found", "", Flags::NC),
            Self::NoRoute => (404, "route_not_found", "", Flags::NR),
            Self::NoFilterConfig => (500, "", "", Flags::NFCF),
            Self::StreamIdle { whole } => {
                (late(whole), "stream_idle_timeout", "stream timeout", Flags::SI)
            }
            Self::RequestTimeout { whole } => {
                (late(whole), "request_overall_timeout", "request timeout", Flags::NONE)
            }
            Self::HeaderTimeout => {
                (408, "request_header_timeout", "request header timeout", Flags::NONE)
            }
            Self::MaxDuration { whole } => {
                (late(whole), "max_duration_timeout", "downstream duration timeout", Flags::NONE)
            }
        };
        Said { status, details: details.to_owned(), text: text.to_owned(), flags }
    }

    /// What the caller gets.
    pub fn reply(self) -> LocalReply {
        let Said { status, details, text, .. } = self.said();
        let mut reply = own(status, &details, &text);
        if self == Self::Overflow {
            reply.headers.push((b"x-envoy-overloaded".to_vec(), b"true".to_vec()));
        }
        reply
    }

    /// What a module gets that has called out.
    pub fn answer(self) -> CallAnswer {
        let Said { status, text, .. } = self.said();
        let line = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
        let headers = vec![
            line(":status", status.to_string()),
            line("content-length", text.len().to_string()),
            line("content-type", "text/plain".to_owned()),
        ];
        CallAnswer { headers, body: text.into_bytes(), trailers: Vec::new() }
    }

    /// What `%RESPONSE_CODE_DETAILS%` shows of a response that had begun and was cut.
    pub fn cut(self) -> String {
        self.said().details.replace("before_response_started", "after_response_started")
    }

    /// What `%RESPONSE_FLAGS%` shows.
    pub fn flags(self) -> Flags {
        self.said().flags
    }
}

fn reset(reason: &str, flags: Flags) -> Said {
    let text = "upstream connect error or disconnect/reset before headers. reset reason: ";
    Said {
        status: 503,
        details: format!("upstream_reset_before_response_started{{{}}}", reason.replace(' ', "_")),
        text: format!("{text}{reason}"),
        flags,
    }
}

/// What `%RESPONSE_CODE_DETAILS%` shows when the caller has gone; the flag is [`Flags::DC`].
pub const CALLER_GONE: &str = "downstream_remote_disconnect";

/// The same when a stream of HTTP/2 was cut; the flag is [`Flags::DR`] or [`Flags::DPE`].
pub const CALLER_RESET: &str = "http2.remote_reset";

/// How a stream ended, with the bits of the property `response.flags`; only those that
/// this gateway can raise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u64);

impl Flags {
    /// Nothing to tell.
    pub const NONE: Self = Self(0);
    /// No healthy upstream.
    pub const UH: Self = Self(0x2);
    /// Upstream request timeout.
    pub const UT: Self = Self(0x4);
    /// Upstream remote reset.
    pub const UR: Self = Self(0x10);
    /// Upstream connection failure.
    pub const UF: Self = Self(0x20);
    /// Upstream connection termination.
    pub const UC: Self = Self(0x40);
    /// Upstream overflow (circuit breaker).
    pub const UO: Self = Self(0x80);
    /// No route.
    pub const NR: Self = Self(0x100);
    /// Downstream connection termination.
    pub const DC: Self = Self(0x4000);
    /// Stream idle timeout.
    pub const SI: Self = Self(0x1_0000);
    /// Downstream protocol error.
    pub const DPE: Self = Self(0x4_0000);
    /// No filter configuration found.
    pub const NFCF: Self = Self(0x20_0000);
    /// Upstream protocol error.
    pub const UPE: Self = Self(0x80_0000);
    /// No cluster.
    pub const NC: Self = Self(0x100_0000);
    /// Downstream remote reset.
    pub const DR: Self = Self(0x1000_0000);

    const LETTERS: [(Self, &'static str); 14] = [
        (Self::UH, "UH"),
        (Self::UT, "UT"),
        (Self::UR, "UR"),
        (Self::UF, "UF"),
        (Self::UC, "UC"),
        (Self::UO, "UO"),
        (Self::NR, "NR"),
        (Self::DC, "DC"),
        (Self::SI, "SI"),
        (Self::DPE, "DPE"),
        (Self::NFCF, "NFCF"),
        (Self::UPE, "UPE"),
        (Self::NC, "NC"),
        (Self::DR, "DR"),
    ];

    /// The number that the property `response.flags` holds.
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    /// As `%RESPONSE_FLAGS%`: letters with commas, `-` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raised = Self::LETTERS.iter().filter(|(flag, _)| self.0 & flag.0 != 0);
        let letters: Vec<&str> = raised.map(|(_, letters)| *letters).collect();
        f.write_str(if letters.is_empty() { "-" } else { "" })?;
        f.write_str(&letters.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failure, status, details, text, flags: what Envoy 1.40 said.
    #[rustfmt::skip]
    const ROWS: &[(Failure, u32, &str, &str, &str, u64)] = &[
        (Failure::Timeout, 504, "response_timeout", "upstream request timeout", "UT", 4),
        (Failure::Connect, 503, "{remote_connection_failure}", "remote connection failure", "UF", 32),
        (Failure::ConnectTimeout, 503, "{connection_timeout}", "connection timeout", "UF", 32),
        (Failure::Closed, 503, "{connection_termination}", "connection termination", "UC", 64),
        (Failure::Protocol, 502, "{protocol_error}", "protocol error", "UPE", 8_388_608),
        (Failure::Reset, 503, "{remote_reset}", "remote reset", "UR", 16),
        (Failure::Refused, 503, "{remote_refused_stream_reset}", "remote refused stream reset", "UR", 16),
        (Failure::Overflow, 503, "{overflow}", "overflow", "UO", 128),
        (Failure::NoHost, 503, "no_healthy_upstream", "no healthy upstream", "UH", 2),
        (Failure::NoCluster, 503, "cluster_not_found", "", "NC", 16_777_216),
        (Failure::NoRoute, 404, "route_not_found", "", "NR", 256),
        (Failure::NoFilterConfig, 500, "", "", "NFCF", 2_097_152),
        (Failure::StreamIdle { whole: true }, 504, "stream_idle_timeout", "stream timeout", "SI", 65_536),
        (Failure::StreamIdle { whole: false }, 408, "stream_idle_timeout", "stream timeout", "SI", 65_536),
        (Failure::RequestTimeout { whole: true }, 504, "request_overall_timeout", "request timeout", "-", 0),
        (Failure::RequestTimeout { whole: false }, 408, "request_overall_timeout", "request timeout", "-", 0),
        (Failure::HeaderTimeout, 408, "request_header_timeout", "request header timeout", "-", 0),
        (Failure::MaxDuration { whole: true }, 504, "max_duration_timeout", "downstream duration timeout", "-", 0),
        (Failure::MaxDuration { whole: false }, 408, "max_duration_timeout", "downstream duration timeout", "-", 0),
    ];

    #[test]
    fn every_failure_has_the_words_of_envoy() {
        let before = "upstream connect error or disconnect/reset before headers. reset reason: ";
        for (failure, status, details, text, letters, bits) in ROWS {
            let reset = details.starts_with('{');
            let words = if reset { format!("{before}{text}") } else { (*text).to_owned() };
            let start = if reset { "upstream_reset_before_response_started" } else { "" };
            let reply = failure.reply();
            assert_eq!(reply.status, *status, "{failure:?}");
            assert_eq!(reply.details, format!("{start}{details}").as_bytes());
            assert_eq!(reply.body, words.as_bytes());
            let answer = failure.answer();
            assert_eq!(answer.headers.len(), 3);
            assert_eq!(answer.headers[0].1, status.to_string().as_bytes());
            assert_eq!(answer.body, words.as_bytes());
            assert_eq!(failure.flags().to_string(), *letters);
            assert_eq!(failure.flags().bits(), *bits);
        }
    }

    #[test]
    fn a_cut_response_tells_that_it_had_begun() {
        let cut = "upstream_reset_after_response_started{protocol_error}";
        assert_eq!(Failure::Protocol.cut(), cut);
        assert_eq!(Failure::Timeout.cut(), "response_timeout");
    }

    #[test]
    fn only_an_overflow_tells_that_the_gateway_is_overloaded() {
        for (failure, ..) in ROWS {
            let told =
                failure.reply().headers.iter().any(|(name, _)| name == b"x-envoy-overloaded");
            assert_eq!(told, *failure == Failure::Overflow);
        }
    }

    #[test]
    fn flags_add_up() {
        assert_eq!((Flags::UF | Flags::DC).to_string(), "UF,DC");
        assert_eq!(Flags::default().to_string(), "-");
    }
}
