//! What is said when an upstream does not answer, in Envoy's words.
//!
//! Invariant: a failure looks like a response of HTTP to a module that has called out and
//! to a caller alike; a synthetic one has exactly three fields and names no upstream.

use super::chain::own;
use crate::view::{CallAnswer, LocalReply};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// No connection came about.
    Connect,
    /// The connection ended before the response.
    Closed,
    /// A limit of the cluster (circuit breaker).
    Overflow,
}

impl Failure {
    /// Status, details and text.
    fn parts(self) -> (u32, String, String) {
        let reset = |details: &str, reason: &str| {
            let details = format!("upstream_reset_before_response_started{{{details}}}");
            let text = "upstream connect error or disconnect/reset before headers. reset reason: ";
            (503, details, format!("{text}{reason}"))
        };
        match self {
            Self::Timeout => (504, "response_timeout".into(), "upstream request timeout".into()),
            Self::Connect => reset("remote_connection_failure", "remote connection failure"),
            Self::Closed => reset("connection_termination", "connection termination"),
            Self::Overflow => reset("overflow", "overflow"),
        }
    }

    /// What the caller gets.
    pub fn reply(self) -> LocalReply {
        let (status, details, text) = self.parts();
        own(status, &details, &text)
    }

    /// What a module gets that has called out.
    pub fn answer(self) -> CallAnswer {
        let (status, _, text) = self.parts();
        let line = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
        let headers = vec![
            line(":status", status.to_string()),
            line("content-length", text.len().to_string()),
            line("content-type", "text/plain".to_owned()),
        ];
        CallAnswer { headers, body: text.into_bytes(), trailers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_status_and_the_text_of_envoy() {
        let before = "upstream connect error or disconnect/reset before headers. reset reason: ";
        for (failure, status, text) in [
            (Failure::Timeout, "504", "upstream request timeout".to_owned()),
            (Failure::Connect, "503", format!("{before}remote connection failure")),
            (Failure::Closed, "503", format!("{before}connection termination")),
            (Failure::Overflow, "503", format!("{before}overflow")),
        ] {
            let answer = failure.answer();
            assert_eq!(answer.headers.len(), 3);
            assert_eq!(answer.headers[0].1, status.as_bytes());
            assert_eq!(answer.body, text.as_bytes());
            assert_eq!(failure.reply().body, text.as_bytes());
            assert_eq!(failure.reply().status.to_string(), status);
        }
    }
}
